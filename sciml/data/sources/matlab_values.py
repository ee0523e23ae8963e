"""Values that both MATLAB containers store in ways of their own."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBER_CLASSES = (
    "double",
    "single",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
)
"""MATLAB classes of numbers, in the order of their codes from 6 on."""

_MOST_DENSE_BYTES = 2**30


def refuse_class(kind: str) -> str:
    """Why a variable of another class is not read, in words."""
    if kind in ("cell", "struct", "object", "function_handle", "opaque"):
        return f"{kind.replace('_', ' ')}: save each array in it as a variable of its own"
    return f"class {kind}"


def text_rows(codes: NDArray[Any]) -> NDArray[Any]:
    """Rows of characters as an array of strings.

    Args:
        codes: UTF-16 code units, characters along the last axis.
    """
    units = np.ascontiguousarray(codes, "<u2")
    rows = [
        row.tobytes().decode("utf-16-le", "replace")
        for row in units.reshape(-1, units.shape[-1])
    ]
    return np.array(rows, f"U{units.shape[-1]}").reshape(units.shape[:-1])


def dense(
    path: Path, name: str, shape: tuple[int, int], parts: tuple[NDArray[Any], ...]
) -> NDArray[Any]:
    """A sparse matrix with its zeros.

    Args:
        path: The file, for messages.
        name: The variable, for messages.
        shape: Rows and columns.
        parts: Row numbers, starts of the columns, and values.

    Raises:
        ValueError: If the parts contradict each other, or the matrix is too large.
    """
    import scipy.sparse  # costs more time than the rest of this package, and is rarely used

    rows, starts, values = parts
    declared = shape[0] * shape[1] * 16
    if declared > _MOST_DENSE_BYTES:
        raise ValueError(
            f"open_source: expected a sparse matrix of at most {_MOST_DENSE_BYTES} bytes with "
            f"its zeros, got {name!r} of shape {shape} in {path}; save the part that is needed "
            "as a full array"
        )
    used = int(starts[-1]) if len(starts) else 0
    try:
        matrix = scipy.sparse.csc_array(
            (values[:used], rows[:used].astype(np.int64), starts.astype(np.int64)), shape
        )
        matrix.check_format(full_check=True)  # numbers out of range would write anywhere
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"open_source: expected a whole sparse matrix {name!r} in {path}, got parts that "
            f"contradict each other ({error}); generate or download the file again"
        ) from error
    full: NDArray[Any] = matrix.toarray()
    return full
