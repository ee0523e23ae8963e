"""Files of named arrays in every container, as the programs that own the formats write them."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch

from sciml.data.sources import matlab, numpy_files, torch_file
from sciml.data.sources.joined import JoinedSource
from tests.golden import golden_path

FORMATS = {
    known.name: known for known in (*matlab.FORMATS, *numpy_files.FORMATS, *torch_file.FORMATS)
}
_CLASSES = {"f4": "single", "f8": "double", "u1": "uint8", "i4": "int32", "b1": "logical"}


def write_matlab73(path, arrays, **options):
    """A v7.3 file: user block with text, axes reversed, MATLAB's class of each variable."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            stored = np.asarray(values).T
            kind = _CLASSES[stored.dtype.str[1:]]
            stored = stored.astype("u1") if kind == "logical" else stored
            dataset = file.create_dataset(name, data=stored, **options)
            dataset.attrs["MATLAB_class"] = np.bytes_(kind)
            if kind == "logical":
                dataset.attrs["MATLAB_int_decode"] = np.int32(1)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def _write_matlab5(path, arrays):
    scipy.io.savemat(path, arrays)


def _write_matlab5_compressed(path, arrays):
    scipy.io.savemat(path, arrays, do_compression=True)


def _write_torch(path, arrays):
    torch.save({name: torch.from_numpy(np.array(v)) for name, v in arrays.items()}, path)


def _write_torch_fortran(path, arrays):
    """Fortran strides, as neuraloperator's bundled files have."""
    tensors = {n: torch.from_numpy(np.array(v).T.copy()) for n, v in arrays.items()}
    torch.save({n: t.permute(*reversed(range(t.ndim))) for n, t in tensors.items()}, path)


def _write_npz(path, arrays):
    np.savez(path, **arrays)


def _write_npz_compressed(path, arrays):
    np.savez_compressed(path, **{n: np.asfortranarray(v) for n, v in arrays.items()})


CONTAINERS = {
    "v5": ("matlab5", ".mat", _write_matlab5),
    "v5 compressed": ("matlab5", ".mat", _write_matlab5_compressed),
    "v7.3": ("matlab73", ".mat", write_matlab73),
    "v7.3 gzip": (
        "matlab73",
        ".mat",
        lambda path, arrays: write_matlab73(path, arrays, compression="gzip", chunks=True),
    ),
    "torch": ("torch", ".pt", _write_torch),
    "torch strided": ("torch", ".pt", _write_torch_fortran),
    "npz": ("npz", ".npz", _write_npz),
    "npz compressed": ("npz", ".npz", _write_npz_compressed),
}
"""Format name, suffix and writer of each container that holds named arrays."""


def open_files(name, paths, back_end="auto"):
    """Open files of a known format as one data set."""
    paths = [Path(path) for path in paths]
    return JoinedSource({"": FORMATS[name].open_files(paths, back_end)})


def write_and_open(folder, container, arrays, stem="data", back_end="auto"):
    """Write arrays into a container and open it."""
    name, suffix, write = CONTAINERS[container]
    path = folder / f"{stem}{suffix}"
    write(path, arrays)
    return open_files(name, [path], back_end)


def read_frames(source, trajectory=0, start=0, stop=None, stride=1):
    """Frames of the input fields."""
    steps = source.num_steps(trajectory) if stop is None else stop
    spec = source.spec
    space = (source.num_points(trajectory),) if spec.unstructured else spec.resolution
    shape = (len(range(start, steps, stride)), spec.frame_channels, *space)
    out = np.full(shape, np.nan, "f4")
    source.read(trajectory, start, steps, stride, out)
    return out


def read_targets(source, trajectory=0):
    """Output fields of a pair."""
    spec = source.spec
    space = (source.num_points(trajectory),) if spec.unstructured else spec.resolution
    out = np.full((spec.out_channels, *space), np.nan, "f4")
    source.read_targets(trajectory, out)
    return out


def read_coords(source, trajectory=0):
    """Coordinates of a point cloud."""
    out = np.full((source.num_points(trajectory), source.spec.ndim), np.nan, "f4")
    source.read_coords(trajectory, out)
    return out


def damaged_copies(data, count, seed, *, first=0):
    """Mutated, cut and spliced versions of a file's bytes."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        copy = bytearray(data)
        for _ in range(int(generator.integers(1, 8))):
            place = int(generator.integers(first, len(copy)))
            if number % 4 < 2:
                copy[place] = int(generator.integers(256))
            elif number % 4 == 2:
                # lengths and shapes are 4-byte integers: make some of them absurd
                value = int(generator.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000000]))
                copy[place : place + 4] = value.to_bytes(4, "little")
            else:
                source = int(generator.integers(len(copy)))
                size = int(generator.integers(1, 64))
                copy[place : place + size] = copy[source : source + size]
        if number % 5 == 0:
            del copy[int(generator.integers(len(copy))) :]
        yield bytes(copy)


def golden_file(name):
    """A genuine file of another project; the test is skipped where it is absent."""
    return golden_path(f"data/{name}")
