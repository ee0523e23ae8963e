"""Accuracy against cost: a surrogate, persistence and classical solvers on the same samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch

from sciml.evaluation.evaluate import Evaluation, EvaluationSet, FieldMap, Forecaster, evaluate
from sciml.spec import DatasetSpec


@final
@dataclass(frozen=True)
class Contestant:
    """One entry of a comparison.

    Args:
        name: Shown in the table and used in metric names, e.g. ``"solver_32x32"``.
        forecaster: What predicts.
        role: The ``"surrogate"`` is judged against ``"trivial"`` baselines and classical
            ``"solver"``s.
        num_parameters: Trainable numbers; zero for a solver.
    """

    name: str
    forecaster: Forecaster | FieldMap
    role: Literal["surrogate", "trivial", "solver"] = "surrogate"
    num_parameters: int = 0


@final
@dataclass(frozen=True)
class Row:
    """A contestant with what it reached.

    Args:
        contestant: Who.
        evaluation: What.
        error: The headline error: of the rollout, or of one application on data without time.
    """

    contestant: Contestant
    evaluation: Evaluation
    error: float


@final
@dataclass(frozen=True)
class Comparison:
    """What everyone reached on one split of one data set.

    Args:
        rows: The surrogate first, then the baselines.
        spec: The data.
        split: Name of the split, the prefix of the surrogate's metrics.
    """

    rows: tuple[Row, ...]
    spec: DatasetSpec
    split: str = "test"

    @property
    def surrogate(self) -> Row:
        """The row that is judged."""
        return self.rows[0]

    @property
    def time_unit(self) -> str:
        """What the milliseconds are counted per, besides the sample."""
        return "time unit" if self.spec.autoregressive else "application"

    def metrics(self) -> dict[str, float]:
        """Flat names: ``test/…`` for the surrogate, ``baseline/<name>/…`` for the others."""
        flat: dict[str, float] = {}
        for row in self.rows:
            surrogate = row.contestant.role == "surrogate"
            prefix = self.split if surrogate else f"baseline/{row.contestant.name}"
            flat |= {f"{prefix}/{key}": value for key, value in row.evaluation.metrics.items()}
            unit = self.time_unit.replace(" ", "_")
            flat[f"{prefix}/milliseconds_per_{unit}"] = row.evaluation.milliseconds
        return flat


def compare(
    contestants: Sequence[Contestant],
    dataset: EvaluationSet,
    one_step: EvaluationSet | None = None,
    *,
    split: str = "test",
    batch_size: int = 20,
    num_examples: int = 2,
    device: torch.device | str = "cpu",
) -> Comparison:
    """Evaluate and time every contestant on the same samples (see `evaluate`).

    Args:
        contestants: Exactly one surrogate, and baselines with names of their own.
        dataset: One rollout per trajectory, or the samples of a data set without time.
        one_step: Windows of one step, for ``one_step_relative_l2``.
        split: Prefix of the surrogate's metrics.
        batch_size: Samples predicted, and timed, at once.
        num_examples: Samples kept for figures.
        device: Where the forecasters live.

    Returns:
        The comparison, surrogate first.

    Raises:
        ValueError: If there is not exactly one surrogate, a name repeats or there are no
        samples.
    """
    ordered = sorted(contestants, key=lambda c: c.role != "surrogate")
    num_surrogates = sum(c.role == "surrogate" for c in contestants)
    if num_surrogates != 1 or len({c.name for c in contestants}) != len(contestants):
        raise ValueError(
            "compare: expected one surrogate and baselines with distinct names, got "
            f"{[(c.name, c.role) for c in contestants]}; compare one surrogate at a time"
        )
    headline = "rollout_relative_l2" if dataset.spec.autoregressive else "relative_l2"
    rows: list[Row] = []
    for contestant in ordered:
        evaluation = evaluate(
            contestant.forecaster,
            dataset,
            one_step,
            batch_size=batch_size,
            num_examples=num_examples,
            device=device,
        )
        rows.append(Row(contestant, evaluation, evaluation.metrics[headline]))
    return Comparison(tuple(rows), dataset.spec, split)


def verdict(comparison: Comparison) -> list[str]:
    """What the numbers say, in sentences, the unwelcome ones included.

    A surrogate that does not beat a trivial baseline, or that a classical solver beats in
    accuracy and speed at once, is told so.
    """
    sentences: list[str] = []
    ours = comparison.surrogate
    for row in comparison.rows[1:]:
        name = row.contestant.name
        if row.contestant.role == "trivial":
            if not ours.error < row.error:
                sentences.append(
                    f"{ours.contestant.name} is no more accurate than {name} "
                    f"({ours.error:.2e} against {row.error:.2e}): it has learned "
                    "nothing useful."
                )
            continue
        sentences.append(_against_solver(ours, row, comparison.time_unit))
    return sentences


def _against_solver(ours: Row, solver: Row, unit: str) -> str:
    """One sentence on accuracy and speed against a classical solver."""
    us, them = ours.contestant.name, solver.contestant.name
    our_time, their_time = ours.evaluation.milliseconds, solver.evaluation.milliseconds
    errors = f"relative L2 error {ours.error:.2e} against {solver.error:.2e}"
    times = f"{our_time:.3g} against {their_time:.3g} ms per {unit} and sample"
    more_accurate, faster = ours.error < solver.error, our_time < their_time
    if more_accurate and faster:
        return f"{us} beats {them} in accuracy and speed: {errors}, {times}."
    if more_accurate:
        return f"{us} is more accurate than {them} but slower: {errors}, {times}."
    if faster:
        return f"{us} is faster than {them} but less accurate: {errors}, {times}."
    return (
        f"{us} loses to {them} in accuracy and in speed: {errors}, {times}. "
        "On this data the classical solver is the better choice."
    )
