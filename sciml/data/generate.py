"""Generating data sets from recipes: shards in The Well's layout, made once and never mixed up.

A data set is a folder ``<root>/<name>/<recipe>-<parameters>-<splits>-<seed>`` with shards in
``data/<split>``. Samples are numbered over all splits (train, then valid, then test), each
depends on (seed, number) alone, and a shard is a range of numbers; so an interrupted generation
continues with the shards that are missing and ends with the same bytes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sciml.data.reporting import reporting
from sciml.data.shard import write_shard
from sciml.simulate.recipe import make_recipe
from sciml.spec import DatasetSpec
from sciml.typing import StrPath

_SPLITS = ("train", "valid", "test")
_SUFFIXES = (".hdf5", ".h5")


def generate(
    recipe: str,
    path: StrPath,
    *,
    num_samples: int,
    first_sample: int = 0,
    seed: int,
    progress: Callable[[int], None] | None = None,
    **parameters: Any,
) -> Path:
    """Write one shard holding `num_samples` samples from `first_sample` on.

    A shard that exists with the same contents is kept as it is.

    Args:
        recipe: Name of a recipe, a module of `sciml.simulate.recipes`.
        path: The file (``.hdf5`` or ``.h5``), or a folder in which the shard gets its canonical
            name ``<recipe>-<first>-<last>.hdf5``.
        num_samples: Number of samples in the shard.
        first_sample: Number of the first one.
        seed: Seed shared by all shards; each sample depends on (seed, number) alone.
        progress: Called with the number of samples finished since the last call.
        **parameters: Parameters of the recipe; its defaults where left out.

    Returns:
        The shard's file.

    Raises:
        ValueError: If a name or value is invalid, or the file holds something else.
        TypeError: If a parameter has the wrong type.
        OSError: If the file cannot be written.
        ArithmeticError: If a simulation blows up; no file is written then.
    """
    made = make_recipe(recipe, **parameters)
    _check_counts(num_samples=num_samples, first_sample=first_sample, seed=seed)
    samples = range(first_sample, first_sample + num_samples)
    file = Path(path)
    if file.suffix not in _SUFFIXES:
        file = file / _shard_name(recipe, samples)
    write_shard(made, file, name=recipe, samples=samples, seed=seed, progress=progress)
    return file


def generate_splits(
    recipe: str,
    root: StrPath,
    *,
    name: str,
    splits: Mapping[str, int],
    shard_size: int,
    seed: int,
    progress: bool = True,
    **parameters: Any,
) -> Path:
    """Make a data set with splits, or what is missing of it.

    Args:
        recipe: Name of a recipe, a module of `sciml.simulate.recipes`.
        root: Folder of all data sets.
        name: Name of the data set.
        splits: Number of samples of ``train``, ``valid`` and ``test``.
        shard_size: Samples per file, the last one of a split excepted.
        seed: Seed of the data set.
        progress: Show a progress bar if the error stream is a terminal; otherwise log a line at
            the start and the end. False is quiet.
        **parameters: Parameters of the recipe; its defaults where left out.

    Returns:
        The data set's folder, see `dataset_folder`.

    Raises:
        ValueError: If a name or value is invalid, or a shard holds something else.
        TypeError: If a parameter has the wrong type.
        OSError: If a file cannot be written.
        ArithmeticError: If a simulation blows up; no file is written then.
    """
    made = make_recipe(recipe, **parameters)
    _check_counts(shard_size=shard_size)
    folder = dataset_folder(
        root, name=name, recipe=recipe, splits=splits, seed=seed, **parameters
    )
    shards = _plan(recipe, folder, splits, shard_size)
    _refuse_strangers(folder, shards)
    missing = sum(len(samples) for file, samples in shards.items() if not file.exists())
    with reporting(f"{name} ({recipe})", missing, folder, progress) as report:
        for file, samples in shards.items():
            write_shard(made, file, name=name, samples=samples, seed=seed, progress=report)
    return folder


def dataset_folder(
    root: StrPath,
    *,
    name: str,
    recipe: str,
    splits: Mapping[str, int],
    seed: int,
    **parameters: Any,
) -> Path:
    """Folder of a generated data set; recipe, parameters, splits and seed stand in its name.

    Raises:
        ValueError: If a name or value is invalid.
        TypeError: If a parameter has the wrong type.
    """
    unknown = [split for split in splits if split not in _SPLITS]
    if unknown or not splits or not name or Path(name).name != name:
        raise ValueError(
            f"dataset_folder: expected a plain name and sizes of splits among {list(_SPLITS)}, "
            f"got name={name!r}, splits={dict(splits)}; rename them"
        )
    _check_counts(seed=seed, **dict(splits))
    items = make_recipe(recipe, **parameters).parameters.items()
    parts = [recipe, *(f"{key}{value}" for key, value in items)]
    parts += [f"{split}{splits[split]}" for split in _SPLITS if split in splits]
    return Path(root) / name / "-".join([*parts, f"seed{seed}"])


def recipe_spec(recipe: str, name: str, **parameters: Any) -> DatasetSpec:
    """Self-description of the data that a recipe would make, without making them.

    Raises:
        ValueError: If the recipe or a parameter is unknown, or a value is out of range.
        TypeError: If a parameter has the wrong type.
    """
    return make_recipe(recipe, **parameters).spec(name)


def _check_counts(**counts: int) -> None:
    """Refuse negative numbers, and sizes of zero."""
    for key, value in counts.items():
        least = 0 if key in ("seed", "first_sample") else 1
        if value < least:
            raise ValueError(f"generate: expected {key} >= {least}, got {value}; correct it")


def _shard_name(recipe: str, samples: range) -> str:
    """Canonical file name; sorting by name is sorting by sample."""
    return f"{recipe}-{samples[0]:07d}-{samples[-1]:07d}.hdf5"


def _plan(
    recipe: str, folder: Path, splits: Mapping[str, int], shard_size: int
) -> dict[Path, range]:
    """Files of a data set with the samples of each."""
    shards = {}
    first = 0
    for split in _SPLITS:
        end = first + splits.get(split, 0)
        for start in range(first, end, shard_size):
            samples = range(start, min(start + shard_size, end))
            shards[folder / "data" / split / _shard_name(recipe, samples)] = samples
        first = end
    return shards


def _refuse_strangers(folder: Path, shards: Mapping[Path, range]) -> None:
    """Files beside the planned ones would be read as data."""
    present = [file for suffix in _SUFFIXES for file in folder.glob(f"data/*/*{suffix}")]
    strangers = sorted(file for file in present if file not in shards)
    if strangers:
        raise ValueError(
            f"generate_splits: expected only the planned shards in {folder}, got "
            f"{strangers[0]} ({len(strangers)} such files); use the shard_size of the first "
            "run, or delete them"
        )
