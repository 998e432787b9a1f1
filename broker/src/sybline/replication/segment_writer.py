"""Writing the log: the open tail segment and the reserve that becomes the next one.

`append` and `start_segment` run in a thread, one at a time; what they raise ends the member. The reserve is allocated
ahead, so that a full disk is seen while there is still room to vote and to settle.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sybline.replication.files import NO_SPACE, File, Files
from sybline.replication.records import SCAN_BYTES, encode_batch_mark, scan_records
from sybline.replication.recovery import RESERVE_NAME
from sybline.replication.segment import HEADER_BYTES, Segment, with_allocation
from sybline.replication.storage_errors import CorruptData


class SegmentWriter:
    """The tail of one generation's log."""

    def __init__(
        self,
        files: Files,
        file: File,
        *,
        sequence: int,
        segment_bytes: int,
        announce: Callable[[int], None],
        named: Callable[[], None],
    ) -> None:
        """`sequence`: of the tail. The callbacks run in the writing thread.

        `announce` prepares to name the segment with the next number, and may find the disk full; `named` is called when
        the announced segment has its name, and may not.
        """
        self._files = files
        self._file = file
        self._sequence = sequence
        self._segment_bytes = segment_bytes
        self._announce = announce
        self._named = named
        self._reserve: File | None = None
        self._reserve_path: Path | None = None
        self.is_full = False  # the last try to allocate a reserve found no space

    @property
    def has_reserve(self) -> bool:
        """Return whether the next segment is allocated."""
        return self._reserve is not None

    def mark_durable(self, tail: Segment) -> None:
        """Promise that all of the tail is durable, if there is room for it."""
        mark_durable(self._file, tail)

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
        self._named()
        self._file.close()
        self._file = file
        self._sequence = segment.header.sequence

    def prepare_reserve(self, directory: Path) -> bool:
        """Allocate all that the next segment takes, unless that is done, and return whether it is; False: disk full.

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
            self._announce(self._sequence + 1)
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
    if allocated == 0:  # what was allocated before the disk ran full must not stay
        file.close()
        file = files.create(segment.path)
    segment.header = with_allocation(segment.header, allocated)
    file.write_at(0, [segment.header.encode()])
    file.sync()
    segment.length = HEADER_BYTES
    return file


def mend_tail(files: Files, segment: Segment, durable: int) -> File:
    """Make a tail durable as it was read, wipe what an unfinished write left behind it, and return it open.

    In place, so that it works on a full disk: nothing before `durable`, the length that is known to be on disk, is
    touched. What follows is written again, for a failed sync may have left it in the page cache only. The space behind
    is overwritten although it may look empty, for the same reason: a record left there could become valid again.

    Raises:
        CorruptData: a record changed since it was verified. The next start cuts it off, nobody was told of it.
        OSError: the disk; a start may be tried again.
    """
    with contextlib.ExitStack() as undo:
        file = files.open(segment.path, writable=True)
        undo.callback(file.close)
        for offset, size in _windows(durable, segment.length):
            file.write_at(offset, [file.read_at(offset, size)])
        for offset, size in _windows(segment.length, file.size()):
            file.write_at(offset, [bytes(size)])
        file.sync()
        _verify_again(file, segment, durable)
        segment.length += mark_durable(file, segment)
        undo.pop_all()
    return file


def adopt_tail(files: Files, segment: Segment) -> File:
    """Make the last segment of a received copy a tail to write behind, durably, and return it open.

    It says that nothing is reserved behind its bytes: the next write goes to a new segment once there is a reserve.
    """
    segment.header = with_allocation(segment.header, 0)
    with contextlib.ExitStack() as undo:
        file = files.open(segment.path, writable=True)
        undo.callback(file.close)
        file.write_at(0, [segment.header.encode()])
        file.sync()
        segment.length += mark_durable(file, segment)
        undo.pop_all()
    return file


def mark_durable(file: File, segment: Segment) -> int:
    """Promise durably that all of the segment is durable, and return the bytes this took: 0 if there is no room.

    Later damage is then told from a torn tail. Without a promise the log is as sound; the next write brings one.
    """
    mark = encode_batch_mark(segment.header.seed, segment.length)
    try:
        file.write_at(segment.length, [mark])
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        return 0  # a part of it may be there: no sound record, and the next write covers it
    file.sync()
    return len(mark)


def _verify_again(file: File, segment: Segment, start: int) -> None:
    """Require that what was written is what was verified: pages of a failed sync may leave the cache at any moment."""
    end = scan_records(
        file,
        seed=segment.header.seed,
        start=start,
        end=segment.length,
        visit=lambda *_: None,
    )
    if end != segment.length:
        raise CorruptData(segment.path, end, "a record changed while the log was opened")


def _windows(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield offsets and sizes that cover a range."""
    for offset in range(start, end, SCAN_BYTES):
        yield offset, min(SCAN_BYTES, end - offset)


def _allocate(file: File, size: int) -> int:
    """Reserve space and return how much; 0 when the disk is full."""
    try:
        file.allocate(size)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        return 0
    return size
