"""The cold tier at work: which segments leave the log, which files go, and which are written anew.

What goes is decided together with the checkpoint that says so; files are rewritten only by what the state needed as of
the newest checkpoint or before, so that everything the newest checkpoint refers to is on disk at any moment. File work
is handed out as pieces for a thread, one at a time; `done` runs on the loop after `run`.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sybline import limits
from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.cold_file import (
    SIDECAR_SUFFIX,
    ColdFile,
    ColdName,
    Needs,
    verify_records,
)
from sybline.replication.cold_tier import ColdTier, Needed, needed_ranges
from sybline.replication.files import Files
from sybline.replication.rewrite import Rewrite, Thin, write_sidecar_if_room
from sybline.replication.segment import Segment
from sybline.state_machine.columns import KEYS, NUMBERS

REWRITE_SHARE: Final = 0.5  # a file is written anew when less of it is needed
SMALL_SHARE: Final = 0.25  # of a segment: smaller files are joined with their neighbours
JOIN_FILES: Final = 8  # neighbours that are joined although none of them is mostly dead
RECORD_COST_BYTES: Final = 100  # about what a record takes besides its bodies
INDEX_SPAN_MAX: Final = 1 << 32  # of the entries of one file: the sidecar has four bytes for each

HasLive = Callable[[int, int], bool]  # whether a body of the entries [first, end) is needed


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of file work: `run` in a thread, then `done` on the loop."""

    run: Callable[[], None]
    done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class TierPlan:
    """What a checkpoint will change once it counts."""

    turning: tuple[Segment, ...]  # leave the log
    becoming: tuple[ColdFile, ...]  # those of them that the state needs
    dead: tuple[ColdFile, ...]  # cold files that it does not need
    needed: Needed


@dataclass(slots=True)
class ScrubPlace:
    """How far the cold files have been read again."""

    file: ColdFile | None = None
    offset: int = 0
    left: list[ColdFile] = field(default_factory=list)  # of this round, the next one last


