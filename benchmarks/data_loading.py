"""Throughput of random windows by how a file is stored: ours, h5py, The Well's loader, memcpy.

All of them fill batches of the same windows, interleaved batch by batch in one process, from
files that the page cache holds. ``memcpy`` copies the same bytes from an array in memory into a
buffer that exists already; ``ours`` is `WindowedDataset.batch`, which makes a new batch and
adds times, boundary codes and numbers; ``h5py`` slices an open data set into a buffer that
exists already; ``the_well`` is the published loader item by item, without collating them (the
package, or, where it is not installed, a reader that opens the file for each item as it does).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from record import report

from sciml.data.dataset import open_dataset
from sciml.data.writers.well import WellContents, write_well
from sciml.domain import Box
from sciml.spec import DatasetSpec, FieldSpec

FRAMES = 11
STEPS = 51
BATCHES = 4
KEY = "t0_fields/vorticity"


def storages(steps: int, resolution: int) -> dict[str, tuple[bool, dict[str, Any]]]:
    """Whether filters are used, and options of `create_dataset`, by name."""
    frame, trajectory = (1, 1, resolution, resolution), (1, steps, resolution, resolution)
    found: dict[str, tuple[bool, dict[str, Any]]] = {
        "contiguous": (False, {}),
        "frame chunks": (False, {"chunks": frame}),
        "trajectory chunks": (False, {"chunks": trajectory}),
        "gzip, shuffle": (True, {"chunks": frame, "compression": "gzip", "shuffle": True}),
        "lzf, shuffle": (True, {"chunks": frame, "compression": "lzf", "shuffle": True}),
    }
    try:
        import hdf5plugin
    except ImportError:
        return found
    blosc2 = hdf5plugin.Blosc2(cname="lz4", clevel=5, filters=hdf5plugin.Blosc2.SHUFFLE)
    for name, options in (("bitshuffle-lz4", hdf5plugin.Bitshuffle()), ("blosc2", blosc2)):
        found[name] = (True, {"chunks": frame, **options})
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[128, 64])
    parser.add_argument("--megabytes", type=int, default=160, help="size of each data set")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2, help="readers of filtered files")
    parser.add_argument("--only", nargs="+", help="names of storages")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for resolution in options.resolutions:
        with tempfile.TemporaryDirectory() as folder:
            fields = make_fields(resolution, options.megabytes)
            for name, (filtered, storage) in storages(STEPS, resolution).items():
                if options.only and name not in options.only:
                    continue
                base = Path(folder) / name
                store(base, fields, storage)
                result = measure(base, fields, options, options.threads if filtered else 1)
                results[f"{name}, {resolution}²"] = result
    settings = {k: v for k, v in vars(options).items() if k != "output"}
    report({"options": settings, "window": FRAMES, "storages": results}, options.output)


def make_fields(resolution: int, megabytes: int) -> np.ndarray:
    """Smooth moving waves that compress about as well as simulations do; (n, t, 1, x, y)."""
    generator = np.random.default_rng(271_828_183)
    count = max(2, round(1e6 * megabytes / (4 * STEPS * resolution**2)))
    fields = np.zeros((count, STEPS, 1, resolution, resolution), np.float32)
    x = np.linspace(0.0, 2 * np.pi, resolution, endpoint=False, dtype=np.float32)
    t = np.linspace(0.0, 1.0, STEPS, dtype=np.float32)[:, None]
    for trajectory in fields:
        for k in range(1, 5):
            a, b, speed = generator.uniform(0.0, 2 * np.pi, 3).astype(np.float32)
            waves = np.sin(k * x + a + speed * t), np.cos(k * x + b - speed * t)
            trajectory[:, 0] += waves[0][:, :, None] * waves[1][:, None, :] / k
    return fields


def store(base: Path, fields: np.ndarray, storage: Mapping[str, Any]) -> None:
    """Write a data set in The Well's layout, with its field stored as wanted."""
    n = fields.shape[-1]
    vorticity = (FieldSpec("vorticity"),)
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0), (True, True))
    spec = DatasetSpec("waves", box, (n, n), vorticity, vorticity, grid=("vertex", "vertex"))
    path = base / "data" / "train" / "waves.hdf5"
    write_well(path, WellContents(spec, fields, np.arange(STEPS) / 10))
    if not storage:
        return
    with h5py.File(path, "r+") as file:
        attributes = dict(file[KEY].attrs)
        del file[KEY]
        dataset = file.create_dataset(KEY, data=fields[:, :, 0], **storage)
        dataset.attrs.update(attributes)


