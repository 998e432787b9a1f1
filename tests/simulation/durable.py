"""What a power loss at this moment would leave of a member, at worst: asked from the platter, not from the journal.

Reads the log's records and the vote's slots as recovery would, but remembers what it has read, so that it can be asked
at every send and every commit.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from sybline.replication.checkpoint import parse_checkpoint_name
from sybline.replication.data_directory import generation_name
from sybline.replication.identity import Identity
from sybline.replication.records import ENTRY, TRUNC, scan_records
from sybline.replication.segment import HEADER_BYTES, SegmentHeader, load_header, parse_segment_name
from sybline.replication.vote import Vote, _load_slot
from tests.simulation.disk import Platter, SimulatedDisk


@dataclass
class _Segment:
    """One segment as far as it was read."""

    platter: Platter
    header: SegmentHeader
    version: int = -1
    end: int = HEADER_BYTES
    records: list[tuple[int, int, int]] = field(default_factory=list)  # kind, index, term

    def read_on(self) -> None:
        """Take the records that have become durable."""
        version = self.platter.version
        if version == self.version:
            return
        self.version = version

        def visit(kind: int, _entry_kind: int, index: int, term: int, _offset: int) -> None:
            if kind in (ENTRY, TRUNC):
                self.records.append((kind, index, term))

        self.end = scan_records(
            self.platter,
            seed=self.header.seed,
            start=self.end,
            end=self.platter.size(),
            visit=visit,
        )


class DurableView:
    """The durable log, checkpoint and vote of one member."""

    def __init__(self, disk: SimulatedDisk, root: Path, identity: Identity) -> None:
        self._disk = disk
        self._group = root / f"group-{identity.group}"
        self._identity = identity
        self._seen = (-1, -1)  # versions of the disk's names and bytes
        self._vote_file: Platter | None = None
        self._vote_seen: tuple[Platter | None, int] = (None, -1)
        self._vote = Vote(0, None)
        self._checkpoint = 0
        self._segments: list[_Segment] = []
        self._replayed: list[tuple[Platter, int]] = []  # and how many records of it are in `_terms`
        self._terms: list[int] = []  # of the entries from `_first` on
        self._first = 1

    # ------------------------------------------------------------------ questions

    def vote(self) -> Vote:
        """Return term and vote."""
        self._refresh()
        file = self._vote_file
        if file is not None and self._vote_seen != (file, file.version):
            path = self._group / "VOTE"
            slots = [_load_slot(file, path, self._identity, number) for number in (0, 1)]
            self._vote = max((s for s in slots if s is not None), key=lambda slot: slot[0])[1]
            self._vote_seen = (file, file.version)
        return self._vote

    def holds(self, index: int, term: int) -> bool:
        """Return whether the entry is on the disk, in the log or within a checkpoint."""
        self._refresh()
        at = index - self._first
        if at < 0:
            return self._checkpoint >= self._first - 1
        return at < len(self._terms) and self._terms[at] == term

    def last(self) -> int:
        """Return the last index of the log."""
        self._refresh()
        return self._first + len(self._terms) - 1

    # ------------------------------------------------------------------ reading

    def _refresh(self) -> None:
        disk = self._disk
        now = (disk.names_version, disk.bytes_version)
        if now == self._seen:
            return
        if now[0] != self._seen[0]:
            self._list_files()
        self._seen = now
        for segment in self._segments:
            segment.read_on()
        self._replay()

    def _list_files(self) -> None:
        files = self._disk.durable_files(self._group)
        self._vote_file, current = files.get("VOTE"), files.get("CURRENT")
        if current is None:
            self._segments = []
            return
        generation = json.loads(current.read_at(0, current.size()))["generation"]
        path = self._group / generation_name(generation)
        known = {segment.platter: segment for segment in self._segments}
        self._segments, self._checkpoint = [], 0
        for name, platter in self._disk.durable_files(path).items():
            if (index := parse_checkpoint_name(name)) is not None:
                self._checkpoint = max(self._checkpoint, index)
            elif parse_segment_name(name) is not None:
                segment = known.get(platter) or _Segment(
                    platter, self._header(platter, path / name)
                )
                if (
                    self._segments
                    and segment.header.sequence != self._segments[-1].header.sequence + 1
                ):
                    self._segments = []  # those before are kept for their bodies, they are not the log
                self._segments.append(segment)

    def _header(self, platter: Platter, path: Path) -> SegmentHeader:
        cluster, group = self._identity.cluster_hash, self._identity.group
        return load_header(platter, path, cluster=cluster, group=group)

    def _replay(self) -> None:
        now = [(segment.platter, len(segment.records)) for segment in self._segments]
        before, self._replayed = self._replayed, now
        if not before or [f for f, _ in now[: len(before)]] != [f for f, _ in before]:
            self._first = self._segments[0].header.first if self._segments else 1
            self._terms, before = [], []
        for number, segment in enumerate(self._segments):
            done = before[number][1] if number < len(before) else 0
            for kind, index, term in segment.records[done:]:
                self._take(kind, index, term)

    def _take(self, kind: int, index: int, term: int) -> None:
        if kind == TRUNC:
            del self._terms[max(0, index - self._first) :]
            self._first = min(self._first, index)
        else:
            assert index == self._first + len(self._terms)
            self._terms.append(term)
