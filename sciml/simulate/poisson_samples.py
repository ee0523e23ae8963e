"""Right-hand sides of Poisson systems, to train solvers on.

Every sample has unit norm and lies in the range of its matrix. ``Batch.static`` holds the cell
flags as numbers, 1 solid, 2 fluid, 3 air.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.domain import Box
from sciml.fft.trigonometric import idct
from sciml.linalg.lanczos import ritz_vectors
from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.geometry import AIR, FLUID, make_flags, right_hand_side
from sciml.simulate.sampler import Sampler, sample_stream
from sciml.spec import Batch, DatasetSpec, FieldSpec

_MASKS = ("solid", "fluid", "air")
_RITZ_PER_UNKNOWN = 10_000 / 64**3
_NUM_BANDS = 64
"""Parts of the spectrum in which Ritz values and eigenvalues are counted."""


def poisson_spec(name: str, resolution: Sequence[int], *, masks: bool) -> DatasetSpec:
    """Self-description of right-hand sides on unit cells, perhaps with masks beside them.

    Raises:
        ValueError: If there are not two or three axes.
    """
    ndim = len(resolution)
    if ndim not in (2, 3):
        raise ValueError(
            f"poisson_spec: expected a resolution of two or three axes, got "
            f"{list(resolution)}; give the cells along each axis"
        )
    sizes = tuple(int(size) for size in resolution)
    names = ("residual", *(_MASKS if masks else ()))
    return DatasetSpec(
        name=name,
        domain=Box(("x", "y", "z")[:ndim], (0.0,) * ndim, tuple(float(n) for n in sizes)),
        resolution=sizes,
        in_fields=tuple(FieldSpec(field) for field in names),
        out_fields=(FieldSpec("pressure"),),
        grid=tuple("cell" for _ in range(ndim)),
    )


def mask_channels(flags: Float[Tensor, "b 1 *space"]) -> Float[Tensor, "b 3 *space"]:
    """Masks of solid, fluid and air cells as channels."""
    masks = torch.cat([flags < FLUID, flags == FLUID, flags == AIR], 1)
    return masks.to(flags.dtype)


def _batch(fields: Sequence[Tensor], flags: Sequence[Tensor], *, masks: bool) -> Batch:
    """Normalised right-hand sides with their flags, and their masks where they are wanted."""
    inputs = torch.stack([(b / b.norm()).float() for b in fields])[:, None]
    static = torch.stack(list(flags)).float()[:, None]
    if masks:
        inputs = torch.cat([inputs, mask_channels(static)], 1)
    return Batch(inputs, static=static)


@final
@dataclass(frozen=True)
class CosineSampler(Sampler):
    r"""Combinations of the eigenvectors of an empty box, weighted as Ritz vectors would be.

    The eigenvectors are products of cosines, so that a sample is one inverse cosine transform:

    .. math:: b = \sum_k s(\lambda_k) \xi_k v_k, \quad \xi_k \sim \mathcal{N}(0, 1), \qquad
        s^2(\lambda) = w^2(\lambda) \, \frac{\text{Ritz values near } \lambda}
        {\text{eigenvalues near } \lambda}

    with w = `factor` up to :math:`\lambda_c = \frac12 \lambda_{\max} (1 - \cos(\pi\,
    \mathrm{cut}))`, the quantile `cut` of the Ritz values, and one above. Ritz values of a
    random start follow the arcsine law on [0, λmax], but are no more than there are
    eigenvalues: where the law asks for more, at the low end, each eigenvalue counts once and
    the rest moves up.

    Args:
        resolution: Cells per axis, of unit size.
        num_ritz: Ritz vectors of the set that is imitated; None for as many per unknown as
            published, 10,000 of 64³.
        factor: Weight of the low part of the spectrum.
        cut: Fraction of the Ritz values that are low: one half and θ / m = 500 / 10,000.

    Raises:
        ValueError: If a number is out of range.

    Source: the set that is imitated: Kaneda et al., ICML 2023, arXiv:2205.10763, and the
    published code. The constrained law: Kuijlaars, SIAM J. Matrix Anal. Appl. 22 (2000), 306.
    """

    resolution: Sequence[int]
    num_ritz: int | None = None
    factor: float = 9.0
    cut: float = 0.55

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", tuple(self.resolution))
        _check_weights("CosineSampler", self.num_ritz, self.factor, self.cut)

    @property
    @override
    def spec(self) -> DatasetSpec:
        return poisson_spec("poisson_dct", self.resolution, masks=False)

    @override
    def draw(self, seed: int, indices: Sequence[int]) -> Batch:
        noise = np.stack(
            [
                sample_stream(seed, index).standard_normal(tuple(self.resolution))
                for index in indices
            ]
        )
        axes = tuple(range(1, noise.ndim))
        fields = idct(torch.from_numpy(noise) * self.deviations, 2, axes, norm="ortho")
        flags = torch.full(self.resolution, FLUID)
        return _batch(list(fields), [flags] * len(indices), masks=False)

    @cached_property
    def deviations(self) -> Float[Tensor, "*space"]:
        """Standard deviation s of the coefficient of each eigenvector; zero for the constant.

        The sum of all variances is one.
        """
        largest = 4.0 * len(self.resolution)
        values = torch.zeros((), dtype=torch.float64)
        for size in self.resolution:
            angle = torch.pi * torch.arange(size, dtype=torch.float64) / size
            values = values[..., None] + (2 - 2 * angle.cos())
        # on equal parts of this angle the arcsine law has equal mass
        angles = torch.acos((1 - 2 * values / largest).clamp(-1, 1))
        bands = (angles * (_NUM_BANDS / torch.pi)).long().clamp_max(_NUM_BANDS - 1)
        bands[(0,) * values.ndim] = _NUM_BANDS  # the constant is no right-hand side
        counts = torch.bincount(bands.reshape(-1))[:_NUM_BANDS].double()
        num_ritz = self.num_ritz or max(1, round(values.numel() * _RITZ_PER_UNKNOWN))
        shares = _capped_shares(counts / min(num_ritz, values.numel() - 1))
        per_value = torch.cat([shares / counts.clamp_min(1), torch.zeros(1)])
        weight = torch.where(angles <= torch.pi * self.cut, self.factor, 1.0)
        variances = weight.square() * per_value[bands]
        return (variances / variances.sum()).sqrt()


@final
@dataclass(frozen=True)
class RitzSampler(Sampler):
    r"""Combinations of Ritz vectors of a Lanczos run, as published.

    .. math:: b = \sum_j c_j q_j, \qquad c_j \sim w_j \mathcal{N}(0, 1)

    with w = `factor` for the lowest `cut` of the Ritz vectors and one for the others. The start
    is A times white noise. One run per geometry, in float64 with full re-orthogonalisation:
    `num_ritz` fields of memory and num_ritz² inner products, so this is for small grids.

    Args:
        resolution: Cells per axis, of unit size.
        num_ritz: Lanczos steps m; 10,000 on 64³ as published.
        kinds: Geometries that take turns, kinds of `make_flags`; the empty box as published.
        num_geometries: Geometries drawn once; sample i belongs to geometry i modulo this.
        masks: Whether samples hold masks of the cells beside the residual.
        geometry_seed: Seed of geometries and Lanczos starts.
        factor: Weight of the low Ritz vectors.
        cut: Fraction of the Ritz vectors that are low.

    Raises:
        ValueError: If a number is out of range, or geometries differ and there are no masks.

    Source: Kaneda et al., ICML 2023, arXiv:2205.10763, and the published code. Deviations: the
    box without a special outer layer; other geometries than the box.
    """

    resolution: Sequence[int]
    num_ritz: int
    kinds: Sequence[str] = ("box",)
    num_geometries: int = 1
    masks: bool = False
    geometry_seed: int = 60013
    factor: float = 9.0
    cut: float = 0.55

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", tuple(self.resolution))
        object.__setattr__(self, "kinds", tuple(self.kinds))
        _check_weights("RitzSampler", self.num_ritz, self.factor, self.cut)
        if not 1 <= len(self.kinds) <= self.num_geometries:
            raise ValueError(
                f"RitzSampler: expected at least one geometry of each kind, got kinds "
                f"{list(self.kinds)} and num_geometries={self.num_geometries}; raise "
                "num_geometries"
            )

    @property
    @override
    def spec(self) -> DatasetSpec:
        name = "poisson_obstacles" if self.masks else "poisson_ritz"
        return poisson_spec(name, self.resolution, masks=self.masks)

    @override
    def draw(self, seed: int, indices: Sequence[int]) -> Batch:
        fields, flags = [], []
        for index in indices:
            cells, vectors = self._geometry(index % self.num_geometries)
            weights = torch.ones(len(vectors), dtype=torch.float64)
            weights[: round(self.cut * len(vectors))] = self.factor
            noise = torch.from_numpy(sample_stream(seed, index).standard_normal(len(vectors)))
            fields.append(torch.einsum("j,j...->...", weights * noise, vectors))
            flags.append(cells)
        return _batch(fields, flags, masks=self.masks)

    @cached_property
    def _found(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Flags and Ritz vectors of the geometries that were asked for so far."""
        return {}

    def _geometry(self, number: int) -> tuple[Tensor, Tensor]:
        if number not in self._found:
            kind = self.kinds[number % len(self.kinds)]
            stream = sample_stream(self.geometry_seed, number)
            seed = int(stream.integers(2**31))
            flags = torch.from_numpy(make_flags(kind, self.resolution, seed=seed))
            operator = PoissonOperator(flags)
            start = operator.mv(
                torch.from_numpy(stream.standard_normal(tuple(self.resolution)))
            )
            self._found[number] = flags, ritz_vectors(operator, start, self.num_ritz)[1]
        return self._found[number]


