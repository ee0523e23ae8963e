"""Posterior of the lattice solver in two dimensions, in the eigenfunctions of the equation."""

import math
import time
from collections.abc import Sequence

import torch

from sciml.linalg.kronecker import kronecker_product
from sciml.models.gp_hm.direct_basis import LegendreBasis
from sciml.models.gp_hm.direct_field import HarmonicField
from sciml.models.gp_hm.direct_grid import GridSolution
from sciml.models.gp_hm.direct_observations import observed_values
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_plane_equation import PlaneEquation
from sciml.models.gp_hm.direct_plane_posterior import PlanePosterior
from sciml.models.gp_hm.direct_solution import learned_spectrum
from sciml.models.gp_hm.direct_source import SourcePosterior, condition_source
from sciml.models.gp_hm.selection import Judge
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Callback, Field

_NUM_PASSES = 6  # the weights have settled by then
_CUT = 1e-12


def solve_plane_posterior(
    problem: Problem,
    resolution: Sequence[int],
    options: DirectOptions,
    callback: Callback | None = None,
) -> Solution[Field]:
    r"""Posterior of a linear separable problem on a rectangle, of which the data are noisy.

    The right-hand side f is a Gaussian process with a separable spectrum of lines on each axis,
    observed at the uniform nodes with independent noise; the operator and the conditions are
    exact. Covariances are diagonal in the singular directions of the samples of each axis, the
    operator in its eigenfunctions (symmetric weak form): the cost is that of a few products of
    matrices of the size of the grid. Weights are learned from the posterior mean and smoothed
    as in one dimension, in six passes.

    `Observations` of u then condition this Gaussian. Where a side has no condition its values
    are unknowns, with a smooth prior whose variance and correlation length the observations
    choose by their own evidence.

    Args:
        problem: A linear equation of second order along two axes, with constant coefficients.
        resolution: Uniform nodes of each axis.
        options: Options; the first of `nyquist_fractions` is the lattice.
        callback: Called after each pass with `residual_norm`, `boundary_misfit` and `evidence`;
            observations count in the last one only.

    Raises:
        ValueError: If the problem is not of this kind, in words.
    """
    began = time.perf_counter()
    plane = PlaneEquation(problem, resolution, options)
    judge = Judge(problem, plane.nodes)
    history: list[float] = []

    def judged(solution: GridSolution) -> tuple[float, float]:
        residual_norm, misfit = judge(solution)
        if callback is not None:
            known = {"residual_norm": residual_norm, "boundary_misfit": misfit}
            callback(len(history), known | {"evidence": history[-1]})
        return residual_norm, misfit

    source = condition_source(plane.features, plane.nodes, plane.samples)
    history.append(source.evidence)
    while len(history) < _NUM_PASSES:
        if callback is not None:
            judged(plane.solve(source))
        source = condition_source(source.learned(), plane.nodes, plane.samples)
        history.append(source.evidence)
    observed = observed_values(problem)
    posterior = PlanePosterior(plane, source, observed)
    residual_norm, misfit = judged(posterior.solution)
    predicted = posterior.solution.evaluate(observed.points, (0, 0))
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
            "noise": math.sqrt(source.noise_variance),
            "evidence": source.evidence,
            "functions": posterior.ranks,
            "spectrum": learned_spectrum(problem, _in_lines(posterior.solution, source)),
            "seconds": time.perf_counter() - began,
        },
    )


def _in_lines(solution: GridSolution, source: SourcePosterior) -> GridSolution:
    """The solution in features with the weights learned from the right-hand side.

    Its own bases have equal weights, in which a wave between two lines is spread over many.
    """
    bases = [LegendreBasis(axis.features, cut=_CUT) for axis in source.axes]
    factors = [
        new.test @ old.evaluate(new.nodes)
        for new, old in zip(bases, solution.bases, strict=True)
    ]
    return GridSolution(tuple(bases), kronecker_product(factors, solution.coefficients), ())
