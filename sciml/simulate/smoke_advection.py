"""Transport on a marker-and-cell (MAC) grid: velocities along paths, densities by fluxes.

Cells hold scalars at their centres; the velocity component along axis k is stored on the faces
across that axis, n_k + 1 of them. Semi-Lagrangian steps are stable for any time step but
conserve nothing; that is right for the velocity, which a projection corrects anyway. What has a
mass is moved by fluxes between cells, and the mass stays the same to rounding.
"""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_LARGEST_OUTFLOW = 0.9
"""Part of a cell that may leave it in a sweep; all of it would leave nothing to divide by."""
_NEGLIGIBLE = 1e-30


def advect_velocity(
    velocity: Sequence[Float[Tensor, "..."]], steps: Sequence[float]
) -> tuple[Tensor, ...]:
    r"""Carry each component along the flow, u_k(x) ← u_k(x − Δt u(x − Δt/2 u(x))).

    The paths back are found by the midpoint rule (second-order Runge–Kutta) from the cell
    centres, and averaged to the faces, which is of second order too. Values between the grid
    points are interpolated linearly along each axis, values outside are those at the boundary.

    Args:
        velocity: One component per axis on its faces, two or three of them.
        steps: Time step over the grid spacing of each axis, Δt / h_k.

    Returns:
        The components after the step.

    Source: Stam, "Stable Fluids", SIGGRAPH 1999, section 3.2; Bridson, "Fluid Simulation for
    Computer Graphics", 2nd ed., section 3.2 (midpoint rule).
    """
    centred = torch.stack(
        [
            step * faces_to_cells(u, k)
            for k, (u, step) in enumerate(zip(velocity, steps, strict=True))
        ]
    )
    halfway = _grid_points(centred[0]) - 0.5 * centred
    paths = _interpolate(centred, halfway)
    advected = []
    for axis, component in enumerate(velocity):
        points = _grid_points(component).sub_(cells_to_faces(paths, axis + 1))
        advected.append(_interpolate(component[None], points)[0])
    return tuple(advected)


def advect_density(
    density: Float[Tensor, "*space"],
    velocity: Sequence[Float[Tensor, "..."]],
    open_faces: Sequence[Bool[Tensor, "..."]],
    steps: Sequence[float],
    outside: Bool[Tensor, "*space"],
) -> tuple[Float[Tensor, "*space"], float]:
    r"""Solve ∂q/∂t + ∇·(u q) = 0 over a step by fluxes through the open faces.

    Sweeps along one axis after the other, forwards and then backwards through the axes, with
    limited second-order fluxes in space and time. The volume that a sweep moves is carried
    along with the mass, so that fluxes see concentrations: with ∇·u = 0 no sweep makes a new
    extreme, and the density stays between zero and its largest value. With any u the sum
    changes by what leaves, to rounding. The step is split into an even number of equal parts,
    as few as leave something in every cell.

    Args:
        density: Cell averages q ≥ 0, zero in the cells `outside`.
        velocity: One component per axis on its faces, constant over the step.
        open_faces: Faces through which fluid flows; nothing passes the others.
        steps: Time step over the grid spacing of each axis, Δt / h_k.
        outside: Cells beyond an open boundary: what flows into them is gone, and what comes
            from them is clean.

    Returns:
        The cell averages after the step, and the sum over cells of what left.

    Source: LeVeque, "Finite Volume Methods for Hyperbolic Problems", section 6.11 (limited
    Lax–Wendroff fluxes); van Leer, J. Comput. Phys. 14 (1974), 361 (the limiter); Easter, Mon.
    Weather Rev. 121 (1993), 297 (the volume carried along); Strang, SIAM J. Numer. Anal. 5
    (1968), 506 (the order of the sweeps).
    """
    courant = [
        torch.where(open_, step * u, 0.0)
        for u, open_, step in zip(velocity, open_faces, steps, strict=True)
    ]
    pairs = max(math.ceil(_emptying(courant) / (2 * _LARGEST_OUTFLOW)), 1)
    sweeps = _sweeps([c / (2 * pairs) for c in courant], open_faces, outside)
    density = density.clone()
    for _ in range(pairs):
        for sweep in sweeps:
            sweep.carry(density)
    # rounding may leave traces below zero, and the far tail would end in denormal numbers,
    # which are slow; together they are less than the rounding of the sum
    kept = torch.where((density > _NEGLIGIBLE) & ~outside, density, 0.0)
    return kept, float((density * outside).sum())


def cells_to_faces(field: Float[Tensor, "*space"], axis: int) -> Tensor:
    """Averages of neighbouring cells on the faces across an axis; end values at the ends."""
    n = field.shape[axis]
    low, high = field.narrow(axis, 0, 1), field.narrow(axis, n - 1, 1)
    middle = 0.5 * (field.narrow(axis, 1, n - 1) + field.narrow(axis, 0, n - 1))
    return torch.cat([low, middle, high], dim=axis)


def faces_to_cells(component: Float[Tensor, "*faces"], axis: int) -> Tensor:
    """Averages of the two faces of each cell across an axis."""
    low, high = _ends(component, axis)
    return 0.5 * (low + high)


def _grid_points(component: Tensor) -> Tensor:
    """Index coordinates of a component's own nodes, (d, *nodes)."""
    lines = [
        torch.arange(n, dtype=component.dtype, device=component.device) for n in component.shape
    ]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"))


