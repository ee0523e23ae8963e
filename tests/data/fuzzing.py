"""Damaged copies of real files, and a check of what opening and reading them does.

Run as a program it works through a batch of cases in a process of its own, whose memory is
limited and which is killed when a case hangs: a crash of the interpreter is then the exit
status, and the last line printed names the case.
"""

import faulthandler
import json
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sciml.data.sources import open_source

MOST_SECONDS = 5.0
_MOST_BYTES = 3 * 2**30  # of address space beyond what the interpreter has mapped already
_LARGEST_READ = 2**24  # bytes of frames that a case reads
_WORDS = (b"\0", b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\0" * 8, b"\1" + b"\0" * 7, b"\x80" * 4)


def damage(content: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    """One damaged copy: flipped, overwritten, cut, spliced, moved or filled with another file.

    Heads of files, where formats keep what they say about themselves, are hit most.
    """
    data = bytearray(content)
    reach = len(data) if generator.random() < 0.4 else min(len(data), 8192)

    def place() -> int:
        return int(generator.integers(reach))

    kind = generator.integers(8)
    if kind <= 1:
        for _ in range(int(generator.integers(1, 20))):
            data[place()] ^= 1 << int(generator.integers(8))
    elif kind == 2:
        for _ in range(int(generator.integers(1, 6))):
            word, start = _WORDS[generator.integers(len(_WORDS))], place()
            data[start : start + len(word)] = word
    elif kind == 3:
        del data[place() :]
    elif kind == 4:
        start = place()
        del data[start : start + int(generator.integers(1, 64))]
    elif kind == 5:
        start = place()
        data[start:start] = generator.bytes(int(generator.integers(1, 64)))
    elif kind == 6:
        start, length = place(), int(generator.integers(8, 512))
        data[start : start + length] = other[start : start + length]
    else:
        start, length, goal = place(), int(generator.integers(8, 256)), place()
        data[goal : goal + length] = data[start : start + length]
    return bytes(data)


def check(path: Path) -> str:
    """Open and read a file; empty if it behaves, else what is wrong.

    It may read as arrays of the declared shape, or be refused by an error that names the file.
    """
    start = time.perf_counter()
    try:
        _read(path)
    except (OSError, ValueError, TypeError) as error:
        if path.name not in str(error):
            return f"{type(error).__name__} without the file: {str(error)[:300]}"
    except Exception as error:  # whatever else comes out is the finding
        return f"{type(error).__name__}: {str(error)[:300]}"
    seconds = time.perf_counter() - start
    return f"{seconds:.1f} s" if seconds > MOST_SECONDS else ""


def _read(path: Path) -> None:
    """Everything that training would ask for, of the first and the last trajectory."""
    source = open_source(path)
    spec = source.spec
    source.describe()
    if not np.all(source.lengths >= 1):
        raise AssertionError(f"lengths {source.lengths}")
    for number in {0, source.num_trajectories - 1}:
        frames = source.num_steps(number)
        space = (source.num_points(number),) if spec.unstructured else spec.resolution
        frame_bytes = 4 * max(spec.frame_channels, spec.out_channels) * int(np.prod(space))
        stop = min(frames, max(1, _LARGEST_READ // frame_bytes))
        out = np.empty((stop, spec.frame_channels, *space), np.float32)
        source.read(number, 0, stop, 1, out)
        if spec.paired:
            source.read_targets(number, np.empty((spec.out_channels, *space), np.float32))
        static = sum(field.components for field in source.static_fields)
        if static:
            source.read_static(number, np.empty((static, *space), np.float32))
        if spec.unstructured:
            source.read_coords(number, np.empty((*space, spec.ndim), np.float32))
        shapes = (
            (source.times(number).shape, (frames,)),
            (source.params(number).shape, (len(spec.params),)),
            (source.boundary(number).shape, (spec.ndim, 2)),
        )
        for got, expected in shapes:
            if got != expected:
                raise AssertionError(f"expected shape {expected}, got {got}")


def cases(paths: list[Path], seed: int, numbers: range) -> Iterator[tuple[int, Path, bytes]]:
    """Numbered damaged copies; each depends on the seed and its number alone."""
    contents = {path: path.read_bytes() for path in paths}
    for number in numbers:
        generator = np.random.default_rng((seed, number))
        path = paths[number % len(paths)]
        other = paths[int(generator.integers(len(paths)))]
        yield number, path, damage(contents[path], contents[other], generator)


def main(arguments: list[str]) -> None:
    """Check a batch of cases: FOLDER SEED FIRST END FILES…; prints a line of JSON for each."""
    folder, seed, first, end = Path(arguments[0]), *map(int, arguments[1:4])
    paths = [Path(argument) for argument in arguments[4:]]
    faulthandler.enable()
    warnings.simplefilter("error")
    # numbers beyond single precision become infinite, and NaN stay NaN; statistics report them
    warnings.filterwarnings("ignore", ".* encountered in cast")
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MOST_BYTES,) * 2)
    for number, path, content in cases(paths, seed, range(first, end)):
        _say(case=number, file=path.name)
        copy = folder / f"case{number}{path.suffix}"
        copy.write_bytes(content)
        faulthandler.dump_traceback_later(2 * MOST_SECONDS, exit=True)
        finding = check(copy)
        faulthandler.cancel_dump_traceback_later()
        if finding:
            _say(case=number, finding=finding)
        copy.unlink()


def _say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