def measure(
    base: Path, fields: np.ndarray, options: argparse.Namespace, threads: int
) -> dict[str, Any]:
    """Rates of one storage, and ratios of ours to the others batch by batch."""
    readers = {
        f"ours, {count} thread" + "s" * (count > 1): open_dataset(
            base,
            split="train",
            residence="stream",
            reader_threads=count,
            history=1,
            horizon=FRAMES - 1,
        )
        for count in sorted({1, threads})
    }
    dataset = next(iter(readers.values()))
    windows = STEPS - FRAMES + 1
    shape = (options.batch_size, FRAMES, 1, *fields.shape[3:])
    copied, sliced = np.empty(shape, np.float32), np.empty(shape, np.float32)
    item = published_loader(base)
    with h5py.File(base / "data" / "train" / "waves.hdf5") as file:
        array = file[KEY]

        def memcpy(numbers: list[int]) -> np.ndarray:
            for sample, number in enumerate(numbers):
                i, start = divmod(number, windows)
                np.copyto(copied[sample], fields[i, start : start + FRAMES])
            return copied

        def h5py_slices(numbers: list[int]) -> np.ndarray:
            for sample, number in enumerate(numbers):
                i, start = divmod(number, windows)
                sliced[sample, :, 0] = array[i, start : start + FRAMES]
            return sliced

        def ours(reader: Any) -> Callable[[list[int]], np.ndarray]:
            def run(numbers: list[int]) -> np.ndarray:
                batch = reader.batch(numbers)
                return batch.targets.numpy()

            return run

        contestants: dict[str, Callable[[list[int]], np.ndarray]] = {
            "memcpy": memcpy,
            **{name: ours(reader) for name, reader in readers.items()},
            "h5py": h5py_slices,
            "the_well": lambda numbers: np.stack([item(number) for number in numbers]),
        }
        rates = compete(contestants, len(dataset), options)
    main_name = list(readers)[-1]
    return {
        "back_end": dataset.source.describe().splitlines()[-1],
        "stored_share": stored_share(base, fields),
        "megabytes_per_second": {name: summary(values) for name, values in rates.items()},
        "ratios": {
            f"{main_name} / {name}": summary(
                [x / y for x, y in zip(rates[main_name], values, strict=True)]
            )
            for name, values in rates.items()
            if name != main_name
        },
    }


def compete(
    contestants: Mapping[str, Callable[[list[int]], np.ndarray]],
    num_windows: int,
    options: argparse.Namespace,
) -> dict[str, list[float]]:
    """MB/s of each, in turns of a few batches; the published loader reads a part of one."""
    generator = np.random.default_rng(141_421_357)

    def draw() -> list[int]:
        return generator.integers(0, num_windows, options.batch_size).tolist()

    check_agreement(contestants, draw())
    for name, run in contestants.items():
        # one pass over the data, as the first epoch makes it: maps have their pages afterwards
        for first in range(0, num_windows if name != "the_well" else 0, FRAMES // 2):
            run([first])
    window_bytes = contestants["memcpy"](draw()).nbytes / options.batch_size
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.repetitions):
        turn = [draw() for _ in range(BATCHES)]
        for name, run in contestants.items():
            batches = [turn[0][:4]] if name == "the_well" else turn
            run(batches[0][:1])
            start = time.perf_counter()
            for batch in batches:
                run(batch)
            seconds = time.perf_counter() - start
            count = sum(len(batch) for batch in batches)
            rates[name].append(1e-6 * window_bytes * count / seconds)
    return rates


def check_agreement(
    contestants: Mapping[str, Callable[[list[int]], np.ndarray]], numbers: list[int]
) -> None:
    """Refuse to time readers of other values; some return the target frames alone."""
    expected = contestants["memcpy"](numbers)
    for name, run in contestants.items():
        values = run(numbers)
        frames = expected[:, -values.shape[1] :].reshape(values.shape)
        if not np.array_equal(values, frames):
            raise RuntimeError(f"{name} read other values")


def published_loader(base: Path) -> Callable[[int], np.ndarray]:
    """Frames of a window by The Well's loader, or by one that opens the file as it does."""
    try:
        from the_well.data.datasets import WellDataset
    except ImportError:
        return lambda number: opened_item(base, number)
    loader = WellDataset(
        path=str(base), well_split_name="train", n_steps_input=1, n_steps_output=FRAMES - 1
    )
    return lambda number: loader[number]["output_fields"].numpy()


def opened_item(base: Path, number: int) -> np.ndarray:
    """One window through h5py, with the coordinates and times that The Well's loader reads."""
    i, start = divmod(number, STEPS - FRAMES + 1)
    with h5py.File(base / "data" / "train" / "waves.hdf5") as file:
        frames = file[KEY][i, start : start + FRAMES, ..., None]
        np.stack(np.meshgrid(*(file[f"dimensions/{axis}"][:] for axis in "xy")), axis=-1)
        file["dimensions/time"][start : start + FRAMES]
        return frames[1:]


def stored_share(base: Path, fields: np.ndarray) -> float:
    """Stored bytes over the array's bytes."""
    with h5py.File(base / "data" / "train" / "waves.hdf5") as file:
        return file[KEY].id.get_storage_size() / fields.nbytes


def summary(values: list[float]) -> dict[str, float]:
    """Median and spread."""
    low, high = min(values), max(values)
    return {"median": statistics.median(values), "min": low, "max": high}


if __name__ == "__main__":
    main()
