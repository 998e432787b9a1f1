"""The image of a member: checkpoint and retained log up to it, as one stream of bytes for a member that is far behind.

The stream is a header that names the pieces and their sizes, then the pieces: the checkpoint file and the segments, the
last one cut behind the checkpoint's entry. The files of an open image are pinned: the journal does not remove them.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.files import File, Files
from sybline.replication.storage_errors import BadImage, LogRangeError

MAGIC = b"SYBLIMG\n"
FORMAT_VERSION = 1
SEGMENTS_MAX = 1 << 20
_FIXED = struct.Struct(
    "<8sH16sIQQQI"
)  # magic, version, cluster, group, index, term, checkpoint bytes, segments
_ROW = struct.Struct("<QQ")  # sequence, bytes
_CRC = struct.Struct("<I")
FIXED_BYTES = _FIXED.size


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image consists of."""

    index: int
    term: int
    checkpoint_bytes: int
    segments: tuple[tuple[int, int], ...]  # sequence number and bytes of each

    @property
    def content_bytes(self) -> int:
        """Return the size of the pieces together."""
        return self.checkpoint_bytes + sum(size for _, size in self.segments)

    def encode(self, owner: CheckpointOwner) -> bytes:
        """Return the bytes at the beginning of the stream."""
        data = _FIXED.pack(
            MAGIC, FORMAT_VERSION, owner.cluster, owner.group, self.index, self.term,
            self.checkpoint_bytes, len(self.segments),
        )  # fmt: skip
        data += b"".join(_ROW.pack(*row) for row in self.segments)
        return data + _CRC.pack(crc32(data))


def header_bytes(fixed: bytes, owner: CheckpointOwner) -> int:
    """Return the size of the whole header, told by its first `FIXED_BYTES` bytes.

    Raises:
        BadImage: not an image, of another version, or of another cluster.
    """
    magic, version, cluster, group, *_, segments = _FIXED.unpack(fixed)
    if magic != MAGIC or version != FORMAT_VERSION:
        raise BadImage(f"not an image of format {FORMAT_VERSION}")
    if (cluster, group) != (owner.cluster, owner.group):
        raise BadImage("the image belongs to another cluster or group")
    if not 1 <= segments <= SEGMENTS_MAX:
        raise BadImage(f"an image of {segments} segments")
    return int(_FIXED.size + segments * _ROW.size + _CRC.size)


def decode_header(data: bytes) -> ImageHeader:
    """Return the header.

    Raises:
        BadImage: its checksum does not match, or the segments are not in order.
    """
    end = len(data) - _CRC.size
    if crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise BadImage("the header of the image fails its checksum")
    *_, index, term, checkpoint_bytes, _count = _FIXED.unpack_from(data)
    rows = tuple(_ROW.iter_unpack(data[_FIXED.size : end]))
    if any(row[0] != rows[0][0] + number for number, row in enumerate(rows)):
        raise BadImage("the segments of the image are not in order")
    return ImageHeader(index, term, checkpoint_bytes, rows)


class Image:
    """An open image; its files stay until it is closed."""

    def __init__(
        self,
        files: Files,
        header: ImageHeader,
        owner: CheckpointOwner,
        paths: list[Path],
        *,
        image_id: int,
        closed: Callable[["Image"], None],
    ) -> None:
        """`paths`: the checkpoint and then the segments, in the order of the header."""
        self.index = header.index
        self.term = header.term
        self.image_id = image_id
        self.first_sequence = header.segments[0][0]
        self._files = files
        self._closed = closed
        self._header = header.encode(owner)
        sizes = [header.checkpoint_bytes, *(size for _, size in header.segments)]
        self._pieces = list(zip(paths, sizes, strict=True))
        self.total_bytes = len(self._header) + header.content_bytes
        self._file: File | None = None
        self._path: Path | None = None
        self._checkpoint = files.open(paths[0])  # a newer checkpoint removes its name
        self._is_open = True

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of the stream; fewer only at its end.

        Raises:
            LogRangeError: the image was closed.
        """
        if not self._is_open:
            raise LogRangeError("the image is closed")
        parts = []
        if offset < len(self._header):
            parts.append(self._header[offset : offset + size])
        start = len(self._header)
        for number, (path, length) in enumerate(self._pieces):
            begin = max(offset, start)
            end = min(offset + size, start + length)
            if begin < end:
                file = self._checkpoint if number == 0 else self._segment(path)
                parts.append(file.read_at(begin - start, end - begin))
            start += length
        return b"".join(parts)

    def _segment(self, path: Path) -> File:
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
        self._checkpoint.close()
        if self._file is not None:
            self._file.close()
        self._closed(self)
