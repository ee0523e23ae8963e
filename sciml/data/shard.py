"""One shard of a generated data set: simulated once, recognised afterwards."""

import json
import math
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from sciml.data.writers.well import WellContents, write_well
from sciml.simulate.recipe import Recipe, Simulation

_FORMAT_VERSION = 1


def write_shard(
    recipe: Recipe,
    file: Path,
    *,
    name: str,
    samples: range,
    seed: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Simulate and write one shard unless it exists.

    Args:
        recipe: What to simulate.
        file: Where to.
        name: Name of the data set.
        samples: Numbers of the samples.
        seed: Seed of the data set.
        progress: Called with the number of samples finished since the last call.

    Raises:
        ValueError: If the file exists and holds something else, or is not readable.
        OSError: If the file cannot be written.
        ArithmeticError: If a simulation blows up.
    """
    identity: dict[str, str | int | float] = {
        "dataset_name": name,
        "recipe": recipe.name,
        "parameters": json.dumps(recipe.parameters, sort_keys=True),
        "seed": seed,
        "first_sample": samples[0],
        "n_trajectories": len(samples),
        "format_version": _FORMAT_VERSION,
    }
    if file.exists():
        _check_identity(file, identity)
        return
    spec = recipe.spec(name)
    fields = np.empty(
        (len(samples), recipe.num_frames, spec.out_channels, *spec.resolution), np.float32
    )
    smallest, largest = math.inf, 0.0
    with closing(_simulate_chunks(recipe, samples, seed)) as chunks:
        for rows, chunk in chunks:
            fields[rows] = chunk.fields.numpy()
            smallest = min(smallest, chunk.smallest_step)
            largest = max(largest, chunk.largest_step)
            if progress is not None:
                progress(len(chunk.fields))
    dt = 1.0 if spec.dt is None else spec.dt
    provenance: dict[str, str | int | float] = {
        "variant": str(recipe.parameters.get("variant", "")),
        "solver": recipe.solver,
        "solver_smallest_step": smallest,
        "solver_largest_step": largest,
    }
    write_well(
        file,
        WellContents(
            spec=spec,
            fields=fields,
            time=dt * np.arange(recipe.num_frames, dtype=np.float64),
            attributes=identity | provenance,
        ),
    )


def _simulate_chunks(
    recipe: Recipe, samples: range, seed: int
) -> Generator[tuple[slice, Simulation], None, None]:
    """Simulate in chunks, one thread per core.

    The chunks depend on the samples alone and each runs on one thread, so the bytes do not
    depend on the number of threads: a transform split over threads rounds differently.
    """
    size = recipe.chunk_size
    slices = [slice(i, min(i + size, len(samples))) for i in range(0, len(samples), size)]

    def simulate(rows: slice) -> Simulation:
        return recipe.simulate(samples[rows], seed)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    workers = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        chunks = workers.map(simulate, slices)
        yield from zip(slices, chunks, strict=True)
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _check_identity(file: Path, identity: Mapping[str, Any]) -> None:
    """Refuse a file that holds something else than what was asked for."""
    remedy = "delete it to make it again, or write elsewhere"
    try:
        with h5py.File(file, "r", locking=False) as stored:
            found = {key: _plain(stored.attrs.get(key)) for key in identity}
    except OSError as error:
        raise ValueError(
            f"generate: expected a whole HDF5 file at {file}, got an unreadable one ({error}); "
            f"{remedy}"
        ) from error
    expected, got = _flat(identity), _flat(found)
    for key in sorted(expected.keys() | got.keys()):
        if expected.get(key) != got.get(key):
            raise ValueError(
                f"generate: expected {file} to hold {key}={expected.get(key)!r}, got "
                f"{got.get(key)!r}; {remedy}"
            )


def _plain(value: Any) -> Any:
    """Python number of a numpy scalar."""
    return value.item() if isinstance(value, np.generic) else value


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Identity with the recipe's parameters one by one, so that a message can name one."""
    parameters: dict[str, Any] = json.loads(identity["parameters"] or "{}")
    return {k: v for k, v in identity.items() if k != "parameters"} | parameters