@final
@dataclass(frozen=True)
class PressureSampler(Sampler):
    """Right-hand sides as a flow has them, a smooth dipole and noise, on drawn geometries.

    Args:
        resolution: Cells per axis, of unit size.
        kinds: Geometries that take turns, kinds of `make_flags`.
        masks: Whether samples hold masks of the cells beside the residual.
    """

    resolution: Sequence[int]
    kinds: Sequence[str] = ("random",)
    masks: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", tuple(self.resolution))
        object.__setattr__(self, "kinds", tuple(self.kinds))
        if not self.kinds:
            raise ValueError(
                "PressureSampler: expected at least one kind of geometry, got none; name one"
            )

    @property
    @override
    def spec(self) -> DatasetSpec:
        return poisson_spec("poisson_pressure", self.resolution, masks=self.masks)

    @override
    def draw(self, seed: int, indices: Sequence[int]) -> Batch:
        fields, flags = [], []
        for index in indices:
            of_geometry, of_field = sample_stream(seed, index).integers(2**31, size=2).tolist()
            kind = self.kinds[index % len(self.kinds)]
            cells = make_flags(kind, self.resolution, seed=of_geometry)
            b = torch.from_numpy(right_hand_side(cells, seed=of_field))
            flags.append(torch.from_numpy(cells))
            fields.append(PoissonOperator(flags[-1]).project(b))
        return _batch(fields, flags, masks=self.masks)


def _check_weights(name: str, num_ritz: int | None, factor: float, cut: float) -> None:
    if (num_ritz is not None and num_ritz < 1) or factor <= 0 or not 0 < cut < 1:
        raise ValueError(
            f"{name}: expected num_ritz >= 1, factor > 0 and 0 < cut < 1, got {num_ritz}, "
            f"{factor} and {cut}; correct them"
        )


def _capped_shares(most: Tensor) -> Tensor:
    """Equal shares that add up to one, none above its bound; what a bound cuts, others get."""
    full = torch.zeros_like(most, dtype=torch.bool)
    while True:
        share = (1 - most[full].sum()) / (~full).sum()
        over = full | (most < share)
        if bool((over == full).all()):
            return torch.where(full, most, share)
        full = over
