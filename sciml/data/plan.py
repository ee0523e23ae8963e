"""A data set by name: a file that the user has, or made from its recipe, with its views."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

from typing_extensions import override

from sciml.data.dataset import WindowedDataset, open_dataset
from sciml.data.generate import dataset_folder, generate_splits, recipe_spec
from sciml.data.module import DataModule
from sciml.data.training_data import TrainingData
from sciml.simulate.recipe import make_recipe
from sciml.spec import DatasetSpec
from sciml.typing import StrPath

_LOG = logging.getLogger(__name__)


class Plan(ABC):
    """What a configuration says about a data set."""

    @abstractmethod
    def spec(self) -> DatasetSpec:
        """Self-description of the data, known before any data are made."""

    @property
    def has_targets(self) -> bool:
        """Whether samples have outputs; else an objective has to know what is wanted."""
        return True

    @abstractmethod
    def open(self, seed: int) -> TrainingData:
        """Find or make the data; says in one line which it was.

        Args:
            seed: Seed of the training order.
        """

    def forecasters(self) -> dict[str, Any]:
        """Classical solvers to compare with, by name; none where there is no recipe."""
        return {}


@final
class FilePlan(Plan):
    """A published data set, which the user has downloaded.

    Args:
        name: Name of the data set, for messages.
        path: File or folder, or several that are mixed.
        views: Arguments of `DataModule`: batch size, history, rollout, statistics.
        options: Options of `open_dataset`: format, splits, fields, resampling, residence,
            strides, augmentation.
        root: Folder in which plain names are looked up.
        origin: Where the files can be had, for the message when there are none.

    Raises:
        ValueError: If there is no path.
    """

    def __init__(
        self,
        name: str,
        path: StrPath | Sequence[StrPath] | None,
        views: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        *,
        root: StrPath = "data",
        origin: str = "",
    ) -> None:
        self.name = name
        self.path = path
        self.views = dict(views)
        self.options = {k: v for k, v in (options or {}).items() if v is not None}
        self.root = root
        self.origin = origin

    @cached_property
    def _dataset(self) -> WindowedDataset:
        if self.path is None:
            raise ValueError(
                f"dataset={self.name}: expected dataset.path=FILE_OR_FOLDER, got none; "
                f"{self.origin or 'name the file or folder that you have'}"
            )
        return open_dataset(self.path, root=self.root, **self.options)

    @override
    def spec(self) -> DatasetSpec:
        return replace(self._dataset.spec, history=self.views.get("history", 1))

    @override
    def open(self, seed: int) -> DataModule:
        _LOG.info("%s: reading %s", self.name, self.path)
        return DataModule(self._dataset, **self.views, seed=seed)


@final
class DatasetPlan(Plan):
    """A data set with a recipe: generated on first use, unless files of one's own are named.

    Args:
        name: Name of the data set.
        recipe: ``name`` and ``seed`` of a recipe, and its parameters.
        splits: Number of samples of ``train``, ``valid`` and ``test``.
        shard_size: Samples per generated file.
        views: Arguments of `DataModule`: batch size, history, rollout.
        path: A data set of one's own, used instead of generated data.
        root: Folder of all generated data sets.
        baselines: Coarse grids, by name, on which the recipe's solver competes.

    Raises:
        ValueError: If the recipe or one of its parameters is unknown or out of range.
        TypeError: If a parameter has the wrong type.
    """

    def __init__(
        self,
        name: str,
        recipe: Mapping[str, Any],
        splits: Mapping[str, int],
        shard_size: int,
        views: Mapping[str, Any],
        *,
        path: StrPath | None = None,
        root: StrPath = "data",
        baselines: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.name = name
        self.recipe = str(recipe["name"])
        self.seed = int(recipe["seed"])
        self.parameters = {k: v for k, v in recipe.items() if k not in ("name", "seed")}
        self.splits = dict(splits)
        self.shard_size = shard_size
        self.views = dict(views)
        self.path = path
        self.root = root
        self.baselines = {key: tuple(grid) for key, grid in (baselines or {}).items()}
        make_recipe(self.recipe, **self.parameters)
        if not {"train", "test"} <= self.splits.keys():
            raise ValueError(
                f"DatasetPlan: expected sizes of the splits train, test and perhaps valid, got "
                f"{self.splits}; add what is missing"
            )

    @override
    def spec(self) -> DatasetSpec:
        if self.path is not None:
            spec = open_dataset(self.path, root=self.root).spec
        else:
            spec = recipe_spec(self.recipe, self.name, **self.parameters)
        return replace(spec, history=self.views.get("history", 1))

    @override
    def open(self, seed: int) -> DataModule:
        return DataModule(self._dataset(), **self.views, seed=seed)

    @override
    def forecasters(self) -> dict[str, Any]:
        """Classical solvers on coarse grids, for the parameters of these data."""
        if not self.baselines:
            return {}
        # What a file says about itself wins over the configuration.
        known = {k: v for k, v in self.spec().constants.items() if k in self.parameters}
        recipe = make_recipe(self.recipe, **(self.parameters | known))
        return {key: recipe.forecaster(grid) for key, grid in self.baselines.items()}

    def _dataset(self) -> WindowedDataset:
        if self.path is not None:
            _LOG.info("%s: reading %s", self.name, self.path)
            return open_dataset(self.path, root=self.root)
        where: dict[str, Any] = {"name": self.name, "splits": self.splits, "seed": self.seed}
        folder = dataset_folder(self.root, recipe=self.recipe, **where, **self.parameters)
        present = Path(folder).is_dir()
        _LOG.info(
            "%s: %s %s", self.name, "checking the data in" if present else "generating", folder
        )
        generate_splits(
            self.recipe, self.root, shard_size=self.shard_size, **where, **self.parameters
        )
        return open_dataset(folder)
