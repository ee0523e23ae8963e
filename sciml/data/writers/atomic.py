"""Files that exist whole or not at all."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

_PARTIAL_SUFFIX = ".part"


def write_atomically(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name in the same folder, flush it to disk, and rename it.

    On any failure, Ctrl-C included, the temporary file is removed. What a killed process left
    behind has a hidden name that no reader takes for data, and is removed by the next write
    into that folder. Of several processes writing the same file, the last one wins.

    Args:
        target: File to write; an existing one is replaced, missing folders are made.
        write: Writes the contents to the path that it is given.

    Raises:
        OSError: If the folder cannot be made or written or the disk is full, with the remedy.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        with _exclusive_partial(target) as partial:
            write(partial)
            _synchronise(partial)
            partial.replace(target)
        _synchronise(target.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"write_atomically: expected to write {target}, got {error.strerror or error!s}; "
            "nothing was left behind: free space on the disk, or choose a folder that you may "
            "write to",
        ) from error


def _synchronise(path: Path) -> None:
    """Put a file, or the renames in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _exclusive_partial(target: Path) -> Iterator[Path]:
    """A new temporary file beside the target, locked while written and gone afterwards."""
    partial, descriptor = _create_partial(target)
    while os.fstat(descriptor).st_nlink == 0:  # taken for a leftover before it was locked
        os.close(descriptor)
        partial, descriptor = _create_partial(target)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)
        os.close(descriptor)


def _create_partial(target: Path) -> tuple[Path, int]:
    """A new temporary file, locked.

    The lock goes with the process, however it ends: that is how leftovers are told from the
    files of a process that is still writing.
    """
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}{_PARTIAL_SUFFIX}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return partial, descriptor


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files that no living process holds."""
    for partial in folder.glob(f".*{_PARTIAL_SUFFIX}"):
        try:
            descriptor = os.open(partial, os.O_RDONLY)
        except (FileNotFoundError, PermissionError):  # finished meanwhile, or another user's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink(missing_ok=True)
        except BlockingIOError:  # its writer is alive
            continue
        finally:
            os.close(descriptor)
