"""``.pt`` files: dicts of tensors, lists of such dicts, single tensors.

Files are loaded with ``weights_only=True`` and without exception: anything that would have to
be executed is refused. Tensors are views of a memory map of the file, whatever their strides.
"""

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from sciml.data.sources.array_sets import ArraySet
from sciml.data.sources.array_sets_bytes import ARCHIVE_ERRORS
from sciml.data.sources.array_sets_open import open_array_sets
from sciml.data.sources.array_sets_source import ArraySource
from sciml.data.sources.array_sets_storage import StoredArray
from sciml.data.sources.base import Format

_MAX_PICKLE = 64 * 2**20


@final
class TensorFile:
    """What a file holds, loaded once per process and at first use.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content: Any = None

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave the map behind: pickling it would copy the tensors."""
        return {**self.__dict__, "_content": None}

    def content(self) -> Any:
        """The object in the file; its tensors are views of a memory map.

        Raises:
            ValueError: If the file is damaged, or holds more than tensors.
        """
        if self._content is None:
            self._content = _load(self.path)
        return self._content


@final
class TensorArray(StoredArray):
    """One tensor of a file.

    Args:
        file: The file.
        keys: Where it stands in the object that the file holds.
        tensor: The tensor.
    """

    back_end = "mmap"
    mappable = True

    def __init__(self, file: TensorFile, keys: tuple[str | int, ...], tensor: Tensor) -> None:
        steps = tensor.stride()
        order = tuple(sorted(range(tensor.ndim), key=lambda axis: -steps[axis]))
        dtype = tensor.detach().numpy().dtype
        name = str(keys[-1]) if keys else ""
        shape = tuple(tensor.shape)
        super().__init__(file.path, name, shape, dtype, order, f"memory map of {dtype}")
        self.place = repr(keys)
        self._file = file
        self._keys = keys

    @override
    def direct(self) -> NDArray[Any]:
        item = self._file.content()
        for key in self._keys:
            item = item[key]
        array: NDArray[Any] = item.detach().numpy()
        return array


def read_torch(path: Path, back_end: str = "auto") -> list[ArraySet]:
    """The tensors of a file: one set for a dict or a tensor, one for each dict of a list.

    Raises:
        ValueError: If the file is damaged, or holds more than tensors.
    """
    file = TensorFile(path)
    content = file.content()
    if isinstance(content, Tensor):
        return [_array_set(file, {"": content}, (), back_end)]
    if isinstance(content, Mapping):
        return [_array_set(file, content, (), back_end)]
    entries = content if isinstance(content, list | tuple) else []
    if entries and all(isinstance(entry, Mapping) for entry in entries):
        return [
            _array_set(file, entry, (number,), back_end) for number, entry in enumerate(entries)
        ]
    raise ValueError(
        f"open_source: expected a tensor, a dict of tensors or a list of such dicts in {path}, "
        f"got {type(content).__name__}; save the tensors as a dict with torch.save"
    )


def _array_set(
    file: TensorFile, content: Mapping[Any, Any], entry: tuple[int, ...], back_end: str
) -> ArraySet:
    arrays: dict[str, StoredArray] = {}
    refused: dict[str, str] = {}
    for key, value in content.items():
        reason = _refusal(value)
        if reason:
            refused[str(key)] = reason
            continue
        _check_strides(file.path, str(key), value)
        keys = entry if key == "" and isinstance(file.content(), Tensor) else (*entry, key)
        arrays[str(key)] = TensorArray(file, keys, value)
    position = f"entry {entry[0]}" if entry else ""
    return ArraySet((file.path,), arrays, refused, position, back_end)


def _refusal(value: Any) -> str:
    """Why a member of a dict is not read, in words; empty for a tensor of numbers."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return "sparse, quantised or nested tensor"
    if value.device.type != "cpu":
        return f"tensor on {value.device.type}"
    short = value.is_floating_point() and value.dtype.itemsize == 1
    if value.dtype == torch.bfloat16 or short:
        return f"{value.dtype}, which numpy does not know: save it as float32"
    return ""


def _check_strides(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a tensor that shows more numbers than its storage holds."""
    stored = tensor.untyped_storage().nbytes()
    reach = tensor.storage_offset() + sum(
        (n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True)
    )
    declared = tensor.element_size() * max(tensor.numel(), reach + 1 if tensor.numel() else 0)
    if declared > stored or stored > path.stat().st_size:
        raise ValueError(
            f"open_source: expected at most {min(stored, path.stat().st_size)} bytes of "
            f"{name!r} in {path}, got a tensor of shape {tuple(tensor.shape)} and strides "
            f"{tensor.stride()}; save tensors that are not expanded, with .contiguous()"
        )


def _load(path: Path) -> Any:
    _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"open_source: expected only tensors and plain containers in {path}, got objects "
            "that would have to be executed to be read, or a damaged file; load it where you "
            "trust it and save a dict of tensors with torch.save "
            f"({str(error).splitlines()[0] if str(error) else 'unpickling failed'})"
        ) from error
    except Exception as error:  # damaged bytes make the unpickler raise anything
        raise ValueError(
            f"open_source: expected a complete torch file, got {path} ({error}); delete it and "
            "generate or download it again"
        ) from error


def _check_archive(path: Path) -> None:
    """Refuse archives that unpack to more than they are: torch never compresses members."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except ARCHIVE_ERRORS as error:
        raise ValueError(
            f"open_source: expected a complete torch file, got {path} ({error}); delete it and "
            "generate or download it again"
        ) from error
    size = path.stat().st_size
    for member in members:
        pickled = member.filename.endswith(".pkl")
        limit = min(size, _MAX_PICKLE) if pickled else size
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > limit:
            raise ValueError(
                f"open_source: expected uncompressed members of at most {limit} bytes in the "
                f"torch file {path}, got {member.filename} of declared {member.file_size} "
                "bytes; the file is damaged or hostile, do not use it"
            )


def _open_files(paths: Sequence[Path], back_end: str) -> list[ArraySource]:
    return open_array_sets([part for path in paths for part in read_torch(path, back_end)])


def _any_content(path: Any) -> bool:
    """Every torch file is ours; what it means is asked when all files are open."""
    return True


FORMATS: tuple[Format, ...] = (Format("torch", "torch", _any_content, _open_files),)
"""Tensors saved by torch."""
