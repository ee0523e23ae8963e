"""Solve by the evidence: hyper-parameters by L-BFGS, then the Gaussian posterior.

All data are rows ``y = A u + noise`` of a GP u: boundary and initial conditions, the equation
at the nodes (with noise of a learned variance), observations with theirs. The hyper-parameters
maximise their marginal likelihood, from a start at the frequencies of the data. A semilinear
equation is linearised at the posterior mean, again and again.

Good frequencies in seconds and an error bar. The covariance of the data is as badly conditioned
as the square of a least-squares solve, which ends the accuracy: `inference="direct"` is more
accurate.

Source: Raissi, Perdikaris, Karniadakis, J. Comput. Phys. 348 (2017), for rows that are
operators; Chen, Hosseini, Owhadi, Stuart, J. Comput. Phys. 447 (2021), for the linearisation.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from sciml.models.gp_hm.adam_problem import grid_nodes
from sciml.models.gp_hm.assembly import CovarianceError
from sciml.models.gp_hm.evidence_gram import Hyperparameters, RowCovariance
from sciml.models.gp_hm.evidence_posterior import EvidencePosterior
from sciml.models.gp_hm.evidence_rows import ProblemRows, RowGroup
from sciml.models.gp_hm.evidence_search import maximise_evidence
from sciml.models.gp_hm.evidence_start import spectral_start
from sciml.models.gp_hm.kernels import MixtureKernel, initial_parameters, kernel_named
from sciml.pde.points import interior_points
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Callback, Field
from sciml.solvers.misfit import boundary_misfit, residual_norm

_MAX_ROWS = 4000
"""The covariance of all rows is one dense matrix."""

_NEWTON_TOLERANCE = 1e-6
_FIRST_JITTER, _JITTER_FALL = 1e-8, 100.0
"""Rounding makes the evidence rough where the jitter is small; it begins large and falls."""
_RESIDUAL_POINTS, _RESIDUAL_SEED = 2000, 9_127_331


@final
@dataclass(frozen=True)
class EvidenceOptions:
    """How hyper-parameters are searched for.

    Args:
        num_components: Q at most, on every axis: one at zero frequency, the others at the
            strongest lines of the right-hand side.
        frequency_scale: None starts at the lines of the data; a number starts at frequencies
            spread evenly up to it, as the published method does (with num_components=30).
        max_steps: Iterations of L-BFGS for each linearisation.
        max_newton: Linearisations of a nonlinear equation at most.
        jitter: Added to the diagonal of the covariance, relative to the prior variance of the
            rows. The search begins with 1e-8 and lets it fall to this; where float64 has no
            Cholesky factor any more the last larger one is kept, and reported.
        kappa: Lines of the starting lattice per period of an axis.
        hyperparameter_uncertainty: Whether the deviation has the uncertainty of the
            hyper-parameters. It takes two covariances of the rows for each of them when the
            deviation is first asked for; without it intervals are too narrow under much noise.
        tolerance: The result counts as converged where the relative residual between nodes is
            below; noise in the right-hand side counts as residual.

    Raises:
        ValueError: If a number is out of its range.
    """

    num_components: int = 6
    frequency_scale: float | None = None
    max_steps: int = 200
    max_newton: int = 30
    jitter: float = 1e-13
    kappa: float = 2.137
    tolerance: float = 1e-2
    hyperparameter_uncertainty: bool = True

    def __post_init__(self) -> None:
        for name in ("num_components", "max_steps", "max_newton"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"EvidenceOptions: expected {name} of at least 1, got "
                    f"{getattr(self, name)}; leave it out for the default"
                )
        for name in ("jitter", "kappa", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"EvidenceOptions: expected a positive {name}, got {getattr(self, name)}; "
                    "leave it out for the default"
                )


def solve_evidence(
    problem: Problem,
    *,
    resolution: int | Sequence[int],
    kernel: str = "stm",
    options: EvidenceOptions | None = None,
    callback: Callback | None = None,
) -> Solution[Field]:
    """Solve a problem by Gaussian-process regression on its equation, conditions and data.

    Args:
        problem: One equation for one field, of order two at most along an axis, linear or
            semilinear, with conditions on faces and observations.
        resolution: Uniform nodes of every axis, or of each, where the equation is asked for.
        kernel: "stm" (Student-t mixture), "gm" (Gaussian mixture), or an ablation, "matern" or
            "se".
        options: How hyper-parameters are searched for.
        callback: Called after each linearisation with `residual_norm` and `log_evidence`.

    Returns:
        The posterior, with `std`; the negative log evidence as history; in the statistics the
        residual norm, the boundary misfit, the seconds, the log evidence, the learned noise
        of the equation (standard deviation, relative to the largest right-hand side), and the
        learned spectrum.

    Raises:
        ValueError: If the problem is not of that kind, or has too many rows.
    """
    options = EvidenceOptions() if options is None else options
    started = time.perf_counter()
    run = _Run(problem, grid_nodes(problem, resolution), kernel_named(kernel), options)
    field, status, detail = run.solve(callback)
    stats = run.statistics() | {
        "residual_norm": run.residual_norm(field),
        "boundary_misfit": boundary_misfit(problem, field),
        "seconds": time.perf_counter() - started,
        "detail": detail,
    }
    # conditions are rows without noise: only the equation can be missed, between its nodes
    residual = stats["residual_norm"]
    if status is Status.CONVERGED and not residual <= options.tolerance:
        status = Status.STAGNATION if math.isfinite(residual) else Status.NONFINITE
    return Solution(
        value=field,
        status=status,
        converged=torch.tensor(status is Status.CONVERGED),
        num_steps=len(run.history) - 1,
        history=torch.tensor(run.history, dtype=torch.float64),
        stats=stats,
    )


@final
class _Run:
    """One problem, its rows, and the best hyper-parameters so far."""

    def __init__(
        self,
        problem: Problem,
        nodes: list[Tensor],
        kernel: MixtureKernel,
        options: EvidenceOptions,
    ) -> None:
        self.problem, self.kernel, self.options = problem, kernel, options
        self.rows = ProblemRows(problem, nodes)
        num_rows = len(self.rows.grid) + sum(len(g) for g in self.rows.conditions)
        if num_rows > _MAX_ROWS:
            raise ValueError(
                f"solve_evidence: expected at most {_MAX_ROWS} rows of data, got {num_rows}: "
                "their covariance is one dense matrix; lower the resolution, or take "
                "inference='direct'"
            )
        self.axes = self.rows.axes()
        self.resolution = tuple(len(line) for line in nodes)
        self.history: list[float] = []
        self.num_evaluations = 0
        self.message = ""
        self.jitter = max(_FIRST_JITTER, options.jitter)
        self.parameters = self._start(nodes)
        generator = torch.Generator().manual_seed(_RESIDUAL_SEED)
        self._between = interior_points(problem.domain, _RESIDUAL_POINTS, generator)

    def solve(self, callback: Callback | None) -> tuple[EvidencePosterior, Status, str]:
        """Search and condition; a nonlinear equation is linearised until nothing moves."""
        field = self._search(self.rows.groups())
        self._report(callback, 1, field)
        if self.problem.linear:
            return field, Status.CONVERGED, self.message
        change, num_searches = math.inf, 0
        for step in range(2, self.options.max_newton + 1):
            settled = change < _NEWTON_TOLERANCE
            if settled and num_searches == 2:
                return field, Status.CONVERGED, self.message
            groups, before = self.rows.groups(field), field
            # the equation linearised at zero is not yet the one to learn frequencies from
            if settled or not num_searches:
                field = self._search(groups)
                num_searches += 1
            else:
                field = self._condition(groups)
            change = self._change(field, before)
            self._report(callback, step, field)
            if not math.isfinite(change):
                return before, Status.NONFINITE, "the linearisation diverged"
        detail = f"relative change {change:.1e} in the last linearisation"
        return field, Status.MAX_STEPS, detail

    def residual_norm(self, field: Field) -> float:
        """Relative residual between the nodes."""
        return residual_norm(self.problem, field, self._between)

    def statistics(self) -> dict[str, Any]:
        """What was learned."""
        axes = self.problem.domain.axes
        return {
            "inference": "evidence",
            "kernel": self.kernel.name,
            "resolution": self.resolution,
            "log_evidence": -self.history[-1],
            "num_evaluations": self.num_evaluations,
            "equation_noise": float((self.parameters.log_noise / 2).exp()),
            "jitter": self.jitter,
            "spectrum": {
                axis: {"frequency": m.frequencies.abs(), "weight": m.log_weights.exp()}
                for axis, m in zip(axes, self.parameters.mixtures, strict=True)
            },
        }

    def _start(self, nodes: list[Tensor]) -> Hyperparameters:
        options = self.options
        if options.frequency_scale is None:
            equation = self.rows.groups()[-1]
            return spectral_start(
                self.kernel, nodes, equation, options.num_components, options.kappa
            )
        mixture = initial_parameters(options.num_components, options.frequency_scale)
        noise = torch.tensor(math.log(1e-6), dtype=torch.float64)
        return Hyperparameters((mixture,) * len(nodes), noise)

    def _condition(self, groups: list[RowGroup]) -> EvidencePosterior:
        covariance = RowCovariance(self.kernel, self.axes, groups, self.jitter)
        return self._posterior(covariance, self.parameters)

    def _posterior(
        self, covariance: RowCovariance, parameters: Hyperparameters
    ) -> EvidencePosterior:
        learned = self.options.hyperparameter_uncertainty
        return EvidencePosterior(self.problem, covariance, parameters, learned=learned)

    def _search(self, groups: list[RowGroup]) -> EvidencePosterior:
        """Under a falling jitter; the last one that leaves a Cholesky factor is kept."""
        field, jitter = None, self.jitter
        while True:
            covariance = RowCovariance(self.kernel, self.axes, groups, jitter)
            try:
                search = maximise_evidence(covariance, self.parameters, self.options.max_steps)
                found = self._posterior(covariance, search.parameters)
            except CovarianceError:
                if field is None:
                    raise
                return field
            field, self.jitter, self.parameters = found, jitter, search.parameters
            self.message = search.message
            self.history += search.history
            self.num_evaluations += search.num_evaluations
            if jitter <= self.options.jitter:
                return field
            jitter = max(jitter / _JITTER_FALL, self.options.jitter)

    def _change(self, field: Field, before: Field) -> float:
        new, old = field(self._between), before(self._between)
        return float((new - old).norm() / new.norm())

    def _report(self, callback: Callback | None, step: int, field: Field) -> None:
        if callback is not None:
            known = {
                "residual_norm": self.residual_norm(field),
                "log_evidence": -self.history[-1],
            }
            callback(step, known)
