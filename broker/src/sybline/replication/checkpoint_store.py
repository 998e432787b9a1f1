"""The checkpoints of one generation: the newest one with all its files, and the one being written.

A checkpoint writes the pages that are new and a root; pages that did not change stay where they are. Page files that
are mostly dead are written anew as part of it, so that their bytes stay below twice the live ones and a constant.
The one before stays until the new one is durable and read back. `run` may be called in another thread, the rest not.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sybline import limits
from sybline.replication.checkpoint import (
    NO_CHECKPOINT,
    CheckpointFacts,
    CheckpointOwner,
    checkpoint_name,
    load_root,
    parse_checkpoint_name,
    write_root,
)
from sybline.replication.files import NO_SPACE, Files
from sybline.replication.page_files import (
    PageFile,
    PageFileFacts,
    PageFileWriter,
    page_file_name,
    parse_page_file_name,
)
from sybline.replication.page_usage import PageFileUse, files_to_rewrite
from sybline.replication.state_dump import Page, SavedState, StateDump
from sybline.replication.storage_errors import CorruptData

LOOSE_SHARE: Final = 8  # dead bytes that are left alone, whatever is live: this part of a page file


def is_checkpoint_file(name: str) -> bool:
    """Return whether a file of this name belongs to a checkpoint, the newest or another one."""
    return parse_checkpoint_name(name) is not None or parse_page_file_name(name) is not None


def newest_checkpoint(
    files: Files, path: Path, owner: CheckpointOwner, names: Iterable[str]
) -> CheckpointFacts:
    """Return the newest checkpoint among the names in a directory, with all its files verified.

    Raises:
        CorruptData: it is damaged or incomplete.
    """
    names = list(names)
    found = [index for name in names if (index := parse_checkpoint_name(name)) is not None]
    if not found:
        return NO_CHECKPOINT
    root = path / checkpoint_name(max(found))
    facts, _ = load_root(files, root, owner)
    if facts.index != max(found):
        raise CorruptData(root, 0, f"the checkpoint is of index {facts.index}")
    for named in facts.files:
        file_path = path / page_file_name(named.number)
        with contextlib.closing(PageFile(files, file_path, owner, named)) as file:
            file.verify()
    return facts


def stale_files(facts: CheckpointFacts, names: Iterable[str]) -> list[str]:
    """Return the names of checkpoint files that this checkpoint, the newest one, does not need."""
    needed = {name for name, _ in facts.names()}
    return [name for name in names if is_checkpoint_file(name) and name not in needed]


def load_saved(files: Files, path: Path, owner: CheckpointOwner, index: int) -> SavedState:
    """Return the state in the checkpoint of an index; its pages are read, and verified, when asked for.

    Raises:
        CorruptData: damaged.
    """
    root_path = path / checkpoint_name(index)
    facts, root = load_root(files, root_path, owner)
    opened = _open_all(files, path, owner, facts)
    file_of = {page: file for file in opened for page, _ in file.sizes()}

    def page(number: int) -> bytes:
        if number not in file_of:
            raise CorruptData(root_path, 0, f"page {number} is in no page file")
        return file_of[number].read(number)

    def close() -> None:
        for file in opened:
            file.close()

    return SavedState(root, page, close)


def _open_all(
    files: Files, path: Path, owner: CheckpointOwner, facts: CheckpointFacts
) -> list[PageFile]:
    with contextlib.ExitStack() as undo:
        opened = []
        for file in facts.files:
            opened.append(PageFile(files, path / page_file_name(file.number), owner, file))
            undo.callback(opened[-1].close)
        undo.pop_all()
    return opened


@dataclass(slots=True)
class CheckpointJob:
    """One checkpoint under way: `collect` on the loop and `run` in the thread, in turns, until it is done."""

    index: int
    term: int
    configuration: bytes
    needed: tuple[tuple[int, int], ...]
    dump: StateDump
    slice_bytes: int
    batch: list[Page] = field(default_factory=list)  # collected and not written
    written: list[PageFileFacts] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of page files, in this job
    writer: PageFileWriter | None = None
    facts: CheckpointFacts | None = None  # set when it is durable under its name
    is_whole: bool = False  # `batch` holds the last pages
    given_up: bool = False  # the disk is full, or another generation took over

    @property
    def is_done(self) -> bool:
        """Return whether nothing is left to do but to end it."""
        return self.facts is not None or self.given_up

    def collect(self) -> None:
        """Take the next slice of the state, for the next `run`."""
        self.batch = self.dump.collect(self.slice_bytes)
        self.is_whole = self.dump.is_whole


class CheckpointStore:
    """See the module."""

    def __init__(
        self,
        files: Files,
        path: Path,
        owner: CheckpointOwner,
        newest: CheckpointFacts,
        *,
        file_bytes: int,
    ) -> None:
        """`path` is the directory of the generation, `newest` what a start found in it.

        `file_bytes`: a page file that has so many gets no more.
        """
        self._files = files
        self._path = path
        self._owner = owner
        self._file_bytes = file_bytes
        self.newest = newest
        self.next_page = newest.next_page  # from which on a dump numbers its new pages
        self._next_file = 1 + max((file.number for file in newest.files), default=0)
        self._sizes: dict[int, dict[int, int]] = {}  # page file -> page -> bytes, once it is read
        self._pins: set[object] = set()
        self._stale: list[str] = []  # removed once nothing is pinned

    def files_of_newest(self) -> list[tuple[str, int]]:
        """Return the names of the newest checkpoint's files with their sizes, the root first."""
        return self.newest.names()

    def load(self) -> SavedState | None:
        """Return the newest state; None: there is none.

        Raises:
            CorruptData: damaged since it was written.
        """
        if not self.newest.index:
            return None
        return load_saved(self._files, self._path, self._owner, self.newest.index)

    # ------------------------------------------------------------------ writing

    def begin(
        self,
        index: int,
        term: int,
        dump: StateDump,
        *,
        configuration: bytes,
        needed: tuple[tuple[int, int], ...],
    ) -> CheckpointJob:
        """Prepare to save a state; its first slice is collected at once."""
        slice_bytes = min(limits.CHECKPOINT_SLICE_BYTES, self._file_bytes)
        job = CheckpointJob(index, term, configuration, needed, dump, slice_bytes)
        job.collect()
        return job

    def run(self, job: CheckpointJob) -> None:
        """Write what was collected; with the last of it, finish the checkpoint. Any thread, one at a time.

        On a full disk nothing is changed, and the job is given up.

        Raises:
            OSError, CorruptData: the member must stop.
        """
        if job.is_done:
            return
        try:
            self._write(job, job.batch)
            job.batch = []
            if job.is_whole:
                self._finish(job)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._take_back(job)

    def _write(self, job: CheckpointJob, pages: list[Page]) -> None:
        if not pages:
            return
        if job.writer is None:
            job.writer = PageFileWriter(self._files, self._path, self._owner, self._next_file)
            self._next_file += 1
        job.writer.add(pages)
        if job.writer.total_bytes >= self._file_bytes:
            self._finish_file(job)

    def _finish_file(self, job: CheckpointJob) -> None:
        writer, job.writer = job.writer, None
        if writer is not None:
            job.names.append(page_file_name(writer.number))
            facts, sizes = writer.finish()
            job.written.append(facts)
            self._sizes[writer.number] = sizes

    def _finish(self, job: CheckpointJob) -> None:
        kept = self._rewrite_emptiest(job)
        self._finish_file(job)
        if job.written:
            # Names may reach the disk in any order: the root's must not be there before those it needs.
            self._files.sync_directory(self._path)
        next_page = max(self.next_page, job.dump.next_page)
        facts = CheckpointFacts(
            job.index, job.term, 0, job.configuration, job.needed, (*kept, *job.written), next_page
        )
        path = self._path / checkpoint_name(job.index)
        job.facts = write_root(self._files, path, self._owner, facts, job.dump.root())

    def _rewrite_emptiest(self, job: CheckpointJob) -> list[PageFileFacts]:
        """Copy the live pages of files that are not worth keeping; return the files of before that stay."""
        live = set(job.dump.pages())
        before = {file.number: file for file in self.newest.files}
        uses = [
            PageFileUse(
                file.number,
                file.total_bytes,
                sum(size for page, size in self._sizes_of(file).items() if page in live),
            )
            for file in before.values()
        ]
        new_bytes = sum(file.total_bytes for file in job.written)
        new_bytes += job.writer.total_bytes if job.writer is not None else 0
        chosen = files_to_rewrite(
            uses,
            new_bytes=new_bytes,
            usual_bytes=self._file_bytes,
            loose_bytes=self._file_bytes // LOOSE_SHARE,
        )
        for number in chosen:
            self._copy(job, before[number], live)
        return [before[use.number] for use in uses if use.live_bytes and use.number not in chosen]

    def _sizes_of(self, facts: PageFileFacts) -> dict[int, int]:
        if facts.number not in self._sizes:
            with contextlib.closing(self._open(facts)) as file:
                self._sizes[facts.number] = dict(file.sizes())
        return self._sizes[facts.number]

    def _copy(self, job: CheckpointJob, facts: PageFileFacts, live: set[int]) -> None:
        with contextlib.closing(self._open(facts)) as file:
            for number, _ in file.sizes():
                if number in live:
                    self._write(job, [Page(number, file.read(number))])

    def _open(self, facts: PageFileFacts) -> PageFile:
        return PageFile(self._files, self._path / page_file_name(facts.number), self._owner, facts)

    def _take_back(self, job: CheckpointJob) -> None:
        job.given_up = True
        if job.writer is not None:
            job.names.append(page_file_name(job.writer.number))
            job.writer.close()
        names = [*job.names, checkpoint_name(job.index)]
        for name in [*names, *(f"{name}.tmp" for name in names)]:
            if self._files.exists(self._path / name):
                self._files.remove(self._path / name)

    def end(self, job: CheckpointJob) -> bool:
        """Make the checkpoint the newest and remove the one before; return whether it was written."""
        job.dump.end(saved=job.facts is not None)
        self.next_page = max(self.next_page, job.dump.next_page)
        if job.facts is None:
            return False
        before, self.newest = self.newest, job.facts
        needed = {name for name, _ in self.newest.names()}
        self._stale += [name for name, _ in before.names() if name not in needed]
        known = {file.number for file in self.newest.files}
        self._sizes = {number: sizes for number, sizes in self._sizes.items() if number in known}
        self._sweep()
        return True

    def cancel(self, job: CheckpointJob) -> None:
        """Give a job up because its directory goes; nothing of it is removed. Not while it runs."""
        job.given_up = True
        job.dump.end(saved=False)
        if job.writer is not None:
            job.writer.close()

    # ------------------------------------------------------------------ pins

    def pin(self) -> Callable[[], None]:
        """Keep all files that are there now until the returned function is called."""
        pin = object()
        self._pins.add(pin)

        def unpin() -> None:
            self._pins.discard(pin)
            self._sweep()

        return unpin

    def _sweep(self) -> None:
        if self._pins:
            return
        for name in self._stale:
            self._files.remove(self._path / name)
        self._stale = []
