"""Finding the files of a data set, and telling formats apart by content."""

import difflib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from sciml.data.sources.base import Container
from sciml.typing import StrPath

SPLIT_NAMES = ("train", "valid", "test")
"""Names of split folders, in the order in which trajectories are numbered."""

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUFFIXES = (".h5", ".hdf5", ".mat", ".pt", ".pth", ".npy", ".npz")
_UNFINISHED_SUFFIXES = (".tmp", ".part")


def is_hdf5(path: Path) -> bool:
    """Whether a file carries the HDF5 signature at an offset where it may stand.

    The format allows 0, and behind a user block 512, 1024, 2048 and so on.
    """
    size = path.stat().st_size
    offset = 0
    with _open_readable(path) as file:
        while offset + len(_HDF5_SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
                return True
            offset = max(512, 2 * offset)
    return False


def container_of(path: Path) -> Container | None:
    """Kind of a file by its signature, None when it is none that we read."""
    if is_hdf5(path):
        return "hdf5"
    with _open_readable(path) as file:
        head = file.read(128)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"MATLAB 5.0 MAT-file"):
        return "matlab5"
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        # damaged directories make it raise all of these
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
            return None
        if any(name.endswith("data.pkl") for name in names):
            return "torch"
        if names and all(name.endswith(".npy") for name in names):
            return "npz"
    return None


def _open_readable(path: Path) -> BinaryIO:
    """The file for reading, or an error that says what to do about it."""
    try:
        return path.open("rb")
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"open_source: expected a file that may be read, got {path} without permission; "
            "ask its owner, or copy it to where you may read",
        ) from error


def existing_path(path: StrPath, function: str) -> Path:
    """The path, or an error that names the nearest name that exists."""
    target = Path(path)
    if target.exists():
        return target
    parent = next(folder for folder in target.absolute().parents if folder.is_dir())
    missing = target.absolute().relative_to(parent).parts[0]
    names = sorted(entry.name for entry in parent.iterdir())
    nearest = difflib.get_close_matches(missing, names, n=1, cutoff=0.5)
    remedy = (
        f"did you mean {parent / nearest[0]}?" if nearest else f"{parent} holds {names[:8]}"
    )
    raise FileNotFoundError(
        f"{function}: expected an existing file or folder, got {target}; {remedy}"
    )


def find_files(path: StrPath) -> Mapping[str, list[Path]]:
    """Data files by split; a data set without splits has the single key ``""``.

    A path may be one file, a folder of files, a folder with ``train``/``valid``/``test``
    folders (of its own or below ``data``), or a folder that holds exactly one such data set.

    Raises:
        FileNotFoundError: If the path is missing or a folder holds no data file.
        ValueError: If a folder holds several data sets.
    """
    target = existing_path(path, "open_source")
    if target.is_file():
        return {"": [target]}
    found = _files_of_folder(target)
    if found:
        return found
    below = [
        (folder, _files_of_folder(folder))
        for folder in sorted(target.iterdir())
        if folder.is_dir()
    ]
    candidates = [(folder, files) for folder, files in below if files]
    if len(candidates) > 1:
        names = ", ".join(folder.name for folder, _ in candidates)
        raise ValueError(
            f"open_source: expected one data set in {target}, got {len(candidates)} ({names}); "
            "open one of these folders"
        )
    if not candidates:
        raise FileNotFoundError(
            f"open_source: expected data files in {target} or in its train, valid and test "
            "folders, got none; generate or download the data set first"
        )
    return candidates[0][1]


def _files_of_folder(folder: Path) -> dict[str, list[Path]]:
    """Files by split of a data set folder; empty if the folder is not one."""
    for parent in (folder / "data", folder):
        splits = {
            name: _data_files(parent / name) for name in SPLIT_NAMES if (parent / name).is_dir()
        }
        if any(splits.values()):
            return {name: files for name, files in splits.items() if files}
    files = _data_files(folder)
    return {"": files} if files else {}


def _data_files(folder: Path) -> list[Path]:
    """Data files of one folder by name: cards, statistics and unfinished files are passed over.

    A file that is named like a data file but lacks its signature counts, so that opening it
    reports the damage; leaving it out would silently shrink the data set.
    """
    return [
        entry
        for entry in sorted(folder.iterdir())
        if entry.is_file()
        and not entry.name.startswith(".")
        and entry.suffix not in _UNFINISHED_SUFFIXES
        and (entry.suffix.lower() in _SUFFIXES or container_of(entry) is not None)
    ]
