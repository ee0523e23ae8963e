"""Random symmetries of the box, applied to training samples."""

from collections.abc import Sequence
from itertools import combinations
from typing import final

from torch import Tensor

from sciml.data.draws import Draw
from sciml.data.symmetry import Symmetry
from sciml.spec import Batch, DatasetSpec, FieldSpec

OPERATIONS = ("roll", "flip", "rot90")
"""Shift along periodic axes, reverse axes, turn by a multiple of 90 degrees."""


@final
class Augmentation:
    """Shows each training sample as it looks after a random symmetry of the box.

    Fields move with the points, components of vectors and tensors are exchanged and change
    sign, boundary codes and coordinates follow. Each sample has its own symmetry, a function of
    seed, epoch and sample number.

    Only what is in the batch is carried along. A solution turns with its data where the
    equation has the symmetry; a forcing or an axis of gravity that no field of the batch holds
    breaks it, and so does a parameter that is a component of a vector, such as a speed with a
    sign. Which symmetries hold is for the user to say.

    Args:
        operations: Any of ``"roll"``, ``"flip"`` and ``"rot90"``.
        spec: Description of the samples.
        static_fields: Fields of ``Batch.static``.
        pseudo_fields: Names of the fields that change sign when handedness does, as
            vorticity does (and, in one dimension, a velocity that is stored as a scalar).
            Files do not say which these are, so ``"flip"`` needs the list, even if it is empty.

    Raises:
        ValueError: If an operation is unknown or named twice, the grid or a field does not
            allow it, or `pseudo_fields` is missing or names an unknown field.
    """

    def __init__(
        self,
        operations: Sequence[str],
        spec: DatasetSpec,
        static_fields: Sequence[FieldSpec] = (),
        pseudo_fields: Sequence[str] | None = None,
    ) -> None:
        if len(set(operations)) != len(operations) or not set(operations) <= set(OPERATIONS):
            raise ValueError(
                f"Augmentation: expected operations of {OPERATIONS}, each once, got "
                f"{list(operations)}; correct them"
            )
        self.operations = tuple(operations)
        self.spec = spec
        self.static_fields = tuple(static_fields)
        self.pseudo_fields = tuple(pseudo_fields or ())
        self._planes = [p for p in combinations(range(spec.ndim), 2) if _square(spec, *p)]
        fields = (*spec.in_fields, *spec.out_fields, *static_fields)
        if "roll" in operations:
            _check_roll(spec)
        if "flip" in operations:
            _check_flip(spec, fields, pseudo_fields)
        if "rot90" in operations and not self._planes:
            raise ValueError(
                f"Augmentation: expected two axes of equal length, points and boundary to turn "
                f"by 90 degrees, got {spec.axes} of {spec.resolution} points in {spec.name}; "
                "leave rot90 out"
            )
        if "flip" in operations or "rot90" in operations:
            _check_components(spec, fields)

    def __call__(self, batch: Batch, draw: Draw, samples: Sequence[int]) -> Batch:
        """Transform samples in the memory of their batch.

        Args:
            batch: Samples that nothing else refers to.
            draw: Random numbers of the epoch.
            samples: Their sample numbers.

        Returns:
            The same batch.
        """
        rows = draw.uniform(samples, 2 * self.spec.ndim + len(self._planes), "augment")
        for sample, row in enumerate(rows.tolist()):
            symmetry = self.symmetry(row)
            if not symmetry.trivial:
                self._apply(symmetry, batch, sample)
        return batch

    def symmetry(self, draws: Sequence[float]) -> Symmetry:
        """The symmetry of 2 d numbers of [0, 1) and one for each plane that can be turned."""
        spec, ndim = self.spec, self.spec.ndim
        found = Symmetry.identity(ndim)
        if "rot90" in self.operations:
            for plane, value in zip(self._planes, draws[2 * ndim :], strict=True):
                for _ in range(int(4 * value)):
                    found = found.turned(*plane)
        if "flip" in self.operations:
            for axis in range(ndim):
                found = found.flipped(axis) if draws[axis] < 0.5 else found
        if "roll" in self.operations:
            shifts = tuple(
                int(n * value) if periodic else 0
                for n, value, periodic in zip(
                    spec.resolution, draws[ndim : 2 * ndim], spec.periodic, strict=True
                )
            )
            found = Symmetry(found.axes, found.signs, shifts)
        return found

    def _apply(self, symmetry: Symmetry, batch: Batch, sample: int) -> None:
        spec = self.spec
        self._move(symmetry, batch.inputs[sample], spec.in_fields)
        if batch.targets is not None:
            self._move(symmetry, batch.targets[sample].flatten(0, 1), spec.out_fields)
        if batch.static is not None:
            self._move(symmetry, batch.static[sample], self.static_fields)
        axes = list(symmetry.axes)
        reversed_axes = [i for i, sign in enumerate(symmetry.signs) if sign < 0]
        if batch.boundary is not None:
            codes = batch.boundary[sample][axes]
            codes[reversed_axes] = codes[reversed_axes].flip(1)
            batch.boundary[sample] = codes
        if batch.coords is not None:
            self._move_coords(symmetry, batch.coords[sample], batch.mask, sample)

    def _move(self, symmetry: Symmetry, values: Tensor, fields: Sequence[FieldSpec]) -> None:
        """Transform frames (t c, *space) of the given fields, in place."""
        spec = self.spec
        channels, signs = symmetry.components(fields, self.pseudo_fields)
        frames = values.view(-1, len(channels), *values.shape[1:])
        moved = frames[:, channels]
        if not spec.unstructured:
            on_lattice = [
                p and kind == "vertex" for p, kind in zip(spec.periodic, spec.grid, strict=True)
            ]
            moved = symmetry.move_points(moved, on_lattice)
        frames.copy_(moved)
        for channel, sign in enumerate(signs):
            if sign < 0:
                frames[:, channel].neg_()

    def _move_coords(
        self, symmetry: Symmetry, coords: Tensor, mask: Tensor | None, sample: int
    ) -> None:
        """Map the points (n, d) of a cloud, in place; points that do not count stay zero."""
        box = self.spec.domain
        center = coords.new_tensor(
            [0.5 * (a + b) for a, b in zip(box.low, box.high, strict=True)]
        )
        signs = coords.new_tensor(symmetry.signs)
        moved = center + signs * (coords - center)[:, list(symmetry.axes)]
        coords.copy_(moved if mask is None else moved * mask[sample][:, None])


