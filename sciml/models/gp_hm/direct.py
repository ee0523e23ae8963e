"""The direct solver: lattices, reweighting passes and repairs, judged by the residual."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sciml.models.gp_hm.direct_discretisation import Discretisation
from sciml.models.gp_hm.direct_field import HarmonicField
from sciml.models.gp_hm.direct_forms import discretisations
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_solution import HarmonicSolution, learned_spectrum
from sciml.models.gp_hm.repair import add_atoms, correct_atoms
from sciml.models.gp_hm.selection import Candidate, Judge
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Callback, Field

_ROUNDING = 1e-12  # a relative residual below is rounding; nothing is gained by going on
# below, a second form is not tried; the residual of a weak solution overstates its error
_GOOD_ENOUGH = {"least squares": 0.0, "strong": 1e-9, "weak": 1e-7, "weak_uniform": 1e-7}
_HOPELESS = 1e6  # times the best score: a lattice that cannot hold the solution
_NEWTON_TOLERANCE = 1e-6  # of the last step, above which Newton's method has not converged


def solve_direct(
    problem: Problem,
    resolution: Sequence[int],
    options: DirectOptions,
    callback: Callback | None = None,
) -> Solution[Field]:
    """Solve a linear or semilinear problem on a box by the harmonic-lattice solver.

    Every pass is a closed-form solve in the learned features; the solution with the smallest
    residual between the nodes wins (spec 6.2 and 6.2b). Nothing is chosen by test error.

    Args:
        problem: One equation for one field; in one dimension any coefficients, in two and three
            constant ones along single axes.
        resolution: Uniform nodes per axis.
        options: Options.
        callback: Called after each pass with the candidate's `field`, `spectrum`,
            `residual_norm`, `boundary_misfit`, `nyquist_fraction`, `num_passes`, `repaired`.

    Raises:
        ValueError: If the problem is not of this kind.
    """
    began = time.perf_counter()
    judge: Judge | None = None
    best: Candidate | None = None
    history: list[float] = []
    newton_steps = 0
    for discretisation in discretisations(problem, resolution, options):
        judge = judge or Judge(problem, discretisation.nodes)
        for candidate in _sweep(discretisation, judge):
            history.append(candidate.score)
            newton_steps += len(candidate.solution.steps)
            if best is None or candidate.score < best.score:
                best = candidate
            if callback is not None:
                callback(len(history), _progress(problem, candidate))
            if best.score < (_ROUNDING if discretisation.max_passes is None else 1e-8):
                break
        if best is not None and best.score < _GOOD_ENOUGH[best.form]:
            break
    if best is None:
        raise ValueError(
            "GPHMSolver: expected at least one lattice to try, got none; give nyquist_fractions"
        )
    status, detail = _verdict(problem, best, options.tolerance)
    stats = {
        "solver": "GPHMSolver(inference='direct')",
        "form": best.form,
        "residual_norm": best.residual_norm,
        "boundary_misfit": best.boundary_misfit,
        "resolution": tuple(resolution),
        "highest_frequency": {
            axis: features.largest_omega / (2.0 * math.pi)
            for axis, features in zip(
                problem.domain.axes, best.solution.all_features, strict=True
            )
        },
        "nyquist_fraction": best.nyquist_fraction,
        "num_passes": best.num_passes,
        "num_candidates": len(history),
        "repaired": best.repaired,
        "newton_steps": newton_steps,
        "linear_steps": best.solution.linear_steps,
        "spectrum": learned_spectrum(problem, best.solution),
        "seconds": time.perf_counter() - began,
    }
    if detail:
        stats["detail"] = detail
    return Solution(
        value=HarmonicField(problem, best.solution),
        status=status,
        converged=torch.tensor(status is Status.CONVERGED),
        num_steps=len(history),
        history=torch.tensor(history, dtype=torch.float64),
        stats=stats,
    )


def _sweep(discretisation: Discretisation, judge: Judge) -> Iterator[Candidate]:
    """All candidates: lattices from the highest frequency, passes, repair rounds."""
    options = discretisation.options
    fractions = options.nyquist_fractions or discretisation.fractions
    repairable = options.repair and discretisation.form != "weak"
    best = math.inf
    for fraction in fractions:
        repaired = repairable and fraction == fractions[0]
        for candidate in _passes(discretisation, judge, fraction, repaired=repaired):
            best = min(best, candidate.score)
            yield candidate
            if candidate.num_passes >= 2 and candidate.score > _HOPELESS * best:
                break


def _passes(
    discretisation: Discretisation, judge: Judge, fraction: float, *, repaired: bool
) -> Iterator[Candidate]:
    """Reweighting passes on one lattice, then the rounds of its repair."""
    options = discretisation.options
    periodic = discretisation.problem.domain.periodic
    features = discretisation.lattices(fraction)
    solution: HarmonicSolution | None = None
    passes = discretisation.max_passes or options.num_passes + (2 if repaired else 0)
    rounds = options.num_rounds if repaired and not all(periodic) else 0
    for number in range(passes + rounds):
        if solution is not None:
            if number <= passes:
                features = discretisation.learned(features, solution)
            if number == passes:
                features = [
                    own if repeats else add_atoms(own)
                    for own, repeats in zip(features, periodic, strict=True)
                ]
            elif number > passes:
                features = [
                    own if repeats else correct_atoms(own, solution.feature_coefficients(k))[0]
                    for k, (own, repeats) in enumerate(zip(features, periodic, strict=True))
                ]
        solution = discretisation.solve(features, first=number == 0, start=solution)
        residual_norm, misfit = judge(solution)
        yield Candidate(
            solution,
            residual_norm,
            misfit,
            form=discretisation.form or "least squares",
            nyquist_fraction=fraction,
            num_passes=number + 1,
            repaired=number >= passes,
        )
        if not math.isfinite(residual_norm + misfit):
            return


def _progress(problem: Problem, candidate: Candidate) -> dict[str, Any]:
    return {
        "residual_norm": candidate.residual_norm,
        "boundary_misfit": candidate.boundary_misfit,
        "nyquist_fraction": candidate.nyquist_fraction,
        "num_passes": candidate.num_passes,
        "repaired": candidate.repaired,
        "spectrum": learned_spectrum(problem, candidate.solution),
        "field": HarmonicField(problem, candidate.solution),
    }


def _verdict(problem: Problem, best: Candidate, tolerance: float) -> tuple[Status, str]:
    """How the solve ended, and why where it did not converge."""
    if not math.isfinite(best.score):
        return Status.NONFINITE, "no pass gave a finite solution"
    if best.solution.detail:
        return Status.MAX_STEPS, best.solution.detail
    step = best.solution.steps[-1] if best.solution.steps else math.inf
    if not problem.linear and not step < _NEWTON_TOLERANCE:
        return Status.MAX_STEPS, (
            f"Newton's method did not converge: its last step was {step:.2g} of the solution, "
            "and the last iterate is kept; raise max_newton_steps or the resolution"
        )
    if best.score <= tolerance:
        return Status.CONVERGED, ""
    return Status.STAGNATION, (
        f"the best relative residual between the nodes is {best.residual_norm:.2g} and the "
        f"misfit of the conditions {best.boundary_misfit:.2g}, above the tolerance "
        f"{tolerance:.2g}; raise the resolution"
    )
