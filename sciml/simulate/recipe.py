"""What a data recipe is: named parameters, a self-description, and samples on request.

Each module of `sciml.simulate.recipes` holds one recipe and is found by its name; there is no
table to keep up to date.
"""

import difflib
import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import (
    Any,
    Literal,
    Protocol,
    final,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from jaxtyping import Float
from torch import Tensor

from sciml.simulate import recipes
from sciml.spec import DatasetSpec


@final
@dataclass(frozen=True)
class Simulation:
    """Samples made by a recipe.

    Args:
        fields: Trajectories in physical units, the initial frame included.
        smallest_step: Smallest time step that any of them needed.
        largest_step: Largest time step that any of them took.
    """

    fields: Float[Tensor, "n t c *space"]
    smallest_step: float
    largest_step: float


@runtime_checkable
class Forecaster(Protocol):
    """Predicts the frames (b, num_steps, c, *space) after a history (b, h c, *space)."""

    def rollout(self, u: Tensor, num_steps: int, *, params: Tensor | None = None) -> Tensor:
        """Predict `num_steps` frames, without the initial ones."""


@dataclass(frozen=True)
class Recipe(ABC):
    """A way to simulate a data set; the dataclass fields of a subclass are its parameters."""

    @property
    @abstractmethod
    def solver(self) -> str:
        """One line on the numerical method, for the record."""

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Frames of a trajectory, the initial one included."""

    @property
    @abstractmethod
    def chunk_size(self) -> int:
        """Samples that are best simulated together on one core."""

    @abstractmethod
    def spec(self, name: str) -> DatasetSpec:
        """Self-description of the data, under the name of the data set."""

    @abstractmethod
    def simulate(self, indices: Sequence[int], seed: int) -> Simulation:
        """Simulate samples, each of which depends on (seed, index) alone."""

    @abstractmethod
    def forecaster(self, resolution: tuple[int, ...]) -> Forecaster:
        """The classical solver on a coarser grid: what a surrogate here has to beat."""

    @property
    def name(self) -> str:
        """Name of the recipe: that of its module."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters with their values, as plain JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def recipe_names() -> list[str]:
    """Names of all recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(recipes.__path__))


def make_recipe(name: str, **parameters: Any) -> Recipe:
    """Build a recipe from its name and parameters.

    Args:
        name: Module name in `sciml.simulate.recipes`.
        **parameters: The recipe's own; what is left out keeps its default.

    Raises:
        ValueError: If the name or a parameter is unknown (with the nearest valid name), or a
            value is out of range.
        TypeError: If a value has the wrong type.
    """
    names = recipe_names()
    if name not in names:
        raise ValueError(
            f"make_recipe: expected one of the recipes {names}, got {name!r}"
            f"{_nearest(name, names)}"
        )
    module = importlib.import_module(f"{recipes.__name__}.{name}")
    (cls,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Recipe) and value is not Recipe
    )
    hints = get_type_hints(cls)
    valid = [field.name for field in fields(cls)]
    for key, value in parameters.items():
        if key not in valid:
            raise ValueError(
                f"{name}: expected parameters among {valid}, got {key!r}{_nearest(key, valid)}"
            )
        parameters[key] = _converted(f"{name}: parameter {key!r}", value, hints[key])
    return cls(**parameters)


def _nearest(name: str, valid: Sequence[str]) -> str:
    """Suggestion for a misspelt name."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "; choose one of them"


def _converted(what: str, value: Any, annotation: Any) -> Any:
    """Check a value against its annotation: int, float, a literal, or None beside one.

    An int for a float is converted, so that 1 and 1.0 give the same folder and attributes.
    """
    kinds = get_args(annotation) if get_origin(annotation) is not Literal else ()
    if type(None) in kinds:
        if value is None:
            return None
        (annotation,) = (kind for kind in kinds if kind is not type(None))
    if get_origin(annotation) is Literal:
        valid = [str(choice) for choice in get_args(annotation)]
        if value not in valid:
            raise ValueError(
                f"{what}: expected one of {valid}, got {value!r}{_nearest(str(value), valid)}"
            )
        return value
    accepted = (int, float) if annotation is float else annotation
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise TypeError(
            f"{what}: expected {annotation.__name__}, got {type(value).__name__} {value!r}; "
            "correct the value"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{what}: expected a finite number, got {value}; correct the value")
    return annotation(value)
