"""Two-dimensional Navier–Stokes flow on a periodic box: solver and classical forecaster."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sciml.fft.resample import fourier_resample
from sciml.simulate.etdrk import ETDRK4
from sciml.simulate.vorticity import VorticityEquation

_CHECK_EVERY = 32


class BlowUpError(ArithmeticError):
    """A simulated flow became non-finite, or too fast for the finest step of its ladder."""


@final
@dataclass(frozen=True)
class FlowHistory:
    """What a solve recorded.

    Args:
        frames: Vorticity at the end of each interval.
        num_steps: Steps that each sample took in each interval.
    """

    frames: Float[Tensor, "b t x y"]
    num_steps: Int[Tensor, "b t"]


@final
class NavierStokes2D:
    """Vorticity equation (see `VorticityEquation`) in time by ETDRK4 on a ladder of steps.

    The viscous term is exact, so only advection limits the step. It is chosen per sample and
    recording interval from interval / 2^j: the coarsest with
    max(|u| κ_x + |v| κ_y) dt ≤ `courant_limit`, κ the largest interacting wavenumbers. A sample
    whose flow breaks the bound at the end of the interval repeats it on a finer rung. Samples
    of one rung advance together; the coefficients of each rung are computed once.

    Args:
        equation: What to solve.
        courant_limit: Bound on the advective Courant number. Runge–Kutta of order four is
            stable on the imaginary axis up to 2.8; 2 leaves room for acceleration within an
            interval.
        max_halvings: Largest j of the ladder; a flow that needs more is taken for blown up.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        equation: VorticityEquation,
        *,
        courant_limit: float = 2.0,
        max_halvings: int = 12,
    ) -> None:
        if not courant_limit > 0 or max_halvings < 0:
            raise ValueError(
                "NavierStokes2D: expected courant_limit > 0 and max_halvings >= 0, got "
                f"courant_limit={courant_limit}, max_halvings={max_halvings}; correct them"
            )
        self.equation = equation
        self.courant_limit = courant_limit
        self.max_halvings = max_halvings
        self._steppers: dict[float, ETDRK4] = {}

    @torch.no_grad()
    def solve(
        self,
        vorticity: Float[Tensor, "b x y"],
        *,
        interval: float,
        num_intervals: int,
        sample_indices: Sequence[int] | None = None,
    ) -> FlowHistory:
        """Advance a batch and record the field at the end of each interval.

        Args:
            vorticity: Initial fields, on the equation's grid and in its precision.
            interval: Time between records.
            num_intervals: Number of records t.
            sample_indices: Names of the samples in error messages; their row by default.

        Raises:
            ValueError: If shape, interval or number of intervals do not fit.
            TypeError: If the fields have another precision than the equation.
            BlowUpError: If a flow becomes non-finite or needs more than `max_halvings`.
        """
        self._check(vorticity, interval, num_intervals)
        names = list(sample_indices or range(len(vorticity)))
        block, rest = self.equation.split(vorticity)
        rest_decay = torch.exp(self.equation.decay * interval).to(self.equation.dtype)
        frames = torch.empty(
            (len(vorticity), num_intervals, *vorticity.shape[1:]),
            dtype=vorticity.dtype,
            device=vorticity.device,
        )
        num_steps = torch.zeros((len(vorticity), num_intervals), dtype=torch.int64)
        level = self._levels(block, interval)
        for t in range(num_intervals):
            start = t * interval
            block, used, level = self._advance(block, level, interval, (names, start))
            rest = rest * rest_decay
            frames[:, t] = self.equation.join(block, rest)
            num_steps[:, t] = 2**used
        return FlowHistory(frames, num_steps)

    def _advance(
        self, block: Tensor, level: Tensor, interval: float, label: tuple[list[int], float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Advance by one interval: new block, levels used, levels for the next interval."""
        names, start = label
        out = torch.empty_like(block)
        used = level.clone()
        next_level = level.clone()
        pending = torch.arange(len(block))  # rows whose interval is not accepted yet
        while len(pending):
            self._check_levels(used[pending], [names[i] for i in pending.tolist()], start)
            for j in sorted(set(used[pending].tolist())):
                rows = pending[used[pending] == j]
                out[rows] = self._march(block[rows], interval, 2**j)
                next_level[rows] = self._levels(out[rows], interval)
            # Repeat where the flow at the end would have asked for a finer step.
            pending = pending[next_level[pending] > used[pending]]
            used[pending] += 1
        return out, used, next_level

    def _march(self, block: Tensor, interval: float, num_steps: int) -> Tensor:
        """Advance by one interval with a fixed number of steps."""
        dt = interval / num_steps
        if dt not in self._steppers:
            self._steppers[dt] = ETDRK4(self.equation.block_decay, dt, dtype=block.dtype)
        stepper = self._steppers[dt]
        for step in range(num_steps):
            block = stepper.step(block, self.equation.nonlinear)
            # A lost group is given up early, since finer rungs take long.
            if step % _CHECK_EVERY == _CHECK_EVERY - 1 and not _any_finite(block):
                break
        return block

    def _levels(self, block: Tensor, interval: float) -> Tensor:
        """Rung that the present flow asks for; beyond the last one if it has blown up."""
        rate = self.equation.advection_rate(block).double().cpu()
        rate = rate * (interval / self.courant_limit)
        rate = torch.where(rate.isfinite(), rate, 2.0 ** (self.max_halvings + 1))
        level = rate.clamp(min=1.0).log2().ceil()
        return level.clamp(max=self.max_halvings + 1).long()

    def _check_levels(self, level: Tensor, names: list[int], start: float) -> None:
        """Raise if a sample left the ladder."""
        lost = (level > self.max_halvings).nonzero()
        if len(lost):
            raise BlowUpError(
                f"NavierStokes2D: sample {names[int(lost[0])]} blew up after time {start:g}: "
                f"its flow is not finite or needs more than {self.max_halvings} halvings of "
                "the recording interval; raise viscosity or resolution, or lower the amplitude"
            )

    def _check(self, vorticity: Tensor, interval: float, num_intervals: int) -> None:
        """Check the arguments of `solve`."""
        if tuple(vorticity.shape[1:]) != self.equation.resolution:
            raise ValueError(
                f"NavierStokes2D: expected fields on the grid {self.equation.resolution}, got "
                f"shape {tuple(vorticity.shape)}; resample them first"
            )
        if vorticity.dtype != self.equation.dtype:
            raise TypeError(
                f"NavierStokes2D: expected {self.equation.dtype} fields, got {vorticity.dtype};"
                " convert them, or build the equation in their dtype"
            )
        if not (interval > 0 and math.isfinite(interval)) or num_intervals < 1:
            raise ValueError(
                "NavierStokes2D: expected interval > 0 and num_intervals >= 1, got "
                f"interval={interval}, num_intervals={num_intervals}; correct them"
            )


def _any_finite(block: Tensor) -> bool:
    """Whether any sample of a batch is still finite."""
    return bool(block.isfinite().flatten(1).all(dim=1).any())


@final
class CoarseNavierStokes:
    """Classical forecaster: restrict to a coarse grid, solve there, interpolate back.

    The baseline that a surrogate of this flow has to beat. Both grid changes are spectral. It
    knows the equation exactly; all of its error is what the coarse grid cannot hold.

    Args:
        viscosity: ν > 0.
        forcing: f on any grid, constant in time.
        interval: Time between frames.
        resolution: Coarse grid.
        lengths: Periods of the box.
        courant_limit: As in `NavierStokes2D`. The default is the limit of stability, since the
            error in time still stays far below that of the grid.
        dtype: Precision of the solve; float32 rounding is far below the error of the grid.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        *,
        viscosity: float,
        forcing: Float[Tensor, "x y"] | None,
        interval: float,
        resolution: tuple[int, int] = (32, 32),
        lengths: tuple[float, float] = (1.0, 1.0),
        courant_limit: float = 2.8,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if forcing is not None:
            forcing = fourier_resample(forcing, resolution)
        equation = VorticityEquation(
            resolution, viscosity=viscosity, lengths=lengths, forcing=forcing, dtype=dtype
        )
        self.resolution = resolution
        self.interval = interval
        self._solver = NavierStokes2D(equation, courant_limit=courant_limit)

    def rollout(
        self,
        u: Float[Tensor, "b c x y"],
        num_steps: int,
        *,
        params: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b t 1 x y"]:
        """Forecast the frames after the newest one of a history.

        Args:
            u: Vorticity history, oldest frame first; only the last channel is used.
            num_steps: Frames to forecast.
            params: Not used by this forecaster, which knows its equation; must be None.

        Raises:
            ValueError: If `params` is given.
            BlowUpError: If the coarse flow blows up.
        """
        if params is not None:
            raise ValueError(
                "CoarseNavierStokes: expected params=None, got a tensor; the viscosity is "
                "fixed when the forecaster is built"
            )
        start = fourier_resample(u[:, -1].to(self._solver.equation.dtype), self.resolution)
        history = self._solver.solve(start, interval=self.interval, num_intervals=num_steps)
        frames = fourier_resample(history.frames, tuple(u.shape[2:]))
        return frames.to(u.dtype)[:, :, None]
