"""Reading a generation at start, or a received one before it is switched to: all of it is verified, nothing is changed.

The only thing ever forgiven is the end of the newest segment, behind everything a later record knows to be durable:
that is a write that was under way when the member stopped. All else that is bad, missing or foreign is `CorruptData`.
"""

import contextlib
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

from sybline.replication.checkpoint import (
    CheckpointFacts,
    CheckpointOwner,
    check_checkpoint,
    parse_checkpoint_name,
)
from sybline.replication.files import File, Files
from sybline.replication.log_index import LogIndex, TermRuns
from sybline.replication.records import (
    BATCH,
    ENTRY,
    TRUNC,
    find_later_promise,
    scan_records,
)
from sybline.replication.segment import (
    HEADER_BYTES,
    Segment,
    SegmentHeader,
    load_header,
    parse_segment_name,
)
from sybline.replication.storage_errors import CorruptData

RESERVE_NAME = "reserve"
NO_CHECKPOINT = CheckpointFacts(0, 0, 0)


@dataclass(frozen=True, slots=True)
class GenerationNames:
    """What is in the directory of a generation, by kind."""

    segments: list[int]  # sequence numbers, rising
    checkpoints: list[int]  # indexes, rising
    leftovers: list[str]  # of work that was never finished


@dataclass(frozen=True, slots=True)
class Recovered:
    """A verified log and checkpoint."""

    index: LogIndex
    terms: TermRuns
    tail_durable: int  # length of the newest segment that had been synced for certain
    checkpoint: CheckpointFacts = NO_CHECKPOINT


def list_generation(files: Files, path: Path) -> GenerationNames:
    """Sort the names in a generation.

    Raises:
        CorruptData: a name that is none of ours, or no segment at all.
    """
    segments, checkpoints, leftovers = [], [], []
    for name in files.names(path):
        if (sequence := parse_segment_name(name)) is not None:
            segments.append(sequence)
        elif (index := parse_checkpoint_name(name)) is not None:
            checkpoints.append(index)
        elif name == RESERVE_NAME or name.endswith(".tmp"):
            leftovers.append(name)
        else:
            raise CorruptData(
                path / name, 0, "a foreign file in the log's directory", "Move it away."
            )
    if not segments:
        raise CorruptData(path, 0, "there is no log segment in the directory")
    return GenerationNames(sorted(segments), sorted(checkpoints), leftovers)


def recover_generation(
    files: Files,
    path: Path,
    owner: CheckpointOwner,
    *,
    last_segment: int,
    complete: bool = False,
) -> Recovered:
    """Verify a generation and return where everything is.

    `last_segment` is the highest sequence number known to exist. `complete`: a received copy, in which nothing is
    forgiven and the last segment has no reserved space.

    Raises:
        CorruptData: see the module.
    """
    names = list_generation(files, path)
    replay = _Replay(files, path, owner, complete)
    if names.segments[-1] < last_segment:
        raise CorruptData(
            path, 0, f"segment {last_segment} is missing, the last one is {names.segments[-1]}"
        )
    for sequence in names.segments:
        replay.load_segment(sequence)
    recovered = replay.finish()
    if names.checkpoints:
        newest = names.checkpoints[-1]
        checkpoint = _check_newest(files, path, owner, newest)
        recovered = replace(recovered, checkpoint=checkpoint)
    _check_together(path, recovered)
    return recovered


def _check_newest(files: Files, path: Path, owner: CheckpointOwner, index: int) -> CheckpointFacts:
    from_name = path / f"checkpoint-{index:020d}"
    facts = check_checkpoint(files, from_name, owner)
    if facts.index != index:
        raise CorruptData(from_name, 0, f"the checkpoint is of index {facts.index}")
    return facts


def _check_together(path: Path, recovered: Recovered) -> None:
    """Compare log and checkpoint: together they must lead from the beginning to the last entry."""
    checkpoint, first = recovered.checkpoint, recovered.index.first
    last = recovered.terms.last
    if checkpoint.index < first and (checkpoint.index, first) != (0, 1):
        raise CorruptData(
            path, 0,
            f"the log begins at index {first}, but the checkpoint "
            f"{'is of index ' + str(checkpoint.index) if checkpoint.index else 'is missing'}",
        )  # fmt: skip
    if checkpoint.index > last:
        raise CorruptData(
            path, 0, f"the log ends at index {last}, before the checkpoint at {checkpoint.index}"
        )
    if recovered.terms.term(checkpoint.index) != checkpoint.term:
        raise CorruptData(
            path, 0,
            f"at index {checkpoint.index} the log has term "
            f"{recovered.terms.term(checkpoint.index)}, the checkpoint {checkpoint.term}",
        )  # fmt: skip


