"""Ranks of tensor factorisations from the share of the dense size that they may have.

Source: the rules of TensorLy (Kossaifi et al., JMLR 20, 2019), which MG-TFNO (arXiv 2310.00120)
uses.
"""

import math
from collections.abc import Sequence

from scipy.optimize import brentq


def cp_rank(sizes: Sequence[int], rank: int | float) -> int:
    """Terms of a canonical polyadic form, a fraction ρ meaning ``R ΣS = ρ ∏S`` parameters.

    Raises:
        ValueError: If `rank` is neither a positive integer nor a fraction in (0, 1].
    """
    if _is_fraction("cp_rank", rank):
        return max(1, round(rank * math.prod(sizes) / sum(sizes)))
    return int(rank)


def tucker_rank(sizes: Sequence[int], rank: int | float | Sequence[int]) -> tuple[int, ...]:
    """Tucker ranks; a fraction ρ means ranks q S_k with ``q^N ∏S + q ΣS² = ρ ∏S`` parameters.

    Raises:
        ValueError: If `rank` is neither a fraction in (0, 1] nor positive integers, one or as
            many as sizes.
    """
    if isinstance(rank, Sequence):
        if len(rank) != len(sizes) or min(rank) < 1:
            raise ValueError(
                f"tucker_rank: expected {len(sizes)} positive ranks, got {tuple(rank)}; give "
                "input channels, output channels, then the axes"
            )
        return tuple(rank)
    if not _is_fraction("tucker_rank", rank):
        return (int(rank),) * len(sizes)
    dense, squares = math.prod(sizes), sum(size**2 for size in sizes)

    def excess(q: float) -> float:
        return float(dense * q ** len(sizes) + squares * q - rank * dense)

    q = float(brentq(excess, 0.0, max(1.0, rank)))
    return tuple(max(1, round(q * size)) for size in sizes)


def _is_fraction(function: str, rank: int | float) -> bool:
    """Whether a rank is a fraction of the dense size; an integer is a number of terms."""
    if not (isinstance(rank, int) and rank >= 1) and not (
        isinstance(rank, float) and 0 < rank <= 1
    ):
        raise ValueError(
            f"{function}: expected a positive integer or a fraction in (0, 1], got {rank!r}; "
            "1 is one term, 1.0 the size of the dense weight"
        )
    return isinstance(rank, float)
