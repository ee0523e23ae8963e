"""What the conditions of a problem have to satisfy among themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from sciml.domain import Box
from sciml.pde.conditions import Condition, FaceCondition, Observations, Periodic
from sciml.pde.points import Points


def check_names(domain: Box, fields: tuple[str, ...]) -> None:
    """Refuse axis names that points cannot carry, and missing or doubled fields."""
    for axis in domain.axes:
        if not axis.isidentifier() or axis in ("axes", "coordinates"):
            raise ValueError(
                f"Problem: expected axis names that can be written as points.<axis>, got "
                f"{axis!r}; rename it"
            )
    if not fields or len(set(fields)) != len(fields):
        raise ValueError(
            f"Problem: expected one or more distinct field names, got {fields}; rename them"
        )


def with_field(condition: Condition, fields: tuple[str, ...]) -> Condition:
    """The condition with the name of its field, which may be left out if there is only one."""
    if isinstance(condition, Periodic) or condition.field in fields:
        return condition
    if condition.field is not None or len(fields) != 1:
        raise ValueError(
            f"Problem: expected {condition} to name one of the fields {fields}, got "
            f"field={condition.field!r}; pass field= to the condition"
        )
    # `replace` runs the checks of the condition's own class again, on the same values
    named: Condition = replace(condition, field=fields[0])  # type: ignore[type-var]  # all concrete conditions are dataclasses
    return named


def check_conditions(domain: Box, conditions: Sequence[Condition]) -> None:
    """Refuse conditions on unknown axes, doubled ones, and observations outside the box."""
    seen: dict[tuple[str | None, str, str, tuple[int, ...]], Condition] = {}
    for condition in conditions:
        if isinstance(condition, Observations):
            _check_observed(domain, condition)
            continue
        if condition.axis not in domain.axes:
            raise ValueError(
                f"Problem: expected conditions on the axes {domain.axes}, got one on "
                f"{condition.axis!r}; name an axis of the domain"
            )
        if isinstance(condition, FaceCondition):
            orders = tuple(sorted(condition.coefficients))
            key = (condition.field, condition.axis, condition.side, orders)
            if key in seen:
                raise ValueError(
                    f"Problem: expected one condition of a kind per face, got {condition} "
                    f"beside {seen[key]}; leave one out"
                )
            seen[key] = condition


def _check_observed(domain: Box, observations: Observations) -> None:
    points = Points(domain.axes, observations.points).coordinates
    low = torch.tensor(domain.low, dtype=torch.float64)
    high = torch.tensor(domain.high, dtype=torch.float64)
    outside = ((points < low) | (points > high)).any(-1)
    if bool(outside.any()):
        raise ValueError(
            f"Problem: expected observations inside {domain}, got "
            f"{points[outside][0].tolist()}; drop them or enlarge the box"
        )


def check_periodic(domain: Box, conditions: Sequence[Condition]) -> None:
    """Refuse conditions on the ends of a periodic axis, which has none."""
    periodic: Mapping[str, bool] = dict(zip(domain.axes, domain.periodic, strict=True))
    for condition in conditions:
        if isinstance(condition, FaceCondition) and periodic[condition.axis]:
            raise ValueError(
                f"Problem: expected no face on the periodic axis {condition.axis!r}, got "
                f"{condition}; drop the condition or the periodicity"
            )
