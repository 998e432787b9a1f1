"""Writing the log: the open tail segment and the reserve that becomes the next one.

`append` and `start_segment` run in a thread, one at a time; what they raise ends the member. The reserve is allocated
ahead, so that a full disk is seen while there is still room to vote and to settle.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from sybline.replication.files import NO_SPACE, File, Files
from sybline.replication.records import SCAN_BYTES, encode_batch_mark
from sybline.replication.recovery import RESERVE_NAME
from sybline.replication.segment import HEADER_BYTES, Segment, with_allocation


class SegmentWriter:
    """The tail of one generation's log."""

    def __init__(
        self, files: Files, file: File, *, segment_bytes: int, named: Callable[[int], None]
    ) -> None:
        """`named` is told, in the writing thread, the sequence number of a new segment once its name is durable."""
        self._files = files
        self._file = file
        self._segment_bytes = segment_bytes
        self._named = named
        self._reserve: File | None = None
        self._reserve_path: Path | None = None
        self.is_full = False  # the last try to allocate a reserve found no space

    @property
    def has_reserve(self) -> bool:
        """Return whether the next segment is allocated."""
        return self._reserve is not None

    def append(self, offset: int, parts: Sequence[bytes]) -> None:
        """Write behind the tail's valid bytes and make it durable."""
        self._file.write_at(offset, parts)
        self._file.sync()

    def start_segment(self, segment: Segment, parts: Sequence[bytes]) -> None:
        """Turn the reserve into a segment that begins with these records, durably, and write there from now on."""
        file, path = self._reserve, self._reserve_path
        if file is None or path is None:
            raise AssertionError("no reserve to start a segment in")
        self._reserve = None
        file.write_at(0, [segment.header.encode(), *parts])
        file.sync()
        self._files.rename(path, segment.path)
        self._files.sync_directory(path.parent)
        self._named(segment.header.sequence)
        self._file.close()
        self._file = file

    def prepare_reserve(self, directory: Path) -> bool:
        """Allocate the next segment unless it is there, and return whether it is; False: the disk is full.

        Raises:
            OSError: for another reason than a full disk.
        """
        if self._reserve is not None:
            return True
        path = directory / RESERVE_NAME
        file: File | None = None
        try:
            file = self._files.create(path)
            file.allocate(self._segment_bytes)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            if file is not None:
                file.close()
                self._files.remove(path)
            self.is_full = True
            return False
        self._reserve, self._reserve_path = file, path
        self.is_full = False
        return True

    def close(self) -> None:
        """Release the files."""
        self._file.close()
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None


def create_segment(files: Files, segment: Segment, segment_bytes: int) -> File:
    """Write a segment without records under its name; the caller syncs the directory."""
    file = files.create(segment.path)
    allocated = _allocate(file, segment_bytes)
    segment.header = with_allocation(segment.header, allocated)
    file.write_at(0, [segment.header.encode()])
    file.sync()
    segment.length = HEADER_BYTES
    return file


def rewrite_tail(files: Files, segment: Segment, segment_bytes: int) -> File:
    """Copy the valid part of the tail to a new file under the same name, durably, and return it open.

    This removes what an unfinished write left, and does not trust pages that a failed sync left in the cache. The copy
    ends with a mark that everything before it is durable, so that later damage is told from a torn tail.
    """
    temporary = segment.path.with_name(segment.path.name + ".tmp")
    file = files.create(temporary)
    allocated = _allocate(file, segment_bytes)
    if allocated == 0:  # what was allocated before the disk ran full must not stay
        file.close()
        file = files.create(temporary)
    segment.header = with_allocation(segment.header, allocated)
    file.write_at(0, [segment.header.encode()])
    with contextlib.closing(files.open(segment.path)) as source:
        for offset in range(HEADER_BYTES, segment.length, SCAN_BYTES):
            data = source.read_at(offset, min(SCAN_BYTES, segment.length - offset))
            file.write_at(offset, [data])
    mark = encode_batch_mark(segment.header.seed, segment.length)
    file.write_at(segment.length, [mark])
    file.sync()
    segment.length += len(mark)
    files.rename(temporary, segment.path)
    files.sync_directory(segment.path.parent)
    return file


def _allocate(file: File, size: int) -> int:
    """Reserve space and return how much; 0 when the disk is full."""
    try:
        file.allocate(size)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        return 0
    return size
