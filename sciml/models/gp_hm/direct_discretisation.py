"""How features become a solution: least squares on a line, separable solves on grids."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.models.gp_hm.direct_basis import AxisBasis, LegendreBasis, NodalBasis
from sciml.models.gp_hm.direct_equation import Samples, SeparableEquation
from sciml.models.gp_hm.direct_grid import GridSolution, GridSystem
from sciml.models.gp_hm.direct_line import LineSolution, LineSystem
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.models.gp_hm.direct_solution import HarmonicSolution
from sciml.models.gp_hm.direct_variable import DiffusionSystem
from sciml.models.gp_hm.model import HarmonicFeatures, harmonic_lattice
from sciml.pde.compatibility import constant_is_free
from sciml.pde.problem import Problem


class Discretisation(ABC):
    """How given features become a solution of one problem at one resolution.

    Args:
        problem: The problem.
        resolution: Uniform nodes of each axis.
        options: Options of the direct solver.
    """

    form: str | None = None
    max_passes: int | None = None

    def __init__(
        self, problem: Problem, resolution: Sequence[int], options: DirectOptions
    ) -> None:
        self.problem, self.options = problem, options
        self.resolution = tuple(resolution)
        self.nodes = [problem.domain.points_along(k, n) for k, n in enumerate(resolution)]
        self.max_steps = 2 if problem.linear else options.max_newton_steps
        self.free_constant = constant_is_free(problem) and not problem.observations

    def lattices(self, nyquist_fraction: float) -> list[HarmonicFeatures]:
        """Features of each axis with equal weights.

        Those of a periodic axis are its own harmonics: every one meets the periodicity, and the
        spectrum of the solution has no lines between them.
        """
        domain = self.problem.domain
        return [
            harmonic_lattice(
                low,
                extent,
                highest_frequency=nyquist_fraction * (count - 1) / (2.0 * extent)
                - (1.0 / extent if periodic else 0.0),
                kappa=1.0 if periodic else self.options.kappa,
            )
            for low, extent, count, periodic in zip(
                domain.low, domain.extent, self.resolution, domain.periodic, strict=True
            )
        ]

    def learned(
        self, features: Sequence[HarmonicFeatures], solution: HarmonicSolution
    ) -> list[HarmonicFeatures]:
        """The lattices reweighted by a solution, on the axes that are not periodic."""
        return [
            own
            if periodic
            else own.reweighted(
                solution.feature_coefficients(k), keep_constant=self.free_constant
            )
            for k, (own, periodic) in enumerate(
                zip(features, self.problem.domain.periodic, strict=True)
            )
        ]

    @property
    @abstractmethod
    def fractions(self) -> tuple[float, ...]:
        """Default lattices to try, as fractions of the Nyquist frequency."""

    @abstractmethod
    def solve(
        self,
        features: Sequence[HarmonicFeatures],
        *,
        first: bool,
        start: HarmonicSolution | None,
    ) -> HarmonicSolution:
        """The solution in given features; `first` on the pass with equal weights."""


@final
class LineDiscretisation(Discretisation):
    """Least squares in one dimension."""

    def __init__(
        self, problem: Problem, resolution: Sequence[int], options: DirectOptions
    ) -> None:
        if problem.num_fields != 1 or problem.num_equations != 1:
            raise ValueError(
                f"GPHMSolver: expected one field and one equation, got fields {problem.fields} "
                f"and {problem.num_equations} equations; eliminate the others"
            )
        super().__init__(problem, resolution, options)

    @property
    @override
    def fractions(self) -> tuple[float, ...]:
        return (0.95, 0.75, 0.6, 0.45)

    @override
    def solve(
        self,
        features: Sequence[HarmonicFeatures],
        *,
        first: bool,
        start: HarmonicSolution | None,
    ) -> LineSolution:
        del first
        previous = start if isinstance(start, LineSolution) else None
        system = LineSystem(self.problem, self.nodes[0], features[0])
        solution = system.solve(max_steps=self.max_steps, start=previous)
        return solution.centred() if self.free_constant else solution


@final
class GridDiscretisation(Discretisation):
    """Separable solves in two and three dimensions, in strong or weak form."""

    def __init__(
        self,
        equation: SeparableEquation,
        resolution: Sequence[int],
        options: DirectOptions,
        form: str,
    ) -> None:
        super().__init__(equation.problem, resolution, options)
        self.equation, self.form = equation, form
        self._samples: Samples | None = None

    @property
    @override
    def fractions(self) -> tuple[float, ...]:
        if self.form == "weak":
            return (0.95, 0.6)
        if self.form == "weak_uniform":
            # above 0.6 functions are not controlled between uniform nodes near the ends
            return (0.6, 0.45, 0.35)
        # in three dimensions spurious eigenvalues reach the right half plane above 0.6
        return (0.6, 0.85) if len(self.resolution) > 2 else (0.95, 0.6, 0.45, 0.35)

    @override
    def solve(
        self,
        features: Sequence[HarmonicFeatures],
        *,
        first: bool,
        start: HarmonicSolution | None,
    ) -> GridSolution:
        bases = self._bases(features, first=first)
        lines = [basis.nodes for basis in bases]
        samples = self._sample(lines)
        values = None
        if start is not None and not self.problem.linear:
            values = start.on_grid(lines, (0,) * len(lines))
        system = GridSystem(self.equation, bases, samples, free_constant=self.free_constant)
        solution = system.solve(max_steps=self.max_steps, start=values)
        return solution.centred() if self.free_constant else solution

    def _sample(self, lines: Sequence[Tensor]) -> Samples:
        """The equation at the nodes; the nodes of a lattice stay the same from pass to pass."""
        held = self._samples
        if held is None or not all(map(torch.equal, held.lines, lines)):
            held = self._samples = self.equation.sample(lines)
        return held

    def _bases(self, features: Sequence[HarmonicFeatures], *, first: bool) -> list[AxisBasis]:
        if self.form == "weak":
            return _weak_bases(self, features, cut=1e-12)
        cut = 1e-12 if first and len(self.resolution) < 3 else 1e-10
        if self.form == "weak_uniform":
            return _weak_bases(self, features, cut=cut, uniform=True)
        return [
            NodalBasis(own, line, cut=cut)
            for own, line in zip(features, self.nodes, strict=True)
        ]


@final
class VariableDiscretisation(Discretisation):
    """Weak form with coefficients that vary in space, by conjugate gradients."""

    form = "weak"
    max_passes = 1  # the lattice with equal weights holds any smooth solution on Gauss nodes

    def __init__(
        self, equation: SeparableEquation, resolution: Sequence[int], options: DirectOptions
    ) -> None:
        if options.form not in (None, "weak"):
            raise ValueError(
                "GPHMSolver: expected form='weak' with coefficients that vary in space, got "
                f"form={options.form!r}; leave it out"
            )
        super().__init__(equation.problem, resolution, options)
        self.equation = equation

    @property
    @override
    def fractions(self) -> tuple[float, ...]:
        return (0.6, 0.95)

    @override
    def solve(
        self,
        features: Sequence[HarmonicFeatures],
        *,
        first: bool,
        start: HarmonicSolution | None,
    ) -> GridSolution:
        del first, start
        bases = _weak_bases(self, features, cut=1e-12)
        return DiffusionSystem(self.equation, bases).solve()


def _weak_bases(
    discretisation: Discretisation,
    features: Sequence[HarmonicFeatures],
    *,
    cut: float,
    uniform: bool = False,
) -> list[AxisBasis]:
    """Symmetric bases, sampled at Gauss or uniform nodes; harmonics on periodic axes."""
    periodic = discretisation.problem.domain.periodic
    return [
        NodalBasis(own, line, cut=cut)
        if repeats
        else LegendreBasis(own, cut=cut, sample=line if uniform else None)
        for own, line, repeats in zip(features, discretisation.nodes, periodic, strict=True)
    ]