def _square(spec: DatasetSpec, first: int, second: int) -> bool:
    """Whether two axes are alike, so that they can be exchanged."""

    def kind(axis: int) -> tuple[object, ...]:
        points = () if spec.unstructured else (spec.resolution[axis], spec.grid[axis])
        return (round(spec.domain.extent[axis], 9), spec.periodic[axis], *points)

    return kind(first) == kind(second)


def _check_roll(spec: DatasetSpec) -> None:
    if spec.unstructured or not any(spec.periodic):
        what = "point clouds" if spec.unstructured else "no periodic axis"
        raise ValueError(
            f"Augmentation: expected a grid with a periodic axis to roll, got {what} in "
            f"{spec.name}; leave roll out"
        )


def _check_flip(
    spec: DatasetSpec, fields: Sequence[FieldSpec], pseudo_fields: Sequence[str] | None
) -> None:
    names = list(dict.fromkeys(field.name for field in fields))
    if pseudo_fields is None:
        raise ValueError(
            f"Augmentation: expected pseudo_fields to name those of {names} that change sign "
            f"under reflection, as vorticity does, got none for {spec.name}; pass "
            "pseudo_fields=[] if there is none"
        )
    unknown = [name for name in pseudo_fields if name not in names]
    if unknown:
        raise ValueError(
            f"Augmentation: expected pseudo_fields of {names}, got {unknown}; correct the names"
        )


def _check_components(spec: DatasetSpec, fields: Sequence[FieldSpec]) -> None:
    for field in fields:
        if field.rank and field.components != spec.ndim**field.rank:
            raise ValueError(
                f"Augmentation: expected {spec.ndim**field.rank} components of {field.name!r}, "
                f"a tensor of rank {field.rank} on the axes {spec.axes}, got "
                f"{field.components}; leave flip and rot90 out"
            )