class ColdStore:
    """See the module."""

    def __init__(
        self,
        files: Files,
        path: Path,
        owner: CheckpointOwner,
        cold: tuple[ColdFile, ...],
        *,
        segment_bytes: int,
        compress: bool,
        is_pinned: Callable[[str], bool],
        forget: Callable[[Path], None],
    ) -> None:
        """`is_pinned`: whether an open image needs a file. `forget`: the file goes, close it."""
        self.tier = ColdTier(file for file in cold if file.offsets)
        self._files = files
        self._path = path
        self._owner = owner
        self._segment_bytes = segment_bytes
        self._compress = compress
        self._is_pinned = is_pinned
        self._forget = forget
        self._doomed = [file.path for file in cold if not file.offsets]
        self._next_number = 1 + max((file.name.number for file in cold), default=0)
        self._is_full = False  # the last rewrite or sidecar found no space; tried again after the next checkpoint
        self._scrub = ScrubPlace()
        self.rewrites = 0  # files written anew so far

    # ------------------------------------------------------------------ with a checkpoint

    def plan(self, turning: list[Segment], first_of_log: int, has_live: HasLive) -> TierPlan:
        """Decide what the checkpoint of this moment needs; `turning` are the segments that leave the log."""
        becoming = tuple(
            ColdFile.of_segment(segment)
            for segment in turning
            if segment.offsets and has_live(segment.base, segment.next_index)
        )
        dead = tuple(file for file in self.tier if file.needs is not None and file.needs.is_dead)
        kept = [file.name for file in self.tier if file not in dead]
        kept += [file.name for file in becoming]
        return TierPlan(tuple(turning), becoming, dead, needed_ranges(kept, first_of_log))

    def carry_out(self, plan: TierPlan) -> None:
        """Follow the plan of a checkpoint that is durable."""
        kept = {file.path for file in plan.becoming}
        for segment in plan.turning:
            if segment.path not in kept:
                self._doom(segment.path)
        for file in plan.becoming:
            self.tier.add(file)
        self.tier.remove(plan.dead)
        for file in plan.dead:
            self._doom(file.path)
        self._is_full = False

    def _doom(self, path: Path) -> None:
        self._forget(path)
        self._doomed.append(path)

    # ------------------------------------------------------------------ work for a thread

    def next_work(self, checkpoint_index: int, thin: Thin) -> Work | None:
        """Return the next piece of work; None: there is nothing to do now.

        `checkpoint_index`: of the newest checkpoint. `thin`: see `codec.thin`.
        """
        return self._removal() or self._sidecar() or self._rewrite(checkpoint_index, thin)

    def _removal(self) -> Work | None:
        paths = [path for path in self._doomed if not self._is_pinned(path.name)]
        if not paths:
            return None
        self._doomed = [path for path in self._doomed if self._is_pinned(path.name)]
        return Work(lambda: self._remove(paths), _nothing)

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            for each in (path, path.with_name(path.name + SIDECAR_SUFFIX)):
                if self._files.exists(each):
                    self._files.remove(each)

    def _sidecar(self) -> Work | None:
        missing = next((file for file in self.tier if not file.has_sidecar), None)
        if missing is None or self._is_full:
            return None

        def done() -> None:
            self._is_full = not missing.has_sidecar

        return Work(lambda: write_sidecar_if_room(self._files, self._owner, missing), done)

    def _rewrite(self, checkpoint_index: int, thin: Thin) -> Work | None:
        if not self.has_rewrites(checkpoint_index):
            return None
        group = next(self._groups(checkpoint_index))
        name = ColdName(group[0].name.first, group[-1].name.last, self._next_number)
        self._next_number += 1
        rewrite = Rewrite(name, self._files.random32(), group, thin, self._compress)
        return Work(
            lambda: rewrite.run(self._files, self._path, self._owner),
            lambda: self._rewritten(rewrite),
        )

    def has_rewrites(self, checkpoint_index: int) -> bool:
        """Return whether files are still to be rewritten by what is known of their needs."""
        return not self._is_full and next(self._groups(checkpoint_index), None) is not None

    def _groups(self, checkpoint_index: int) -> Iterator[list[ColdFile]]:
        """Yield neighbours that are worth one rewrite together."""
        group: list[ColdFile] = []
        for file in self.tier:
            if group and not (self._may_move(file, checkpoint_index) and self._fits(group, file)):
                if self._is_worth(group):
                    yield group
                group = []
            if self._may_move(file, checkpoint_index):
                group.append(file)
        if self._is_worth(group):
            yield group

    def _may_move(self, file: ColdFile, checkpoint_index: int) -> bool:
        needs = file.needs
        return (
            needs is not None
            and needs.as_of <= checkpoint_index
            and not needs.is_counted_only
            and not self._is_pinned(file.path.name)
        )

    def _fits(self, group: list[ColdFile], file: ColdFile) -> bool:
        together = sum(needs.record_bytes for each in (*group, file) if (needs := each.needs))
        span = file.next_index - group[0].base
        return together <= self._segment_bytes and span < INDEX_SPAN_MAX

    def _is_worth(self, group: list[ColdFile]) -> bool:
        """Return whether a rewrite gains something; what is all dead goes with the next checkpoint."""
        if all(file.needs is None or file.needs.is_dead for file in group):
            return False
        return len(group) >= JOIN_FILES or any(_is_mostly_dead(file) for file in group)

    def is_movable(self, file: ColdFile, record_bytes: int) -> bool:
        """Return whether the runs of a file are worth keeping, when so much of it is needed: it may be rewritten."""
        is_small = file.allocated <= self._segment_bytes * SMALL_SHARE
        return is_small or record_bytes < file.weight * REWRITE_SHARE

    def _rewritten(self, rewrite: Rewrite) -> None:
        result = rewrite.result
        if result is None:
            self._is_full = True
            return
        self.rewrites += 1
        result.needs = _joined(rewrite.sources)
        self.tier.replace(rewrite.sources, result)
        for source in rewrite.sources:
            self._doom(source.path)

    # ------------------------------------------------------------------ what is known

    def rows(self) -> list[tuple[str, int]]:
        """Return the names and sizes of all files, for an image."""
        rows: list[tuple[str, int]] = []
        for file in self.tier:
            rows.append((file.path.name, file.length))
            if file.has_sidecar:
                rows.append((file.sidecar_path.name, file.sidecar_bytes))
        return rows

    def dead_bytes(self, checkpoint_index: int) -> int:
        """Return the bytes known to be dead that only a newer checkpoint lets go; 0 on a full disk."""
        found = 0
        for file in self.tier:
            needs = file.needs
            if needs is not None and needs.as_of > checkpoint_index and _is_mostly_dead(file):
                found += file.allocated - needs.record_bytes
        return 0 if self._is_full else found

    # ------------------------------------------------------------------ reading again

    def next_scrub(self) -> Work | None:
        """Return the next piece of reading all files again; None: this round is over.

        Damage comes out of `run` as CorruptData.
        """
        place = self._scrub
        while place.file is None or place.file not in self.tier.files:
            if not place.left:
                place.file = None
                return None
            place.file = place.left.pop()
            place.offset = place.file.first_record
        file, start = place.file, place.offset
        end = file.record_after(start + limits.SCRUB_STEP_BYTES)
        place.offset = end
        if end == file.length:
            place.file = None
        return Work(lambda: verify_records(self._files, file, start, end), _nothing)

    def begin_scrub(self) -> None:
        """Begin a round over the files that are here now."""
        self._scrub = ScrubPlace(left=list(reversed(self.tier.files)))


def _is_mostly_dead(file: ColdFile) -> bool:
    return file.needs is not None and file.needs.record_bytes < file.weight * REWRITE_SHARE


def _joined(sources: list[ColdFile]) -> Needs:
    found = [file.needs for file in sources if file.needs is not None]
    positions, counts = array(KEYS), array(NUMBERS)
    for needs in found:
        positions += needs.positions
        counts += needs.counts
    as_of = max(needs.as_of for needs in found)
    return Needs(as_of, positions, counts, sum(needs.record_bytes for needs in found))


def _nothing() -> None: ...
