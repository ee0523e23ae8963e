"""`GPHMSolver`: the GP-HM family as a solver of problems."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, final

from typing_extensions import override

from sciml.models.gp_hm.adam import AdamOptions, solve_adam
from sciml.models.gp_hm.direct import solve_direct
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_plane import solve_plane_posterior
from sciml.models.gp_hm.direct_posterior import solve_line_posterior
from sciml.models.gp_hm.direct_resolution import (
    check_resolution,
    chosen_resolution,
    refined_resolution,
)
from sciml.models.gp_hm.evidence import EvidenceOptions, solve_evidence
from sciml.pde.problem import Problem
from sciml.solution import Solution
from sciml.solvers.base import Callback, Field, PDESolver

_SMALLEST_RESOLUTION = 8
# refinements without this fall of the residual: no solution, or none that a grid resolves
_FUTILE_REFINEMENTS, _PROGRESS = 3, 0.5


@final
@dataclass(frozen=True)
class GPHMSolver(PDESolver):
    """Gaussian-process solver for problems with high frequencies and many scales, on boxes.

    ``sciml.solve(problem, GPHMSolver())`` finds the solution and the frequencies in it. Where
    the equation and the conditions on the faces leave a constant free (derivatives on all sides
    or periodicity, and no term in u itself), "direct" refuses a right-hand side that does not
    fit to the derivatives and gives the solution whose mean over the box is zero, or the one
    that fits to `Observations` on one axis.

    Args:
        resolution: Nodes along every axis, or one number per axis; None chooses from the
            frequencies of the right-hand side and the data, and refines until the residual
            between the nodes meets the tolerance or falls no further.
        kernel: "stm" (Student-t mixture) or "gm" (Gaussian mixture); with inference "adam" or
            "evidence" also the ablations "matern" and "se". With "direct" the two mixtures are
            the same: bumps have no width, and atoms take the place of a finite one.
        inference: "direct" (lattice solver, the default: closed-form solves in seconds), "adam"
            (the published method), or "evidence" (marginal likelihood). Observations are taken
            by "direct" on one and two axes, and by "evidence".
        kappa: Lattice lines per period of an axis ("direct").
        options: `DirectOptions`, `AdamOptions` or `EvidenceOptions`, to match the inference;
            None takes their defaults.

    Raises:
        ValueError: If an argument is out of its range or does not fit the inference.
        TypeError: If the options belong to another inference, or a resolution is no integer.
    """

    resolution: int | Sequence[int] | None = None
    _: KW_ONLY
    kernel: str = "stm"
    inference: str = "direct"
    kappa: float = 2.137
    options: DirectOptions | AdamOptions | EvidenceOptions | None = None

    def __post_init__(self) -> None:
        expected: dict[str, type[Any]] = {
            "direct": DirectOptions,
            "adam": AdamOptions,
            "evidence": EvidenceOptions,
        }
        if self.inference not in expected:
            raise ValueError(
                f"GPHMSolver: expected the inference 'direct', 'adam' or 'evidence', got "
                f"{self.inference!r}; 'direct' is the default"
            )
        mixtures = ("stm", "gm")
        kernels = mixtures if self.inference == "direct" else (*mixtures, "matern", "se")
        if self.kernel not in kernels:
            raise ValueError(
                f"GPHMSolver: expected a kernel of {kernels} with inference="
                f"{self.inference!r}, got {self.kernel!r}; the kernels without harmonics have "
                "no lattice and need inference='adam' or 'evidence'"
            )
        wanted = expected[self.inference]
        if self.options is not None and not isinstance(self.options, wanted):
            raise TypeError(
                f"GPHMSolver: expected options of type {wanted.__name__} with inference="
                f"{self.inference!r}, got {type(self.options).__name__}; change one of them"
            )
        if not self.kappa > 0:
            raise ValueError(
                f"GPHMSolver: expected kappa > 0, got {self.kappa}; about 2 and not an integer"
            )
        given = () if self.resolution is None else _as_tuple(self.resolution)
        if not all(isinstance(count, int) for count in given):
            raise TypeError(
                "GPHMSolver: expected a resolution of one integer, or one for each axis, got "
                f"{self.resolution!r}; leave it out to have it chosen"
            )
        if any(count < _SMALLEST_RESOLUTION for count in given):
            raise ValueError(
                f"GPHMSolver: expected a resolution of at least {_SMALLEST_RESOLUTION} points "
                f"per axis, got {self.resolution}; leave it out to have it chosen"
            )

    @override
    def solve(self, problem: Problem, *, callback: Callback | None = None) -> Solution[Field]:
        if self.inference == "direct":
            return self._solve_direct(problem, callback)
        resolution = self._resolution(problem)
        if self.inference == "adam":
            adam = self.options if isinstance(self.options, AdamOptions) else None
            return solve_adam(
                problem,
                resolution=resolution,
                kernel=self.kernel,
                options=adam,
                callback=callback,
            )
        evidence = self.options if isinstance(self.options, EvidenceOptions) else None
        return solve_evidence(
            problem,
            resolution=resolution,
            kernel=self.kernel,
            options=evidence,
            callback=callback,
        )

    def _solve_direct(self, problem: Problem, callback: Callback | None) -> Solution[Field]:
        options = self.options if isinstance(self.options, DirectOptions) else DirectOptions()
        options = replace(options, kappa=self.kappa)
        # beside observations the solution is a compromise, and a posterior says which
        compromise = problem.domain.ndim > 1 and bool(problem.observations)
        # the fast lines of a noisy right-hand side are those of its noise
        noisy = options.posterior or compromise
        resolution = self._resolution(problem, noisy=noisy)
        if noisy:
            one_axis = problem.domain.ndim == 1
            solve_posterior = solve_line_posterior if one_axis else solve_plane_posterior
            return solve_posterior(problem, resolution, options, callback)
        best = solve_direct(problem, resolution, options, callback)
        futile = 0
        while self.resolution is None and not best and futile < _FUTILE_REFINEMENTS:
            finer = refined_resolution(resolution)
            if finer is None:
                break
            resolution = finer
            solution = solve_direct(problem, resolution, options, callback)
            before, after = (held.stats["residual_norm"] for held in (best, solution))
            futile = 0 if after < _PROGRESS * before else futile + 1
            if solution or after < before:
                best = solution
        return best

    def _resolution(self, problem: Problem, *, noisy: bool = False) -> tuple[int, ...]:
        ndim = problem.domain.ndim
        if ndim > 3:
            raise ValueError(
                f"GPHMSolver: expected at most three axes, got {problem.domain.axes}; tensor "
                "grids grow too large beyond"
            )
        if self.resolution is None:
            return chosen_resolution(problem)
        given = _as_tuple(self.resolution)
        resolution = given * ndim if isinstance(self.resolution, int) else given
        if len(resolution) != ndim:
            raise ValueError(
                f"GPHMSolver: expected one resolution for all axes or one for each of "
                f"{problem.domain.axes}, got {resolution}; give {ndim}"
            )
        if not noisy:
            check_resolution(problem, resolution)
        return resolution


def _as_tuple(resolution: int | Sequence[int]) -> tuple[int, ...]:
    return (resolution,) if isinstance(resolution, int) else tuple(resolution)