class _Replay:
    """Walks the segments in order and follows what the log was."""

    def __init__(self, files: Files, path: Path, owner: CheckpointOwner, complete: bool) -> None:
        self._files = files
        self._path = path
        self._owner = owner
        self._complete = complete
        self._index = LogIndex([])
        self._terms = TermRuns(0, 0)
        self._term = 0  # of the last entry
        self._tail_end = 0
        self._promise = HEADER_BYTES  # the longest in the newest segment

    def load_segment(self, sequence: int) -> None:
        """Add the segment after the ones loaded so far."""
        path = self._path / f"log-{sequence:010d}"
        with contextlib.closing(self._files.open(path)) as file:
            header = load_header(file, path, cluster=self._owner.cluster, group=self._owner.group)
            self._check_order(path, header, sequence)
            segment = Segment(path, header, file.size(), header.first, array("I"))
            self._index.segments.append(segment)
            self._scan(file, segment)

    def _check_order(self, path: Path, header: SegmentHeader, sequence: int) -> None:
        if header.sequence != sequence:
            raise CorruptData(path, 0, f"the file holds segment {header.sequence}")
        if not self._index.segments:
            self._terms = TermRuns(header.first - 1, header.term_before)
            self._term = header.term_before
            return
        before = self._index.tail
        if sequence != before.header.sequence + 1:
            raise CorruptData(path, 0, f"segment {before.header.sequence + 1} is missing")
        if before.length != header.length_before:
            raise CorruptData(
                before.path, min(before.length, header.length_before),
                f"a bad record, or bytes after the end: {before.length} sound bytes, the next segment "
                f"knows of {header.length_before}",
            )  # fmt: skip
        if (header.first, header.term_before) != (self._index.next_index, self._term):
            raise CorruptData(
                path, 0,
                f"the segment begins at index {header.first} after term {header.term_before}, the "
                f"log before it ends before index {self._index.next_index} with term {self._term}",
            )  # fmt: skip

    def _scan(self, file: File, segment: Segment) -> None:
        size = segment.length
        self._promise = HEADER_BYTES

        def visit(kind: int, _entry_kind: int, index: int, term: int, offset: int) -> None:
            if kind == ENTRY:
                self._add(segment, index, term, offset)
            elif kind == TRUNC:
                self._truncate(segment, index, term, offset)
            elif kind == BATCH and index <= offset:
                self._promise = max(self._promise, index)
            else:
                raise CorruptData(segment.path, offset, "a record that makes no sense")

        seed = segment.header.seed
        end = scan_records(file, seed=seed, start=HEADER_BYTES, end=size, visit=visit)
        segment.length = end
        promise = find_later_promise(file, seed=seed, position=end, end=size)
        if promise is not None:
            raise CorruptData(
                segment.path, end, f"a bad record, although {promise} bytes were durable"
            )
        self._tail_end = size

    def _add(self, segment: Segment, index: int, term: int, offset: int) -> None:
        if index != segment.next_index or term < self._term:
            raise CorruptData(
                segment.path, offset,
                f"entry {index} of term {term} where entry {segment.next_index} of term "
                f"{self._term} or later belongs",
            )  # fmt: skip
        segment.offsets.append(offset)
        self._terms.append(term)
        self._term = term

    def _truncate(self, segment: Segment, index: int, term: int, offset: int) -> None:
        if not 1 <= index < segment.next_index:
            raise CorruptData(segment.path, offset, f"cut at index {index}, which is not there")
        if index <= self._index.first:
            self._terms = TermRuns(index - 1, term)
        elif self._terms.term(index - 1) != term:
            raise CorruptData(segment.path, offset, f"cut after term {term}, which is not there")
        else:
            self._terms.truncate_from(index)
        self._index.truncate_from(index)
        self._term = term

    def finish(self) -> Recovered:
        """Check the end of the newest segment and return the log."""
        tail = self._index.tail
        if self._complete and tail.length != self._tail_end:
            raise CorruptData(tail.path, tail.length, "a bad record")
        if not self._complete and self._tail_end < tail.header.allocated:
            raise CorruptData(
                tail.path, self._tail_end,
                f"the file is cut off, it had been made {tail.header.allocated} bytes long",
            )  # fmt: skip
        return Recovered(self._index, self._terms, self._promise)
