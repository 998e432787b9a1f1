"""The image of a member, for one that is far behind: its checkpoint, its cold files, and its log up to the checkpoint.

One stream of bytes: a header that names the files with their sizes, then the files, the last segment of
the log cut behind the checkpoint's entry. The files of an open image are pinned: the journal does not remove them.
"""

import struct
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final
from zlib import crc32

from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.files import File, Files
from sybline.replication.storage_errors import BadImage, LogRangeError

MAGIC: Final = b"SYBLIMG\n"
FORMAT_VERSION: Final = 1
FILES_MAX: Final = 1 << 20
NAME_BYTES: Final = 64
_FIXED = struct.Struct("<8sH16sIQQI")  # magic, version, cluster, group, index, term, files
_ROW = struct.Struct(f"<{NAME_BYTES}sQ")  # name, filled up with zeros, and bytes
_CRC = struct.Struct("<I")
FIXED_BYTES: Final = _FIXED.size


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image consists of."""

    index: int
    term: int
    files: tuple[tuple[str, int], ...]  # name and bytes of each

    @property
    def content_bytes(self) -> int:
        """Return the size of the files together."""
        return sum(size for _, size in self.files)

    def encode(self, owner: CheckpointOwner) -> bytes:
        """Return the bytes at the beginning of the stream."""
        data = _FIXED.pack(
            MAGIC, FORMAT_VERSION, owner.cluster, owner.group, self.index, self.term,
            len(self.files),
        )  # fmt: skip
        data += b"".join(_ROW.pack(name.encode(), size) for name, size in self.files)
        return data + _CRC.pack(crc32(data))


def header_bytes(fixed: bytes, owner: CheckpointOwner) -> int:
    """Return the size of the whole header, told by its first `FIXED_BYTES` bytes.

    Raises:
        BadImage: not an image, of another version, or of another cluster.
    """
    magic, version, cluster, group, *_, files = _FIXED.unpack(fixed)
    if magic != MAGIC or version != FORMAT_VERSION:
        raise BadImage(f"not an image of format {FORMAT_VERSION}")
    if (cluster, group) != (owner.cluster, owner.group):
        raise BadImage("the image belongs to another cluster or group")
    if not 1 <= files <= FILES_MAX:
        raise BadImage(f"an image of {files} files")
    return int(_FIXED.size + files * _ROW.size + _CRC.size)


def decode_header(data: bytes) -> ImageHeader:
    """Return the header; whether the names are those of our files is for the receiver to check.

    Raises:
        BadImage: its checksum does not match, or a name is no plain name or there twice.
    """
    end = len(data) - _CRC.size
    if crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise BadImage("the header of the image fails its checksum")
    *_, index, term, _count = _FIXED.unpack_from(data)
    rows = tuple(
        (name.rstrip(b"\0").decode("ascii", "replace"), size)
        for name, size in _ROW.iter_unpack(data[_FIXED.size : end])
    )
    if len({name for name, _ in rows}) != len(rows):
        raise BadImage("the image has a file twice")
    return ImageHeader(index, term, rows)


class Image:
    """An open image; its files stay until it is closed."""

    def __init__(
        self,
        files: Files,
        header: ImageHeader,
        owner: CheckpointOwner,
        directory: Path,
        *,
        image_id: int,
        closed: Callable[["Image"], None],
    ) -> None:
        """`directory`: where the files named by the header are; they stay as they are until `closed` is called."""
        self.index = header.index
        self.term = header.term
        self.image_id = image_id
        self.names = frozenset(name for name, _ in header.files)
        self._files = files
        self._closed = closed
        self._header = header.encode(owner)
        self._pieces = [(directory / name, size) for name, size in header.files]
        self._starts = list(
            accumulate((size for _, size in self._pieces), initial=len(self._header))
        )
        self.total_bytes = self._starts[-1]
        self._file: File | None = None
        self._path: Path | None = None
        self._is_open = True

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of the stream; fewer only at its end.

        Raises:
            LogRangeError: the image was closed.
        """
        if not self._is_open:
            raise LogRangeError("the image is closed")
        parts = [self._header[offset : offset + size]] if offset < len(self._header) else []
        number = max(bisect_right(self._starts, offset) - 1, 0)
        for start, (path, length) in zip(
            self._starts[number:], self._pieces[number:], strict=False
        ):
            begin, end = max(offset, start), min(offset + size, start + length)
            if start >= offset + size:
                break
            if begin < end:
                parts.append(self._opened(path).read_at(begin - start, end - begin))
        return b"".join(parts)

    def _opened(self, path: Path) -> File:
        if self._file is None or self._path != path:
            if self._file is not None:
                self._file.close()
            self._file, self._path = self._files.open(path), path
        return self._file

    def close(self) -> None:
        """Release the files; may be called again."""
        if not self._is_open:
            return
        self._is_open = False
        if self._file is not None:
            self._file.close()
        self._closed(self)
