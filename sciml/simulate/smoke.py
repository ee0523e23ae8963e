"""Smoke: incompressible flow driven by the buoyancy of what it carries, past solid bodies.

    ∂u/∂t + u·∇u + ∇p = β q e_up,   ∇·u = 0,   ∂q/∂t + ∇·(u q) = 0

on a marker-and-cell grid, by splitting: transport, forces, and the projection of the velocity
onto ∇·u = 0, whose pressure system is where the time of such simulations goes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from sciml.domain import GridKind
from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.geometry import AIR, FLUID, SOLID
from sciml.simulate.smoke_advection import (
    advect_density,
    advect_velocity,
    cells_to_faces,
    faces_to_cells,
)
from sciml.simulate.smoke_scenes import SmokeScene
from sciml.solution import Solution
from sciml.spec import DatasetSpec, FieldSpec

Projection: TypeAlias = Callable[[PoissonOperator, Tensor], Solution[Tensor]]
"""Solves A p = b for the pressure."""


@final
@dataclass(frozen=True)
class SmokeStep:
    """What one step did.

    Args:
        time: Simulated time after it.
        seconds: Its duration.
        solve_seconds: Of which in the pressure solve.
        num_steps: Steps of the pressure solver.
        divergence_before: Largest |∇·u| in the fluid before the projection.
        divergence: The same after it.
        volume_flux: Net volume per time through the open top; zero where ∇·u is.
        mass: Integral of the density after the step.
        added: What the source added in the step.
        left: What went through the open top in the step.
        mass_error: Mass after − mass before − added + left, relative to the mass after.
    """

    time: float
    seconds: float
    solve_seconds: float
    num_steps: int
    divergence_before: float
    divergence: float
    volume_flux: float
    mass: float
    added: float
    left: float
    mass_error: float


@final
class SmokeSimulation:
    """The state of a simulation, advanced by `step`.

    Velocities are semi-Lagrangian; the density moves by fluxes, so its mass changes by what the
    source adds and what leaves through the open top and by nothing else, however loosely the
    pressure is solved. Cells that a body covers give their mass to the nearest fluid. On faces
    of solid cells the velocity is that of the body, zero at the walls. When a body moves, the
    operator is made anew in every step.

    Args:
        scene: What to simulate.
        project: Solves the pressure system A p = −∇·u of a step, usually a `PressureSolver`.
        device: Where to compute, in float64.

    Attributes:
        velocity: One component per axis on its faces.
        density: Cell averages.
        pressure: Time step times pressure, of the latest step.
        right_hand_side: The latest b.
        operator: The latest pressure operator.
        time: Simulated time.

    Source: Stam, "Stable Fluids", SIGGRAPH 1999; Fedkiw, Stam and Jensen, "Visual Simulation of
    Smoke", SIGGRAPH 2001; grid: Harlow and Welch, Phys. Fluids 8 (1965), 2182.
    """

    def __init__(
        self, scene: SmokeScene, project: Projection, *, device: torch.device | None = None
    ) -> None:
        self.scene, self.project, self.device = scene, project, device
        self.time = 0.0
        self._set_geometry(scene.flags(0.0, device))
        self.density = self._cells()
        self.pressure = self._cells()
        self.right_hand_side = self._cells()
        self.velocity = tuple(self._faces(axis) for axis in range(scene.ndim))
        self._source = scene.source.contains(scene.cells(device))

    def step(self) -> SmokeStep:
        """Advance by one time step.

        Raises:
            SolverError: If the pressure solver does not converge and raises it.
        """
        begin = time.perf_counter()
        mass_before = self._mass()
        added = self._inject()
        left = self._advect()
        self.time += self.scene.dt
        if self.scene.body is not None and self.scene.body.moving:
            self._move_body(self.scene.flags(self.time, self.device))
        self._lift()
        self._impose_solids()
        b = -self.operator.divergence(self.velocity)
        solve_begin = time.perf_counter()
        solution = self.project(self.operator, b)
        solve_seconds = time.perf_counter() - solve_begin
        self.right_hand_side, self.pressure = b, solution.value
        gradient = self.operator.gradient(self.pressure)
        self.velocity = tuple(u - g for u, g in zip(self.velocity, gradient, strict=True))
        divergence = self.operator.divergence(self.velocity)
        mass = self._mass()
        change = mass - mass_before - added + left
        volume_flux = self._volume_flux()
        self._continue_into_air()
        return SmokeStep(
            time=self.time,
            seconds=time.perf_counter() - begin,
            solve_seconds=solve_seconds,
            num_steps=solution.num_steps,
            divergence_before=float(b.abs().max()),
            divergence=float(divergence.abs().max()),
            volume_flux=volume_flux,
            mass=mass,
            added=added,
            left=left,
            mass_error=abs(change) / mass if mass else 0.0,
        )

    def frame(self) -> Float[Tensor, "c *space"]:
        """The state at the cell centres in float32, with the channels of `spec`."""
        velocity = [faces_to_cells(u, axis) for axis, u in enumerate(self.velocity)]
        fields = [self.density, *velocity, self.pressure, self.right_hand_side]
        return torch.stack([*fields, self.operator.flags]).to(torch.float32)

    def spec(self, name: str, *, every: int = 1) -> DatasetSpec:
        """Self-description of the frames after every so many steps.

        Density, velocity, pressure p (times the time step), right-hand side b with A p = b,
        cell flags.
        """
        scene = self.scene
        fields = (
            FieldSpec("density"),
            FieldSpec("velocity", rank=1, components=scene.ndim),
            FieldSpec("pressure"),
            FieldSpec("right_hand_side"),
            FieldSpec("flags"),
        )
        centred: GridKind = "cell"
        return DatasetSpec(
            name=name,
            domain=scene.domain,
            resolution=scene.resolution,
            in_fields=fields,
            out_fields=fields,
            grid=(centred,) * scene.ndim,
            dt=every * scene.dt,
            constants={"buoyancy": scene.buoyancy, "solver_time_step": scene.dt},
        )

    def _inject(self) -> float:
        """Hold the density at one in the source; what that added."""
        if self.time >= self.scene.source_time:
            return 0.0
        before = self._mass()
        filled = self._source & self.operator.fluid
        self.density = torch.where(filled, self.density.clamp(min=1.0), self.density)
        return self._mass() - before

    def _advect(self) -> float:
        """Carry density and velocity along; what left through the top."""
        steps = (self.scene.dt / self.scene.spacing,) * self.scene.ndim
        air = self.operator.flags == AIR
        self.density, left = advect_density(
            self.density, self.velocity, self._open_faces, steps, air
        )
        self.velocity = advect_velocity(self.velocity, steps)
        return left * self.scene.spacing**self.scene.ndim

    def _move_body(self, flags: Tensor) -> None:
        """Take a new geometry; covered cells give their mass to the nearest fluid."""
        if torch.equal(flags, self.operator.flags):
            return
        covered = (flags <= SOLID) & (self.density > 0)
        if bool(covered.any()):
            nearest = ndimage.distance_transform_edt(
                (flags != FLUID).cpu().numpy(), return_distances=False, return_indices=True
            )
            places = torch.from_numpy(nearest).to(self.density.device, torch.int64)
            mass = self.density[covered]
            self.density = self.density.masked_fill(covered, 0.0)
            self.density.index_put_(tuple(places[:, covered]), mass, accumulate=True)
        self._set_geometry(flags)

    def _set_geometry(self, flags: Tensor) -> None:
        self.operator = PoissonOperator(flags, self.scene.spacing)
        self._open_faces = tuple(weight > 0 for weight in self.operator.face_weights)

    def _lift(self) -> None:
        """Buoyancy on the faces along the last axis."""
        *others, up = self.velocity
        lift = cells_to_faces(self.density, self.scene.ndim - 1)
        self.velocity = (*others, up + self.scene.dt * self.scene.buoyancy * lift)

    def _impose_solids(self) -> None:
        """Velocities on the faces of solid cells and of the rim: the body's, or zero."""
        solid = self.operator.flags <= SOLID
        imposed = []
        for axis, u in enumerate(self.velocity):
            wall: float | Tensor = 0.0
            body = self.scene.body
            if body is not None and body.moving:
                wall = body.velocity(self.scene.faces(axis, self.device), axis, self.time)
            after = torch.where(_touching(solid, axis), wall, u)
            after.narrow(axis, 0, 1).zero_()
            after.narrow(axis, u.shape[axis] - 1, 1).zero_()
            imposed.append(after)
        self.velocity = tuple(imposed)

    def _continue_into_air(self) -> None:
        """Velocities in the layer of air, which transport looks at: those just below it."""
        if not self.scene.open_top:
            return
        last = self.scene.ndim - 1
        for u in self.velocity:
            top = u.shape[last] - 1
            u.narrow(last, top, 1).copy_(u.narrow(last, top - 1, 1))

    def _volume_flux(self) -> float:
        """Net volume per time through the open top."""
        if not self.scene.open_top:
            return 0.0
        top = self.velocity[-1].select(-1, self.scene.resolution[-1] - 1)
        return float(top.sum()) * self.scene.spacing ** (self.scene.ndim - 1)

    def _mass(self) -> float:
        return float(self.density.sum()) * self.scene.spacing**self.scene.ndim

    def _cells(self) -> Tensor:
        return torch.zeros(self.scene.resolution, dtype=torch.float64, device=self.device)

    def _faces(self, axis: int) -> Tensor:
        shape = [n + (k == axis) for k, n in enumerate(self.scene.resolution)]
        return torch.zeros(shape, dtype=torch.float64, device=self.device)


def _touching(cells: Tensor, axis: int) -> Tensor:
    """Faces across an axis that touch one of the marked cells."""
    end = torch.zeros_like(cells.narrow(axis, 0, 1))
    return torch.cat([cells, end], dim=axis) | torch.cat([end, cells], dim=axis)
