"""The entries of one generation: reading, adding, cutting, and making them durable in three steps.

Part of the journal, which adds votes, checkpoints and images (journal.py, where the thread rules are told). Positions
of a write are given out when it begins, on the loop; checksums and the write itself are the thread's work.
"""

import errno
import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sybline import limits
from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.files import File, Files
from sybline.replication.log_index import LogIndex
from sybline.replication.recent_entries import RecentEntries
from sybline.replication.records import (
    RECORD_BYTES,
    Entry,
    Record,
    Truncation,
    encode_records,
    record_bytes,
)
from sybline.replication.recovery import Recovered
from sybline.replication.segment import HEADER_BYTES, Segment, SegmentHeader, segment_name
from sybline.replication.segment_reader import SegmentReader
from sybline.replication.segment_writer import SegmentWriter
from sybline.replication.storage_errors import LogRangeError


@dataclass(frozen=True, slots=True)
class JournalOptions:
    """Sizes that a test or an operator may change."""

    segment_bytes: int = limits.SEGMENT_BYTES
    recent_bytes: int = limits.RECENT_ENTRIES_BYTES_MAX
    margin_entries: int = limits.LOG_MARGIN_ENTRIES
    margin_bytes: int = limits.LOG_MARGIN_BYTES
    compress_cold: bool = False  # what is rewritten


@dataclass(slots=True)
class SyncBatch:
    """One write under way."""

    records: list[Record]
    segment: Segment
    offset: int  # where its bytes begin in the segment
    starts_segment: bool
    promise: int  # the log is durable up to this entry when it is done; truncation lowers it
    written: bool = False
    cancelled: bool = False  # another generation took over


