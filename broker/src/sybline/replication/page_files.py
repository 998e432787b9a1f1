"""Page files: parts of the state that several checkpoints refer to, written once and never changed.

A file has a header, the pages one after another, and an index of them with a checksum for each. The root file of a
checkpoint holds the size of each page file it needs and the checksum of its header and index.
"""

import contextlib
import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from sybline.replication.files import File, Files
from sybline.replication.state_dump import Page
from sybline.replication.storage_errors import CorruptData

if TYPE_CHECKING:
    from sybline.replication.checkpoint import CheckpointOwner

MAGIC = b"SYBLPAGE"
FORMAT_VERSION = 1
PREFIX = "pages-"
_HEADER = struct.Struct("<8sH16sIQ")  # magic, version, cluster, group, number
_ROW = struct.Struct("<QII")  # number, bytes and checksum of a page
_END = struct.Struct("<II")  # rows, checksum of header, rows and their count
_COUNT = struct.Struct("<I")


def page_file_name(number: int) -> str:
    """Return the name of a page file."""
    return f"{PREFIX}{number:010d}"


def parse_page_file_name(name: str) -> int | None:
    """Return the number in a file name, or None when it is not the name of a page file."""
    digits = name.removeprefix(PREFIX)
    if digits == name or not digits.isdecimal() or page_file_name(int(digits)) != name:
        return None
    return int(digits)


@dataclass(frozen=True, slots=True)
class PageFileFacts:
    """What a root file knows of a page file."""

    number: int
    total_bytes: int
    checksum: int


class PageFileWriter:
    """A page file that has no name yet."""

    def __init__(self, files: Files, path: Path, owner: "CheckpointOwner", number: int) -> None:
        """`path` is the directory."""
        self.number = number
        self._files = files
        self._path = path / page_file_name(number)
        self._temporary = self._path.with_name(self._path.name + ".tmp")
        self._owner = owner
        self._header = _HEADER.pack(MAGIC, FORMAT_VERSION, owner.cluster, owner.group, number)
        self._rows: list[tuple[int, int, int]] = []
        self.total_bytes = len(self._header)
        self._file = files.create(self._temporary)
        self._file.write_at(0, [self._header])

    def add(self, pages: Iterable[Page]) -> None:
        """Write pages behind the others."""
        parts = []
        for number, data in pages:
            self._rows.append((number, len(data), crc32(data)))
            parts.append(data)
        self._file.write_at(self.total_bytes, parts)
        self.total_bytes += sum(map(len, parts))

    def finish(self) -> tuple[PageFileFacts, dict[int, int]]:
        """Write the index, sync, read everything back, and give the file its name, which is not durable yet.

        Returns what a root file needs to know of it, and the bytes of each page.

        Raises:
            OSError, CorruptData: the name was not given.
        """
        rows = b"".join(_ROW.pack(*row) for row in self._rows) + _COUNT.pack(len(self._rows))
        checksum = crc32(rows, crc32(self._header))
        index = rows + struct.pack("<I", checksum)
        with contextlib.closing(self._file):
            self._file.write_at(self.total_bytes, [index])
            self._file.sync()
        facts = PageFileFacts(self.number, self.total_bytes + len(index), checksum)
        with contextlib.closing(
            PageFile(self._files, self._temporary, self._owner, facts)
        ) as written:
            written.verify()
            sizes = dict(written.sizes())
        self._files.rename(self._temporary, self._path)
        return facts, sizes

    def close(self) -> None:
        """Release the file, which stays without its name."""
        self._file.close()


class PageFile:
    """A page file that is complete."""

    def __init__(
        self, files: Files, path: Path, owner: "CheckpointOwner", facts: PageFileFacts
    ) -> None:
        """Open and read the index.

        Raises:
            CorruptData: damaged, of a newer format, of another group, or not the file that was named.
        """
        self.facts = facts
        self.path = path
        self._sizes = array("I")
        self._sums = array("I")
        self._offsets = array("Q")
        self._row_of: dict[int, int] = {}
        if not files.exists(path):
            raise CorruptData(path, 0, "the file is missing, and the checkpoint needs it")
        self._file = files.open(path)
        try:
            self._load_index(self._file, owner)
        except CorruptData:
            self._file.close()
            raise

    def _load_index(self, file: File, owner: "CheckpointOwner") -> None:
        path, expected = self.path, self.facts.total_bytes
        header = file.read_at(0, _HEADER.size)
        if len(header) < _HEADER.size or header[: len(MAGIC)] != MAGIC:
            raise CorruptData(path, 0, "not a page file")
        _, version, cluster, group, number = _HEADER.unpack(header)
        if version != FORMAT_VERSION:
            raise CorruptData(
                path, len(MAGIC), f"format version {version}, this program knows {FORMAT_VERSION}",
                "Start it with the version of Sybline that wrote it, or a newer one.",
            )  # fmt: skip
        if (cluster, group) != (owner.cluster, owner.group):
            raise CorruptData(path, len(MAGIC), "the pages belong to another cluster or group")
        if number != self.facts.number:
            raise CorruptData(path, 0, f"the file holds page file {number}")
        if file.size() != expected:
            raise CorruptData(
                path, min(expected, file.size()),
                f"{file.size()} bytes, the checkpoint knows of {expected}",
            )  # fmt: skip
        end = file.read_at(expected - _END.size, _END.size)
        rows, checksum = _END.unpack(end)
        index_at = expected - _END.size - rows * _ROW.size
        if checksum != self.facts.checksum or index_at < _HEADER.size:
            raise CorruptData(path, expected - _END.size, "not the file the checkpoint knows")
        index = file.read_at(index_at, rows * _ROW.size)
        if crc32(end[: _COUNT.size], crc32(index, crc32(header))) != checksum:
            raise CorruptData(path, index_at, "the index of the pages fails its checksum")
        offset = _HEADER.size
        for row, (page, size, crc) in enumerate(_ROW.iter_unpack(index)):
            self._row_of[page] = row
            self._offsets.append(offset)
            self._sizes.append(size)
            self._sums.append(crc)
            offset += size
        if offset != index_at:
            raise CorruptData(path, index_at, "the sizes of the pages do not add up")

    def __contains__(self, page: int) -> bool:
        return page in self._row_of

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Yield the number and the bytes of each page."""
        return zip(self._row_of, self._sizes, strict=True)

    def read(self, page: int) -> bytes:
        """Return a page.

        Raises:
            CorruptData: damaged since it was written.
        """
        row = self._row_of[page]
        data = self._file.read_at(self._offsets[row], self._sizes[row])
        if len(data) != self._sizes[row] or crc32(data) != self._sums[row]:
            raise CorruptData(self.path, self._offsets[row], f"page {page} fails its checksum")
        return data

    def verify(self) -> None:
        """Read every page.

        Raises:
            CorruptData: damaged since it was written.
        """
        for page in self._row_of:
            self.read(page)

    def close(self) -> None:
        """Release the file; may be called again."""
        self._file.close()
