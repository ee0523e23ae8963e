"""Posterior of the lattice solver in one dimension: smoothed weights and an evidence each."""

import math
import time
from collections.abc import Sequence

import torch

from sciml.models.gp_hm.direct_discretisation import LineDiscretisation
from sciml.models.gp_hm.direct_field import HarmonicField
from sciml.models.gp_hm.direct_line_posterior import BACKGROUNDS, LineData
from sciml.models.gp_hm.direct_observations import observed_values
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_solution import learned_spectrum
from sciml.models.gp_hm.selection import Judge
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Callback, Field

_NUM_PASSES = 6  # the weights have settled by then


def solve_line_posterior(
    problem: Problem,
    resolution: Sequence[int],
    options: DirectOptions,
    callback: Callback | None = None,
) -> Solution[Field]:
    r"""Posterior mean and deviation of a linear problem on one axis with a noisy equation.

    With weights S, coefficients :math:`a = S z, z \sim N(0, s_p I)`, and independent noise
    :math:`s_e` of the scaled rows, prior and noise variance maximise the evidence in the
    singular basis of the rows, noisy observations included. The next weights are smoothed
    energies of the mean plus a smooth part, whose size is that of the largest evidence.

    Source: spec 6.2b, recipe 6; Rasmussen and Williams (2006), §5.4.1.

    Args:
        problem: A linear equation for one field on one axis.
        resolution: Uniform nodes of the only axis.
        options: Options; the first of `nyquist_fractions` is the lattice.
        callback: Called after each pass with `residual_norm` and `evidence`.

    Raises:
        ValueError: If the problem is nonlinear, or has several fields or too many observations.
    """
    if not problem.linear:
        raise ValueError(
            f"GPHMSolver: expected a linear problem with posterior=True, got {problem!r}; use "
            "inference='evidence', or drop the posterior"
        )
    began = time.perf_counter()
    discretisation = LineDiscretisation(problem, resolution, options)
    judge = Judge(problem, discretisation.nodes)
    fractions = options.nyquist_fractions or discretisation.fractions
    (features,) = discretisation.lattices(fractions[0])
    observed = observed_values(problem, noisy_only=True)
    data = LineData(problem, discretisation.nodes[0], observed)
    posterior, level = data.condition(features), 0
    history: list[float] = []
    residual_norm, misfit = math.inf, math.inf
    for number in range(1, _NUM_PASSES + 1):
        if number > 1:
            # every size of the smooth part at first, later the neighbours of the last one
            near = range(max(level - 1, 1), min(level + 2, len(BACKGROUNDS)))
            found = data.learn(posterior, [0, *near] if number > 2 else range(len(BACKGROUNDS)))
            level = max(found, key=lambda k: found[k].evidence)
            posterior = found[level]
        history.append(posterior.evidence)
        residual_norm, misfit = judge(posterior.solution)
        if callback is not None:
            known = {"residual_norm": residual_norm, "evidence": posterior.evidence}
            callback(number, known)
    predicted = posterior.solution.on_grid([observed.points[:, 0]], (0,))
    good = math.isfinite(residual_norm) and misfit < math.sqrt(options.tolerance)
    return Solution(
        value=HarmonicField(problem, posterior.solution, posterior.deviation),
        status=Status.CONVERGED if good else Status.STAGNATION,
        converged=torch.tensor(good),
        num_steps=_NUM_PASSES,
        history=torch.tensor(history, dtype=torch.float64),
        stats={
            "solver": "GPHMSolver(inference='direct', posterior)",
            "residual_norm": residual_norm,
            "boundary_misfit": misfit,
            "observation_misfit": observed.misfit(predicted),
            "resolution": tuple(resolution),
            "num_passes": _NUM_PASSES,
            "noise": math.sqrt(posterior.noise_variance) * data.scale,
            "background": BACKGROUNDS[level],
            "evidence": posterior.evidence,
            "spectrum": learned_spectrum(problem, posterior.solution),
            "seconds": time.perf_counter() - began,
        },
    )
