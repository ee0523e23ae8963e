"""MATLAB v5 files with the variables of the published Fourier neural operator data.

Source: MathWorks, MAT-File Format, "Level 5 MAT-file format"; Z. Li et al., Fourier neural
operator, 2020, arXiv:2010.08895, for the variables.
"""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.base import Source
from sciml.data.writers.array_sets import ScalarSelection, fill_samples, reserve, select
from sciml.data.writers.atomic import write_atomically
from sciml.typing import StrPath

_MATRIX, _INT8, _INT32, _UINT32 = 14, 1, 5, 6
_CODES = {"float32": (7, 7), "float64": (6, 9)}  # MATLAB class and type of number
_MOST_BYTES = 2**31 - 1  # MATLAB reads no larger variable from this version


@final
@dataclass(frozen=True)
class _Variable:
    """One variable.

    Args:
        name: Its name.
        shape: Its shape, sample axis first where there is one.
        values: Its values, if they are few; float64 on disk.
        read: Reads the values of a sample, (*shape[1:]); float32 on disk.
    """

    name: str
    shape: tuple[int, ...]
    values: NDArray[np.float64] | None = None
    read: Callable[[int], NDArray[np.float32]] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<f4" if self.values is None else "<f8")

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_matlab(
    path: StrPath,
    source: Source,
    *,
    trajectories: Sequence[int] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Write trajectories or pairs of one scalar field as a MATLAB v5 file, in constant memory.

    Two-dimensional trajectories become ``u`` (n, s, s, t) and ``t``, with ``a`` (n, s, s) when
    the first frame is at time 0; two-dimensional pairs ``coeff`` and ``sol`` (n, s, s);
    one-dimensional trajectories ``input`` (n, s), ``output`` (n, t, s), ``tspan`` and ``visc``;
    one-dimensional pairs ``a`` and ``u`` (n, s). The file appears under its name only when it
    is complete and on disk.

    Args:
        path: File to write; an existing one is replaced.
        source: Where fields are read, block by block.
        trajectories: Numbers of the trajectories; all by default.
        progress: Called with the number of samples written so far of the largest variable.

    Returns:
        The path.

    Raises:
        ValueError: If the format cannot hold what the source has, or a variable would be larger
            than 2 GB.
        OSError: If the folder cannot be made or written or the disk is full, with the remedy.
    """
    selection = select("write_matlab", source, trajectories)
    variables = _plan(selection)
    largest = max(variables, key=lambda variable: variable.nbytes)
    if largest.nbytes > _MOST_BYTES:
        raise ValueError(
            f"write_matlab: expected at most {_MOST_BYTES} bytes in a variable of MATLAB v5, "
            f"got {largest.nbytes} for {largest.name!r} of shape {largest.shape}; write fewer "
            "trajectories to a file"
        )
    target = Path(path)

    def write(partial: Path) -> None:
        with partial.open("r+b") as file:
            file.write(_file_header())
            for variable in variables:
                file.write(_variable_header(variable))
                start = file.tell()
                end = start + -(-variable.nbytes // 8) * 8
                reserve(file, start, end - start)
                shown = progress if variable is largest else None
                _fill(partial, start, variable, shown)
                file.seek(end)

    write_atomically(target, write)
    return target


def _plan(selection: ScalarSelection) -> list[_Variable]:
    """Variables of the published file of this kind."""
    spec, n = selection.spec, selection.num_samples
    space, periodic = spec.resolution, any(spec.periodic)
    square = spec.ndim == 1 or (spec.ndim == 2 and space[0] == space[1])
    if not square or not selection.fills(1.0, periodic=periodic):
        raise selection.refusal(
            "a unit interval or a square unit box of vertices, periodic or not",
            f"{spec.domain} with {space} points on a {spec.grid} grid",
        )
    if periodic == (spec.paired and spec.ndim == 2):
        raise selection.refusal(
            "a periodic domain, or a pair on a square that is not",
            f"{'pairs' if spec.paired else 'trajectories'} on {spec.domain}",
        )
    if spec.paired:
        given, result = ("coeff", "sol") if spec.ndim == 2 else ("a", "u")
        return [
            _Variable(given, (n, *space), read=selection.first_frame),
            _Variable(result, (n, *space), read=selection.target),
        ]
    times = selection.times
    row = times.reshape(1, -1)
    if spec.ndim == 2:

        def frames_last(number: int) -> NDArray[np.float32]:
            return np.moveaxis(selection.frames(number), 0, -1)

        start = [_Variable("a", (n, *space), read=selection.first_frame)]
        return [
            *(start if times[0] == 0.0 else []),
            _Variable("u", (n, *space, len(times)), read=frames_last),
            _Variable("t", row.shape, row),
        ]
    viscosity = selection.viscosity
    known = [] if viscosity is None else [_Variable("visc", (1, 1), np.full((1, 1), viscosity))]
    return [
        _Variable("input", (n, *space), read=selection.first_frame),
        _Variable("output", (n, len(times), *space), read=selection.frames),
        _Variable("tspan", row.shape, row),
        *known,
    ]


def _file_header() -> bytes:
    return b"MATLAB 5.0 MAT-file, written by sciml".ljust(124) + struct.pack(
        "<H2s", 0x0100, b"IM"
    )


def _sub_element(kind: int, content: bytes) -> bytes:
    padding = b"\0" * (-len(content) % 8)
    return struct.pack("<II", kind, len(content)) + content + padding


def _variable_header(variable: _Variable) -> bytes:
    """Everything in front of the values."""
    matlab_class, number = _CODES[variable.dtype.name]
    head = (
        _sub_element(_UINT32, struct.pack("<II", matlab_class, 0))
        + _sub_element(_INT32, np.array(variable.shape, "<i4").tobytes())
        + _sub_element(_INT8, variable.name.encode())
        + struct.pack("<II", number, variable.nbytes)
    )
    padded = -(-variable.nbytes // 8) * 8
    return struct.pack("<II", _MATRIX, len(head) + padded) + head


def _fill(
    path: Path,
    offset: int,
    variable: _Variable,
    progress: Callable[[int], object] | None,
) -> None:
    mapped = np.memmap(path, variable.dtype, "r+", offset, variable.shape, order="F")
    if variable.read is None:
        mapped[...] = variable.values
    else:
        fill_samples(mapped, variable.read, progress)
    mapped.flush()
