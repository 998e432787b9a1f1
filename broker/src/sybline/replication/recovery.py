"""Reading a generation at start, or a received one before it is switched to: all of it is verified, nothing is changed.

The only thing ever forgiven is the end of the newest segment, behind everything a later record knows to be durable:
that is a write that was under way when the member stopped. All else that is bad, missing or foreign is `CorruptData`.
"""

import contextlib
from array import array
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sybline.replication.checkpoint import NO_CHECKPOINT, CheckpointFacts, CheckpointOwner
from sybline.replication.checkpoint_store import is_checkpoint_file, newest_checkpoint
from sybline.replication.cold_file import (
    SIDECAR_SUFFIX,
    ColdFile,
    ColdName,
    load_cold_header,
    parse_cold_name,
    parse_sidecar_name,
    scan_rewritten,
)
from sybline.replication.cold_tier import choose_cold, cut_replaced, open_cold
from sybline.replication.files import File, Files
from sybline.replication.log_index import LogIndex, TermRuns
from sybline.replication.records import (
    BATCH,
    CONFIGURATION,
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


@dataclass(frozen=True, slots=True)
class GenerationNames:
    """What is in the directory of a generation, by kind."""

    segments: list[int]  # sequence numbers, rising
    checkpoints: list[str]  # root and page files
    cold: list[ColdName]  # rewritten files
    sidecars: list[ColdName]  # the files they belong to
    leftovers: list[str]  # of work that was never finished


@dataclass(frozen=True, slots=True)
class Recovered:
    """A verified log and checkpoint."""

    index: LogIndex
    terms: TermRuns
    tail_durable: int  # length of the newest segment that had been synced for certain
    checkpoint: CheckpointFacts = NO_CHECKPOINT
    configurations: tuple[int, ...] = ()  # indexes of the CONFIGURATION entries in the log
    cold: tuple[ColdFile, ...] = ()
    stale: tuple[str, ...] = ()  # names of log files and sidecars that nothing needs


def is_kept_name(name: str) -> bool:
    """Return whether a file of this name may be in an image: a part of a checkpoint or of the log."""
    return (
        parse_segment_name(name) is not None
        or parse_cold_name(name) is not None
        or parse_sidecar_name(name) is not None
        or is_checkpoint_file(name)
    )


def list_generation(files: Files, path: Path) -> GenerationNames:
    """Sort the names in a generation.

    Raises:
        CorruptData: a name that is none of ours, or no segment at all.
    """
    segments, checkpoints, leftovers, cold, sidecars = [], [], [], [], []
    for name in files.names(path):
        if (sequence := parse_segment_name(name)) is not None:
            segments.append(sequence)
        elif is_checkpoint_file(name):
            checkpoints.append(name)
        elif (rewritten := parse_cold_name(name)) is not None:
            cold.append(rewritten)
        elif (owner := parse_sidecar_name(name)) is not None:
            sidecars.append(owner)
        elif name == RESERVE_NAME or name.endswith(".tmp"):
            leftovers.append(name)
        else:
            raise CorruptData(
                path / name, 0, "a foreign file in the log's directory", "Move it away."
            )
    if not segments:
        raise CorruptData(path, 0, "there is no log segment in the directory")
    return GenerationNames(sorted(segments), checkpoints, cold, sidecars, leftovers)


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
    checkpoint = newest_checkpoint(files, path, owner, names.checkpoints)
    log, older = _divide(path, names, checkpoint)
    if log[-1] < last_segment:
        raise CorruptData(path, 0, f"segment {last_segment} is missing, the last one is {log[-1]}")
    replay = _Replay(files, path, owner, complete)
    for sequence in log:
        replay.load_segment(sequence)
    recovered = replace(replay.finish(), checkpoint=checkpoint)
    _check_together(path, recovered)
    chosen = choose_cold(path, older, checkpoint.needed)
    rebuild = partial(_rebuild, files, path, owner, complete)
    cold = [open_cold(files, path, owner, name, rebuild) for name in chosen]
    cut_replaced(cold, recovered.index.first)
    stale = [str(name) for name in older if name not in chosen]
    stale += [f"{name}{SIDECAR_SUFFIX}" for name in names.sidecars if name not in chosen]
    return replace(recovered, cold=tuple(cold), stale=tuple(stale))


def _divide(
    path: Path, names: GenerationNames, checkpoint: CheckpointFacts
) -> tuple[list[int], list[ColdName]]:
    """Return the segments of the log, and the files that may be cold, as the newest checkpoint divides them."""
    if not checkpoint.index:
        if names.cold:
            raise CorruptData(
                path / str(names.cold[0]), 0, "the checkpoint that needs it is missing"
            )
        return names.segments, []
    first = checkpoint.needed[-1][0]
    log = [sequence for sequence in names.segments if sequence >= first]
    if not log or log[0] != first:
        raise CorruptData(path, 0, f"segment {first} is missing, the log begins with it")
    older = [ColdName(number, number) for number in names.segments if number < first]
    return log, older + names.cold


def verify_alone(files: Files, path: Path, owner: CheckpointOwner, name: ColdName) -> None:
    """Read every record of one file, whatever the others are like.

    Raises:
        CorruptData: one is damaged.
    """
    if not name.number:
        _Replay(files, path, owner, complete=False).load_segment(name.first)
        return
    place = path / str(name)
    with contextlib.closing(files.open(place)) as file:
        scan_rewritten(file, place, name, load_cold_header(file, place, owner, name))


def _rebuild(
    files: Files, path: Path, owner: CheckpointOwner, complete: bool, sequence: int
) -> ColdFile:
    """Verify a cold segment as it was written and find its records."""
    replay = _Replay(files, path, owner, complete)
    segment = replay.load_segment(sequence)
    if complete:
        replay.finish()
    following = path / f"log-{sequence + 1:010d}"
    if files.exists(following):
        with contextlib.closing(files.open(following)) as file:
            after = load_header(file, following, cluster=owner.cluster, group=owner.group)
        if after.length_before != segment.length:
            raise CorruptData(
                segment.path, min(segment.length, after.length_before),
                f"a bad record, or bytes after the end: {segment.length} sound bytes, the next segment "
                f"knows of {after.length_before}",
            )  # fmt: skip
    return ColdFile.of_segment(segment)


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
        self._configurations: list[int] = []
        self._tail_end = 0
        self._promise = HEADER_BYTES  # the longest in the newest segment

    def load_segment(self, sequence: int) -> Segment:
        """Add the segment after the ones loaded so far, and return it."""
        path = self._path / f"log-{sequence:010d}"
        with contextlib.closing(self._files.open(path)) as file:
            header = load_header(file, path, cluster=self._owner.cluster, group=self._owner.group)
            self._check_order(path, header, sequence)
            segment = Segment(path, header, file.size(), header.first, array("I"))
            self._index.segments.append(segment)
            self._scan(file, segment)
        return segment

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

        def visit(kind: int, entry_kind: int, index: int, term: int, offset: int) -> None:
            if kind == ENTRY:
                self._add(segment, index, term, offset)
                if entry_kind == CONFIGURATION:
                    self._configurations.append(index)
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
        while self._configurations and self._configurations[-1] >= index:
            self._configurations.pop()
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
        return Recovered(
            self._index, self._terms, self._promise, configurations=tuple(self._configurations)
        )