class SegmentedLog(ABC):
    """The log of one generation; see the module."""

    def __init__(
        self,
        files: Files,
        owner: CheckpointOwner,
        options: JournalOptions,
        *,
        path: Path,
        recovered: Recovered,
        tail: File,
    ) -> None:
        """Take over a verified generation in `path`, whose tail segment is open for writing."""
        self._files = files
        self._owner = owner
        self._options = options
        self._recent = RecentEntries(options.recent_bytes)
        self._reader = SegmentReader(files)
        self._write_lock = threading.Lock()  # run_sync holds it: a switch of generation waits
        self._failed = False
        self._closed = False
        self._use_generation(path, recovered, tail)

    def _use_generation(self, path: Path, recovered: Recovered, tail: File) -> None:
        """Point at a generation's files; everything in it is durable."""
        self._path = path
        self._index: LogIndex = recovered.index
        self._terms = recovered.terms
        self._terms.drop_before(self.first)
        self._last = self._begun_last = self._durable = self._terms.last
        self._begun_term = self._terms.term(self._last)
        self._pending: list[Record] = []
        self._pending_bytes = 0
        self._batch: SyncBatch | None = None
        self._recent.clear()
        self._writer = SegmentWriter(
            self._files,
            tail,
            sequence=self._index.tail.header.sequence,
            segment_bytes=self._options.segment_bytes,
            announce=self._announce_segment,
            named=self._segment_named,
        )
        self._writer.prepare_reserve(path)

    @property
    @abstractmethod
    def current_term(self) -> int:
        """Return the term this member is in: no entry may be of a later one."""

    @abstractmethod
    def _announce_segment(self, sequence: int) -> None:
        """Get ready to remember that this segment exists, so that it takes no space then. In the writing thread."""

    @abstractmethod
    def _segment_named(self) -> None:
        """Remember durably that the announced segment exists. In the writing thread."""

    def _check_usable(self) -> None:
        if self._failed:
            raise OSError(errno.EIO, "an earlier write or sync failed")
        if self._closed:
            raise LogRangeError("the journal is closed")

    def _close_log(self) -> None:
        """Mark the log whole, unless something is unwritten or has failed, and release the files."""
        if not self._failed and self._batch is None and not self._pending:
            self._writer.mark_durable(self._index.tail)
        self._writer.close()
        self._reader.close()

    # ------------------------------------------------------------------ what is in the log

    @property
    def first(self) -> int:
        """Return the index of the first retained entry, or of the next one in an empty log."""
        return self._index.first

    @property
    def last(self) -> int:
        """Return the index of the last entry, durable or not; 0 at bootstrap."""
        return self._last

    @property
    def durable(self) -> int:
        """Return the highest index known to be synced."""
        return self._durable

    @property
    def has_pending(self) -> bool:
        """Return whether `begin_sync` would find something once no batch is under way."""
        return bool(self._pending)

    @property
    def is_syncing(self) -> bool:
        """Return whether a batch is begun and not ended."""
        return self._batch is not None

    @property
    def is_full(self) -> bool:
        """Return whether the next segment could not be allocated: take no more publishes, go on voting."""
        return self._writer.is_full

    @property
    def has_room(self) -> bool:
        """Return whether proposals may be taken.

        On a full disk, only into allocated space, half a segment of which is kept for what is under way and for the
        log's own entries.
        """
        tail, kept = self._index.tail, self._options.segment_bytes // 2
        used = tail.length + self._pending_bytes + kept
        return not self.is_full or used <= tail.header.allocated

    @property
    def pending_bytes(self) -> int:
        """Return the payload and record bytes that wait for `begin_sync`."""
        return self._pending_bytes

    @property
    def log_bytes(self) -> int:
        """Return the valid bytes of the retained log."""
        return self._index.total_bytes

    @property
    def segments_total(self) -> int:
        """Return the number of log segments, without the reserve."""
        return len(self._index.segments)

    @property
    def recent_bytes(self) -> int:
        """Return the memory that recent entries take."""
        return self._recent.bytes

    def term(self, index: int) -> int:
        """Return the term of an entry, from `first - 1` to `last`.

        Raises:
            LogRangeError: outside.
        """
        return self._terms.term(index)

    def start_of_term(self, index: int) -> int:
        """Return the first known index of the run of entries that have the term of `index`: the conflict hint.

        Raises:
            LogRangeError: outside.
        """
        return self._terms.start_of_run(index)

    def entry(self, index: int) -> Entry:
        """Return an entry, from memory or verified from disk.

        Raises:
            LogRangeError: outside `first` to `last`.
            CorruptData: the record on disk is damaged; the member must stop.
        """
        entry = self._recent.get(index)
        if entry is not None:
            return entry
        self._check_range(index)
        return self._reader.entry(self._index.locate(index), index)

    def slice(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """Return entries `first` to `last`, as many as fit in `bytes_max` of records, at least one.

        Raises:
            LogRangeError, CorruptData: as `entry`.
        """
        self._check_range(first)
        self._check_range(last)
        entries: list[Entry] = []
        total = 0
        index = first
        while index <= last:
            for entry in self._run_from(index, last):
                total += RECORD_BYTES + len(entry.payload)
                if entries and total > bytes_max:
                    return entries
                entries.append(entry)
            index = entries[-1].index + 1
        return entries

    def _run_from(self, index: int, last: int) -> Iterator[Entry]:
        """Yield entries from `index` on: those in memory, or those of one segment."""
        entry = self._recent.get(index)
        if entry is None:
            segment = self._index.locate(index)
            end = min(last, segment.next_index - 1, self._durable)
            yield from self._reader.entries(segment, index, end)
            return
        while entry is not None:
            yield entry
            index += 1
            entry = self._recent.get(index) if index <= last else None

    def _check_range(self, index: int) -> None:
        if not self.first <= index <= self._last:
            raise LogRangeError(f"entry {index} is outside the log, {self.first} to {self._last}")

    # ------------------------------------------------------------------ adding and cutting

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries behind the last one; durable after a sync.

        Raises:
            LogRangeError: a gap, a falling term, or a term above the current one.
        """
        term, last = self._terms.term(self._last), self._last
        for entry in entries:
            last += 1
            if entry.index != last or not term <= entry.term <= self.current_term:
                raise LogRangeError(
                    f"entry {entry.index} of term {entry.term} behind entry {last - 1} of term "
                    f"{term}, in term {self.current_term}"
                )
            term = entry.term
        for entry in entries:
            self._terms.append(entry.term)
            self._pending_bytes += RECORD_BYTES + len(entry.payload)
        self._pending.extend(entries)
        self._recent.add(entries)
        self._last = last

    @abstractmethod
    def _cut_floor(self) -> int:
        """Return the highest index that may never be cut off."""

    def truncate_from(self, index: int) -> None:
        """Remove the entries from `index` on, those being written included.

        Raises:
            LogRangeError: it would remove what the checkpoint holds.
        """
        if index > self._last:
            return
        if index <= self._cut_floor():
            raise LogRangeError(f"cut at {index}, but {self._cut_floor()} must stay")
        self._terms.truncate_from(index)
        self._recent.truncate_from(index)
        self._index.truncate_from(index)
        self._last = index - 1
        self._durable = min(self._durable, index - 1)
        if self._batch is not None:
            self._batch.promise = min(self._batch.promise, index - 1)
        while self._pending and self._pending[-1].index >= index:
            self._pending_bytes -= record_bytes(self._pending.pop())
        if not self._pending and self._begun_last >= index:
            self._pending.append(Truncation(index, self._terms.term(index - 1)))
            self._pending_bytes += RECORD_BYTES

    # ------------------------------------------------------------------ making it durable

    def begin_sync(self) -> SyncBatch | None:
        """Take what was added since the last batch; None: nothing, or a batch is still under way."""
        if self._batch is not None or not self._pending:
            return None
        records, self._pending = self._pending, []
        size = RECORD_BYTES + self._pending_bytes
        self._pending_bytes = 0
        tail = self._index.tail
        starts = (
            tail.length > HEADER_BYTES
            and tail.length + size > tail.header.allocated
            and self._writer.has_reserve
        )
        if starts:
            tail = self._next_segment()
        batch = SyncBatch(records, tail, tail.length, starts, self._last)
        offset = tail.length + RECORD_BYTES
        for record in records:
            if isinstance(record, Entry):
                tail.offsets.append(offset)
            offset += record_bytes(record)
        tail.length = offset
        self._begun_last, self._begun_term = self._last, self._terms.term(self._last)
        self._batch = batch
        return batch

    def _next_segment(self) -> Segment:
        before = self._index.tail
        header = SegmentHeader(
            cluster=self._owner.cluster, group=self._owner.group,
            sequence=before.header.sequence + 1, first=self._begun_last + 1,
            term_before=self._begun_term, length_before=before.length,
            allocated=self._options.segment_bytes, seed=self._files.random32(),
        )  # fmt: skip
        segment = Segment(
            self._path / segment_name(header.sequence), header, HEADER_BYTES,
            self._index.next_index, array("I"),
        )  # fmt: skip
        self._index.segments.append(segment)
        return segment

    def run_sync(self, batch: SyncBatch) -> None:
        """Write the batch and sync it. Any thread; one batch at a time.

        Raises:
            OSError: the batch may be on disk or not, in part; the member must stop. Never retried.
        """
        with self._write_lock:
            if batch.cancelled or batch.written:
                return
            self._check_usable()
            try:
                self._write(batch)
                batch.written = True
            finally:  # whatever ended it early left the tail in an unknown state
                self._failed = not batch.written

    def _write(self, batch: SyncBatch) -> None:
        durable = HEADER_BYTES if batch.starts_segment else batch.offset
        parts = encode_records(batch.segment.header.seed, durable, batch.records)
        if batch.starts_segment:
            self._writer.start_segment(batch.segment, parts)
        else:
            self._writer.append(batch.offset, parts)
        self._writer.prepare_reserve(self._path)

    def retry_reserve(self) -> bool:
        """Try again to allocate the next segment, and return whether it is there. Any thread.

        Every `run_sync` tries as well; this is for a member that writes nothing because it is full.
        """
        with self._write_lock:
            self._check_usable()
            return self._writer.prepare_reserve(self._path)

    def end_sync(self, batch: SyncBatch) -> None:
        """Count the batch as durable. Must follow a `run_sync` that returned."""
        if batch is not self._batch:
            return
        self._batch = None
        self._durable = batch.promise
        self._recent.evict(self._durable)

    def sync(self) -> None:
        """Make everything added so far durable, in this thread.

        Raises:
            OSError: as `run_sync`.
        """
        while (batch := self._batch or self.begin_sync()) is not None:
            self.run_sync(batch)
            self.end_sync(batch)

    # ------------------------------------------------------------------ whole segments

    def _leading(self, floor: int) -> list[Segment]:
        """Return the leading segments whose entries are all below `floor`; never the tail."""
        return self._index.segments[: self._index.droppable(floor)]

    def _let_go(self, leading: Sequence[Segment]) -> None:
        """Forget leading segments: they are no longer part of the log."""
        assert self._index.segments[: len(leading)] == list(leading)
        del self._index.segments[: len(leading)]
        self._terms.drop_before(self.first)

    def _margin_floor(self, index: int) -> int:
        """Return the first entry to keep before `index` for members that lag: bounded by entries and by bytes."""
        floor, kept = index - self._options.margin_entries, 0
        for segment in reversed(self._index.segments):
            if segment.base <= index:
                kept += segment.length
            if kept > self._options.margin_bytes:
                return max(floor, min(segment.next_index, index))
        return floor

    def _segments_up_to(self, index: int) -> list[tuple[Segment, int]]:
        """Return the segments that hold the log up to a durable entry, and how many bytes of each belong to it."""
        last = self._index.locate(index)
        end = self._reader.record_end(last, index)
        before = self._index.segments[: self._index.segments.index(last)]
        return [*((segment, segment.length) for segment in before), (last, end)]
