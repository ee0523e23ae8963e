"""Options of the direct solver."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class DirectOptions:
    """What the direct solver may be told; the defaults are those of spec 6.2b.

    Args:
        kappa: Lattice lines per period of an axis, not near an integer.
        form: "strong" (uniform nodes) or "weak" (Gauss nodes, symmetric) in two and three
            dimensions. None takes the weak form first for sides with a prescribed derivative
            and periodic axes, else the strong one, and adds the other if rounding was not
            nearly reached. The weak form samples the equation at nodes of its own, as many as
            the frequencies that the resolution holds need; "weak_uniform" is the weak form
            fitted to samples at the uniform nodes alone.
        repair: Whether atoms off the lattice are tried (on uniform nodes).
        num_passes: Reweighting passes per lattice; two more before a repair.
        num_rounds: Rounds of frequency correction in a repair.
        nyquist_fractions: Highest lattice frequencies to try, over the Nyquist frequency of the
            nodes, the first one with the repair; None chooses by dimension and form.
        max_newton_steps: Steps of a first solve of a nonlinear equation.
        tolerance: Relative residual between the nodes, plus misfit of the conditions, that
            counts as converged. The sweep always goes on to the best it can find.
        posterior: Whether the equation counts as noisy: posterior mean and standard deviation
            instead of the solution with the least residual. For linear problems on one axis,
            and on two with constant coefficients of second derivatives. With `Observations` on
            two axes it is always the posterior.
    """

    kappa: float = 2.137
    form: str | None = None
    repair: bool = True
    num_passes: int = 5
    num_rounds: int = 4
    nyquist_fractions: tuple[float, ...] | None = None
    max_newton_steps: int = 20
    tolerance: float = 1e-6
    posterior: bool = False

    def __post_init__(self) -> None:
        if not (self.kappa > 0 and 0 < self.tolerance < 1):
            raise ValueError(
                f"GPHMSolver: expected kappa > 0 and 0 < tolerance < 1, got kappa={self.kappa} "
                f"and tolerance={self.tolerance}; kappa is about 2 and not an integer"
            )
        if self.form not in (None, "strong", "weak", "weak_uniform"):
            raise ValueError(
                "GPHMSolver: expected form 'strong', 'weak' or 'weak_uniform', got "
                f"{self.form!r}; leave it out to have it chosen"
            )
        counts = (self.num_passes, self.num_rounds, self.max_newton_steps)
        if min(counts) < 1:
            raise ValueError(
                "GPHMSolver: expected num_passes, num_rounds and max_newton_steps of at least "
                f"1, got {counts}; pass repair=False for no repair"
            )
        fractions = self.nyquist_fractions
        if fractions is not None and not (fractions and all(0 < f <= 1 for f in fractions)):
            raise ValueError(
                "GPHMSolver: expected nyquist_fractions in (0, 1], got "
                f"{fractions}; frequencies above the Nyquist frequency are aliased"
            )
