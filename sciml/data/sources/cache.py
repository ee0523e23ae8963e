"""Arrays derived from data files, kept for the next run in a folder of bounded size.

A file whose samples are scattered over its whole length is turned into sample-major order once
and memory-mapped from then on, in this process and in all later ones.
"""

import contextlib
import fcntl
import hashlib
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.numpy_header import read_npy_header
from sciml.data.writers.array_sets import reserve
from sciml.data.writers.atomic import write_atomically
from sciml.typing import StrPath

FOLDER_VARIABLE = "SCIML_CACHE"
"""Environment variable that names the cache folder; ``~/.cache/sciml`` without it."""
BYTES_VARIABLE = "SCIML_CACHE_BYTES"
"""Environment variable that bounds the cache, in bytes."""

_DEFAULT_BYTES = 50 * 10**9
_SHARE_OF_DISK = 0.25
_ENTRY = re.compile(r"[0-9a-f]{32}\.npy")


@final
class ArrayCache:
    """Float32 arrays by key, the least recently used ones removed when room is needed.

    An entry appears under its name only when it is complete. Entries that a living process maps
    are never removed: the map holds a shared lock on its file.

    Args:
        folder: Folder of the cache; ``SCIML_CACHE`` or ``~/.cache/sciml`` by default.
        limit: Largest number of bytes of all entries; ``SCIML_CACHE_BYTES`` by default, else
            50 GB or a quarter of the disk space that is free or held by the cache.

    Raises:
        ValueError: If ``SCIML_CACHE_BYTES`` is not a number of bytes.
    """

    def __init__(self, folder: StrPath | None = None, limit: int | None = None) -> None:
        root = folder or os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "sciml"
        # A folder of its own: whatever else lies in the folder that the user named is not ours.
        self.folder = Path(root) / "arrays"
        self._limit = _bytes_from_environment() if limit is None else limit

    def limit(self) -> int:
        """Largest number of bytes of all entries."""
        if self._limit is not None:
            return self._limit
        existing = next(p for p in (self.folder, *self.folder.absolute().parents) if p.is_dir())
        room = shutil.disk_usage(existing).free + sum(size for _, size, _ in self._entries())
        return min(_DEFAULT_BYTES, int(_SHARE_OF_DISK * room))

    def obtain(
        self,
        key: str,
        shape: tuple[int, ...],
        fill: Callable[[NDArray[np.float32]], None],
    ) -> NDArray[np.float32]:
        """The array of a key as a read-only memory map, made first if it is not there.

        Of several processes that want the same array one makes it and the others wait.

        Args:
            key: Text that identifies contents and order of the array.
            shape: Its shape.
            fill: Writes all entries of an array of this shape.

        Raises:
            OSError: If the array is larger than the limit or than the room that entries in use
                leave, or if the folder cannot be written.
        """
        target = (
            self.folder / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.npy"
        )
        found = _map_entry(target, shape)
        if found is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._one_builder():
            found = _map_entry(target, shape)
            if found is None:
                self._make_room(4 * math.prod(shape))
                write_atomically(target, lambda partial: _write_entry(partial, shape, fill))
                found = _map_entry(target, shape)
        if found is None:
            raise OSError(f"the entry {target} vanished while it was being made")
        return found

    @contextlib.contextmanager
    def _one_builder(self) -> Iterator[None]:
        """Hold the lock under which entries are made and the size of the cache is counted."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _entries(self) -> list[tuple[int, int, Path]]:
        """Time of last use, size and path of each entry, oldest first."""
        entries = []
        for path in self.folder.glob("*.npy"):
            if _ENTRY.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):
                    state = path.stat()
                    entries.append((state.st_mtime_ns, state.st_size, path))
        return sorted(entries)

    def _make_room(self, needed: int) -> None:
        """Remove entries that nobody uses, oldest first, until the new one fits."""
        limit = self.limit()
        entries = self._entries()
        used = sum(size for _, size, _ in entries)
        if needed <= limit:
            for _, size, path in entries:
                if used + needed <= limit:
                    return
                if _remove_unused(path):
                    used -= size
        if needed > limit or used + needed > limit:
            raise OSError(
                f"{needed} bytes do not fit into the cache {self.folder} of {limit} bytes with "
                f"{used if needed <= limit else 0} in use; raise {BYTES_VARIABLE} or name a "
                f"larger disk in {FOLDER_VARIABLE}"
            )


def _bytes_from_environment() -> int | None:
    text = os.environ.get(BYTES_VARIABLE)
    if not text:
        return None
    try:
        return int(float(text))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"open_source: expected a number of bytes in {BYTES_VARIABLE}, got {text!r}; write "
            "it as 50e9 or leave it out"
        ) from error


def _map_entry(target: Path, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Map an entry under a shared lock and mark it as used; None if missing or damaged."""
    try:
        file = target.open("rb")
    except FileNotFoundError:
        return None
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(file.fileno()).st_nlink == 0:  # removed before it was locked
            return None
        try:
            header = read_npy_header(file, os.fstat(file.fileno()).st_size, target.name)
        except ValueError:
            return None
        if header.shape != shape or header.dtype != np.float32 or header.fortran:
            return None
        with contextlib.suppress(PermissionError):  # another user's cache can be read
            os.utime(target)
        # the map duplicates the descriptor, and with it keeps the lock for as long as it lives
        mapped = np.memmap(file, np.float32, "r", header.offset, shape)
    return np.asarray(mapped)


def _write_entry(
    partial: Path, shape: tuple[int, ...], fill: Callable[[NDArray[np.float32]], None]
) -> None:
    nbytes = 4 * math.prod(shape)
    with partial.open("r+b") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        offset = file.tell()
        reserve(file, offset, nbytes)
        mapped = np.memmap(file, np.float32, "r+", offset, shape)
        fill(np.asarray(mapped))
        mapped.flush()


def _remove_unused(path: Path) -> bool:
    """Remove an entry unless a process maps it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except FileNotFoundError:
        return True
    except (BlockingIOError, PermissionError):
        return False
    return True
