"""A file in memory with holes, for what HDF5 writes around arrays that are written later."""

import io
from typing import Any, final

from typing_extensions import override


@final
class SparseImage(io.RawIOBase):
    """A file in memory that keeps what was written, and nothing in between."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self._position = 0
        self._size = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def writable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        self._position = origin[whence] + offset
        return self._position

    @override
    def truncate(self, size: int | None = None) -> int:
        self._size = self._position if size is None else size
        return self._size

    @override
    def write(self, content: Any) -> int:
        piece = bytes(content)
        self.pieces.append((self._position, piece))
        self._position += len(piece)
        self._size = max(self._size, self._position)
        return len(piece)

    @property
    def size(self) -> int:
        """Bytes of the file, those that were not written included."""
        return self._size