def _interpolate(fields: Tensor, points: Tensor) -> Tensor:
    """Linear interpolation of fields (c, *nodes) at index coordinates, clamped to the grid."""
    # grid_sample wants the last axis first and the ends of each axis at -1 and 1
    nodes = fields.shape[1:]
    scaled = points.new_empty((*points.shape[1:], len(nodes)))
    for k, n in enumerate(nodes):
        torch.mul(points[k], 2 / (n - 1), out=scaled[..., -1 - k])
    sampled: Tensor = torch.nn.functional.grid_sample(
        fields[None],
        scaled.sub_(1)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return sampled[0]


def _emptying(courant: Sequence[Tensor]) -> float:
    """Largest part of a cell that is gone after a sweep, without what that sweep brings.

    Of what flows through all faces in sweeps forwards or backwards through the axes, each with
    its whole flow at once.
    """
    largest = 0.0
    for order in (range(len(courant)), reversed(range(len(courant)))):
        before: float | Tensor = 0.0
        for axis in order:
            c = courant[axis]
            low, high = _ends(c, axis)
            out = high.clamp(min=0) - low.clamp(max=0)
            largest = max(largest, float((before + out).max()))
            before = before + high - low
    return largest


def _sweeps(
    courant: Sequence[Tensor], open_faces: Sequence[Tensor], outside: Tensor
) -> list["_Sweep"]:
    """Sweeps forwards and backwards through the axes, with the volumes that they find."""
    inside = ~outside
    faces = [
        _Faces(axis, c, open_, inside)
        for axis, (c, open_) in enumerate(zip(courant, open_faces, strict=True))
    ]
    sweeps = []
    for order in (faces, faces[::-1]):
        volume = inside.new_ones(inside.shape, dtype=courant[0].dtype)
        for own in order:
            sweeps.append(_Sweep(own, inside / volume))
            low, high = _ends(courant[own.axis], own.axis)
            volume = volume.add_(low).sub_(high)
    return sweeps


@final
class _Faces:
    """The faces between the cells along one axis, and space for what is computed on them.

    Args:
        axis: The axis.
        courant: Volume that crosses each face in a sweep, in cells; zero on closed ones.
        open_faces: Faces through which fluid flows.
        inside: Cells that hold mass, rather than lie beyond an open boundary.
    """

    def __init__(self, axis: int, courant: Tensor, open_faces: Tensor, inside: Tensor) -> None:
        self.axis, self.n = axis, inside.shape[axis]
        between = courant.narrow(axis, 1, self.n - 1)
        low, high = self.pair(inside)
        self.forwards = between.clamp(min=0) * low
        self.backwards = between.clamp(max=0) * high
        # neither a wall nor the outside says anything about the slope of the concentration
        comparable = open_faces.narrow(axis, 1, self.n - 1) & low & high
        self.comparable = comparable.to(courant.dtype)
        self.flux = torch.empty_like(self.comparable)
        self.concentration = torch.empty_like(courant.narrow(axis, 0, self.n))
        self.slope = torch.zeros_like(self.concentration)

    def pair(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The cells below and above each face."""
        rest = self.n - 1
        return cells.narrow(self.axis, 0, rest), cells.narrow(self.axis, 1, rest)


@final
class _Sweep:
    """What crosses the faces between the cells along one axis, for any mass.

    Args:
        faces: The faces and what flows through them.
        per_volume: One over the volume that each cell holds before the sweep, in cells; zero
            beyond an open boundary.
    """

    def __init__(self, faces: _Faces, per_volume: Tensor) -> None:
        self.faces, self.per_volume = faces, per_volume
        low, high = faces.pair(per_volume)
        forwards, backwards = faces.forwards, faces.backwards
        # the average over the step of a linear profile that moves by the Courant number
        self.forwards_slope = forwards.addcmul(forwards * forwards, low, value=-1)
        self.backwards_slope = (backwards * backwards).mul_(high).add_(backwards).neg_()

    def carry(self, mass: Tensor) -> None:
        """Move what crosses the faces, in place and without new memory."""
        faces = self.faces
        concentration = torch.mul(mass, self.per_volume, out=faces.concentration)
        low, high = faces.pair(concentration)
        self._find_half_slopes(low, high)
        low_slope, high_slope = faces.pair(faces.slope)
        flux = torch.mul(faces.forwards, low, out=faces.flux)
        flux.addcmul_(faces.backwards, high)
        flux.addcmul_(self.forwards_slope, low_slope)
        flux.addcmul_(self.backwards_slope, high_slope)
        below, above = faces.pair(mass)
        below.sub_(flux)
        above.add_(flux)

    def _find_half_slopes(self, low: Tensor, high: Tensor) -> None:
        """Half the harmonic mean 2ab / (a + b) of the jumps at a cell's faces, if ab > 0."""
        axis, rest = self.faces.axis, self.faces.n - 2
        jump = torch.sub(high, low, out=self.faces.flux).mul_(self.faces.comparable)
        before, after = jump.narrow(axis, 0, rest), jump.narrow(axis, 1, rest)
        slope = self.faces.slope.narrow(axis, 1, rest)
        torch.mul(before, after, out=slope)
        # 0 / 0 where there is no jump at all
        slope.clamp_(min=0).div_(before + after).nan_to_num_(nan=0.0)


def _ends(faces: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Values on the lower and upper face of each cell across an axis."""
    n = faces.shape[axis] - 1
    return faces.narrow(axis, 0, n), faces.narrow(axis, 1, n)
