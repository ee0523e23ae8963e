"""Which discretisations of a problem are tried, and in which order."""

from collections.abc import Iterator, Sequence

from sciml.models.gp_hm.direct_discretisation import (
    Discretisation,
    GridDiscretisation,
    LineDiscretisation,
    VariableDiscretisation,
)
from sciml.models.gp_hm.direct_equation import SeparableEquation, separable_equation
from sciml.models.gp_hm.direct_options import DirectOptions
from sciml.pde.compatibility import check_compatible, constant_is_free
from sciml.pde.conditions import Initial
from sciml.pde.problem import Problem


def discretisations(
    problem: Problem, resolution: Sequence[int], options: DirectOptions
) -> Iterator[Discretisation]:
    """The forms of the equation in the order in which they are tried.

    Raises:
        ValueError: If the direct solver cannot solve the problem, or its data contradict each
            other, in words.
    """
    if problem.domain.ndim == 1:
        if constant_is_free(problem):
            check_compatible(problem, resolution)
        yield LineDiscretisation(problem, resolution, options)
        return
    if problem.observations:
        raise ValueError(
            "GPHMSolver: expected no Observations in more than one dimension without a "
            f"posterior, got {len(problem.observations)}; pass DirectOptions(posterior=True)"
        )
    equation = separable_equation(problem)
    symmetric = equation.varying or _weak_is_possible(equation)
    if symmetric and constant_is_free(problem):
        check_compatible(problem, resolution)
    if equation.varying:
        yield VariableDiscretisation(equation, resolution, options)
        return
    for form in _forms(equation, options):
        yield GridDiscretisation(equation, resolution, options, form)


def _forms(equation: SeparableEquation, options: DirectOptions) -> tuple[str, ...]:
    """Strong and weak form with constant coefficients, the more accurate one first."""
    problem, given = equation.problem, options.form
    if not _weak_is_possible(equation):
        if given in ("weak", "weak_uniform"):
            raise ValueError(
                f"GPHMSolver: expected derivatives of second order only for form={given!r}, "
                f"got orders {[sorted(axis) for axis in equation.coefficients]} by axis; use "
                "form='strong'"
            )
        return ("strong",)
    if constant_is_free(problem):
        if given == "strong":
            raise ValueError(
                "GPHMSolver: expected a weak form where the conditions leave a constant free, "
                "got form='strong'; leave it out"
            )
        # constants are no exact null space of the strong form
        return (given or "weak",)
    if given is not None:
        return (given,)
    derivative = any(1 in c.coefficients for c in problem.face_conditions)
    weak_first = derivative or any(problem.domain.periodic)
    return ("weak", "strong") if weak_first else ("strong", "weak")


def _weak_is_possible(equation: SeparableEquation) -> bool:
    """Whether integration by parts makes every axis symmetric."""
    orders = {order for axis in equation.coefficients for order in axis}
    started = any(isinstance(c, Initial) for c in equation.problem.face_conditions)
    return orders == {2} and not started
