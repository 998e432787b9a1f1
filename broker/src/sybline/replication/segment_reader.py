"""Reading entries back from segments and cold files: every record is verified before it is used (P7)."""

from array import array
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from sybline.replication.files import File, Files
from sybline.replication.records import (
    RECORD_BYTES,
    Entry,
    decode_entry,
    payload_bytes_at,
)
from sybline.replication.segment import Segment
from sybline.replication.storage_errors import CorruptData, LogRangeError

OPEN_FILES_MAX = 64
WINDOW_BYTES = 1024 * 1024
GUESS_BYTES = 64 * 1024  # read for a record whose size is not known, before it is


class Stored(Protocol):
    """A file with records and where they are."""

    @property
    def path(self) -> Path: ...

    @property
    def seed(self) -> int: ...

    @property
    def length(self) -> int: ...

    @property
    def offsets(self) -> "array[int]": ...

    def at(self, index: int) -> int | None:
        """Return the number of the record of an entry; None: it is not here."""


class SegmentReader:
    """Reads entries by their place; keeps a bounded number of segments open."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._open: OrderedDict[Path, File] = OrderedDict()

    def entry(self, segment: Stored, index: int) -> Entry:
        """Return one entry, which is there.

        Raises:
            CorruptData: the record is not what was written.
        """
        at = segment.at(index)
        if at is None:
            raise LogRangeError(f"entry {index} is not in {segment.path.name}")
        offset = segment.offsets[at]
        end = segment.offsets[at + 1] if at + 1 < len(segment.offsets) else segment.length
        data = self._file(segment.path).read_at(offset, min(end - offset, GUESS_BYTES))
        return self._decode(segment, index, data, 0, offset)

    def record_end(self, segment: Segment, index: int) -> int:
        """Return the offset behind the record of an entry."""
        entry = self.entry(segment, index)
        return segment.offsets[index - segment.base] + RECORD_BYTES + len(entry.payload)

    def entries(self, segment: Segment, first: int, last: int) -> Iterator[Entry]:
        """Yield the entries `first` to `last`, all of them in this segment, reading ahead in windows.

        Raises:
            CorruptData: a record is not what was written.
        """
        file = self._file(segment.path)
        window, start = b"", 0
        for index in range(first, last + 1):
            offset = segment.offsets[index - segment.base]
            at = offset - start
            if not 0 <= at <= len(window) - RECORD_BYTES or (
                at + RECORD_BYTES + payload_bytes_at(window, at) > len(window)
            ):
                size = min(WINDOW_BYTES, segment.length - offset)
                window, start, at = file.read_at(offset, size), offset, 0
            yield self._decode(segment, index, window, at, offset)

    def _decode(self, segment: Stored, index: int, data: bytes, at: int, offset: int) -> Entry:
        entry = decode_entry(data, at, segment.seed)
        if entry is None and at + RECORD_BYTES <= len(data):
            size = min(RECORD_BYTES + payload_bytes_at(data, at), segment.length - offset)
            data = self._file(segment.path).read_at(offset, size)
            entry = decode_entry(data, 0, segment.seed)
        if entry is None or entry.index != index:
            raise CorruptData(segment.path, offset, f"the record of entry {index} is damaged")
        return entry

    def _file(self, path: Path) -> File:
        file = self._open.get(path)
        if file is None:
            file = self._open[path] = self._files.open(path)
            if len(self._open) > OPEN_FILES_MAX:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(path)
        return file

    def forget(self, path: Path) -> None:
        """Close a segment that is about to be removed."""
        file = self._open.pop(path, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()
