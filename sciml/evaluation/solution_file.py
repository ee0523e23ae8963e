"""Solved problems as files: an interpolant that evaluates anywhere, and values on a grid."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from sciml.data.writers.atomic import write_atomically
from sciml.domain import Box
from sciml.evaluation.report import write_json
from sciml.evaluation.solution_field import PosteriorField, interpolant, with_posterior
from sciml.evaluation.solution_values import GridValues
from sciml.pde.jet import Jet
from sciml.pde.points import Points
from sciml.pde.problem import Problem
from sciml.solution import Solution, Status
from sciml.solvers.base import Field
from sciml.solvers.spectral_axis import spectral_axes
from sciml.solvers.spectral_field import SpectralField
from sciml.typing import StrPath

STEM, FORMAT = "solution", 1


def save_solution(
    folder: StrPath, problem: Problem, solution: Solution[Field], grid: GridValues
) -> Path:
    """Write ``solution.safetensors`` and ``solution.json``, which `load_solution` reads.

    The tensors are ``nodes`` (values of an interpolant, see `interpolant`), ``grid/<axis>``,
    ``value``, ``residual``, ``exact`` where it is known, ``std`` where there is a posterior and
    ``variance`` (nodes of an interpolant of its own) where that is resolved, ``history``, and
    the learned spectrum by axis where the solver has one.

    Args:
        folder: Run folder; made if needed.
        problem: What was solved.
        solution: What the solver gave.
        grid: The solution on the grid to keep.

    Returns:
        The JSON file.

    Raises:
        OSError: If the folder cannot be written; nothing half-written stays.
    """
    field = interpolant(problem, solution.value)
    posterior = with_posterior(problem, solution.value)
    tensors = {
        "nodes": field.values,
        "value": grid.value,
        "residual": grid.residual,
        "history": solution.history,
    }
    tensors |= {f"grid/{a}": line for a, line in zip(field.axes, grid.lines, strict=True)}
    variance = posterior.variance if isinstance(posterior, PosteriorField) else None
    optional = {
        "exact": grid.exact,
        "std": grid.deviation,
        "variance": variance and variance.values,
    }
    tensors |= {name: values for name, values in optional.items() if values is not None}
    for axis, lines in solution.stats.get("spectrum", {}).items():
        tensors |= {f"spectrum/{axis}/{name}": values for name, values in lines.items()}
    contents = save({name: t.detach().contiguous().clone() for name, t in tensors.items()})
    target = Path(folder) / f"{STEM}.safetensors"
    write_atomically(target, lambda path: path.write_bytes(contents))
    domain = problem.domain
    description = {
        "format": FORMAT,
        "problem": problem.name,
        "fields": list(problem.fields),
        "axes": list(domain.axes),
        "low": list(domain.low),
        "high": list(domain.high),
        "periodic": list(domain.periodic),
        "status": solution.status.name,
        "converged": bool(solution),
        "num_steps": solution.num_steps,
        "interpolation_tail": list(field.coefficient_tail()),
        "variance_tail": None if variance is None else list(variance.coefficient_tail()),
        "stats": _plain({k: v for k, v in solution.stats.items() if k != "spectrum"}),
        "sha256": hashlib.sha256(contents).hexdigest(),
    }
    return write_json(Path(folder) / f"{STEM}.json", description)


def load_solution(run_folder: StrPath) -> Solution[Field]:
    """The solution of a run: ``load_solution(folder).value(points)``.

    No problem and no configuration are needed. The field is an interpolant: it has all
    derivatives, and the standard deviation of the posterior where one was kept.

    Args:
        run_folder: Folder with the two files that `save_solution` wrote.

    Raises:
        FileNotFoundError: If one of them is missing.
        ValueError: If they do not belong together or have another format.
    """
    folder = Path(run_folder)
    written, stored = folder / f"{STEM}.json", folder / f"{STEM}.safetensors"
    for path in (written, stored):
        if not path.is_file():
            raise FileNotFoundError(
                f"load_solution: expected {path.name} in {folder}, found none; give the folder "
                "of a solve that finished"
            )
    try:
        described = json.loads(written.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"load_solution: expected {written} to be JSON, got {error}; copy it again"
        ) from None
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError(
            f"load_solution: expected a solution in format {FORMAT}, got {written}; load it "
            "with the version of sciml that wrote it"
        )
    contents = stored.read_bytes()
    if hashlib.sha256(contents).hexdigest() != described["sha256"]:
        raise ValueError(
            f"load_solution: expected the file that {written.name} describes, got {stored} "
            "with another checksum: it was cut or swapped; copy both files again"
        )
    tensors = load(contents)
    return Solution(
        value=_field(described, tensors),
        status=Status[described["status"]],
        converged=torch.tensor(described["converged"]),
        num_steps=described["num_steps"],
        history=tensors["history"],
        stats=described["stats"] | {"spectrum": _spectrum(tensors)},
    )


def _field(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Field:
    """The interpolant; it belongs to a problem whose equation is not known any more."""

    def values(points: Points, *fields: Jet) -> tuple[Tensor, ...]:
        return tuple(field.value for field in fields)

    box = Box(*(tuple(described[name]) for name in ("axes", "low", "high", "periodic")))
    fields = tuple(described["fields"])
    problem = Problem(box, values, (), fields=fields, name=described["problem"])

    def through(nodes: Tensor) -> SpectralField:
        return SpectralField(problem, spectral_axes(box, tuple(nodes.shape[1:])), nodes)

    mean = through(tensors["nodes"])
    if "variance" not in tensors:
        return mean
    return PosteriorField(problem, mean, through(tensors["variance"]))


def _spectrum(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, values in tensors.items():
        kind, *rest = name.split("/")
        if kind == "spectrum":
            axis, quantity = rest
            found.setdefault(axis, {})[quantity] = values
    return found


def _plain(value: Any) -> Any:
    """A statistic as JSON; numbers that are not finite as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
