"""The Raft log of one member on disk, with its term and vote, its checkpoints and its images.

One thread, the loop's, owns a journal; only the `run_` methods may run in another thread, one of each kind at a
time. Durability has three steps so that a slow disk never stops the loop: `begin_sync` (loop) takes what was added,
`run_sync` (thread) writes and syncs it, `end_sync` (loop) moves `durable`. After an OSError, or CorruptData from a
read, the member must stop: nothing here is ever retried. Format: docs/internals/storage.md.
"""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from sybline.replication.checkpoint_store import CheckpointJob, CheckpointStore
from sybline.replication.cold_store import ColdStore, HasLive, TierPlan
from sybline.replication.configuration import NO_MEMBERS, Configuration
from sybline.replication.data_directory import Current, DataDirectory
from sybline.replication.files import Files, RealFiles, remove_tree
from sybline.replication.identity import Claim, Identity
from sybline.replication.image import Image, ImageHeader
from sybline.replication.install import Announced, Installation, Verified
from sybline.replication.journal_start import JournalStart, owner_of, recover_journal
from sybline.replication.records import COMMAND, CONFIGURATION, NO_OP, Entry
from sybline.replication.recovery import Recovered
from sybline.replication.segmented_log import JournalOptions, SegmentedLog, SyncBatch
from sybline.replication.state_dump import SavedState, StateDump
from sybline.replication.storage_errors import (
    BadImage,
    CorruptData,
    DirectoryInUse,
    LogRangeError,
)
from sybline.replication.vote import Vote, VoteFile

__all__ = [
    "COMMAND",
    "CONFIGURATION",
    "NO_OP",
    "BadImage",
    "CheckpointJob",
    "CorruptData",
    "DirectoryInUse",
    "Entry",
    "Image",
    "Installation",
    "Journal",
    "JournalOptions",
    "LogRangeError",
    "SyncBatch",
]


PAGE_FILES_PER_SEGMENT = 2  # so much smaller are page files than segments


class Journal(SegmentedLog):
    """The log of one member; see the module. Indexes begin at 1; the entry before the first has term 0."""

    def __init__(self, start: JournalStart, options: JournalOptions) -> None:
        """Use `Journal.open`."""
        self._directory = start.directory
        self._vote = start.vote
        self._generation = start.current.generation
        self.first_configuration = start.first  # counts while neither log nor checkpoint has one
        self.configuration_indexes = (
            start.recovered.configurations
        )  # of the log as opened, or installed
        self._options = options
        self.checkpoints = self._checkpoints_of(start.recovered)
        self._checkpoint_job: CheckpointJob | None = None
        self._plan: TierPlan | None = None  # of the checkpoint under way
        self._checkpoint_lock = threading.Lock()  # run_checkpoint holds it: a switch waits
        self._images: set[Image] = set()
        self.cold = self._cold_of(start.recovered)
        self._installation: Installation | None = None
        super().__init__(
            start.directory.files,
            owner_of(start.directory.identity),
            options,
            path=start.directory.generation(self._generation),
            recovered=start.recovered,
            tail=start.tail,
        )

    # ------------------------------------------------------------------ opening and closing

    @classmethod
    def open(
        cls,
        directory: Path | str,
        *,
        cluster_id: str,
        member: int | None,
        first: Configuration = NO_MEMBERS,
        files: Files | None = None,
        options: JournalOptions | None = None,
    ) -> "Journal":
        """Open a member's data directory, verifying all of it; an empty one is initialised.

        `member` None: whoever the directory belongs to; a new one gets a number of its own. `first` is the
        configuration that a new one begins with.

        Raises:
            CorruptData: damaged, incomplete, or another member's; it never starts empty instead.
            DirectoryInUse: another process has it open.
            OSError: the disk.
        """
        options = options or JournalOptions()
        claim = Claim(cluster_id, member, first)
        place = DataDirectory.open(
            files or RealFiles(), Path(directory), claim, options.segment_bytes
        )
        with contextlib.ExitStack() as undo:
            undo.callback(place.close)
            vote = VoteFile.open(place.files, place.vote_path, place.identity)
            undo.callback(vote.close)
            start = recover_journal(place, vote)
            undo.callback(start.tail.close)
            journal = cls(start, options)
            undo.pop_all()
        return journal

    def close(self) -> None:
        """Release everything; may be called again. Marks the log whole unless something is unwritten or has failed."""
        if self._closed:
            return
        if not self._failed:
            self.abandon_install()
        self._close_images()
        self._drop_checkpoint_job()
        self._close_log()
        self._closed = True
        self._vote.close()
        self._directory.close()

    # ------------------------------------------------------------------ term and vote

    @property
    def current_term(self) -> int:
        """Return the term this member is in."""
        return self._vote.vote.term

    @property
    def voted_for(self) -> int | None:
        """Return whom this member voted for in the current term."""
        return self._vote.vote.voted_for

    def set_vote(self, term: int, voted_for: int | None) -> None:
        """Make term and vote durable before returning.

        Raises:
            LogRangeError: the term falls, or the vote of this term changes.
            OSError: not known to be durable; the member must stop.
        """
        self._check_usable()
        now = self._vote.vote
        if term < now.term or (term == now.term and now.voted_for not in (None, voted_for)):
            raise LogRangeError(f"term {term}, vote {voted_for} after {now}")
        self._save_vote(Vote(term, voted_for, now.cluster_uid))

    @property
    def cluster_uid(self) -> int:
        """Return the cluster this member is known to be part of; 0: it has not formed yet, as far as known here."""
        return self._vote.vote.cluster_uid

    def set_cluster_uid(self, uid: int) -> None:
        """Remember durably which cluster this member has become part of: once.

        Raises:
            LogRangeError: it is part of another one.
            OSError: as `set_vote`.
        """
        self._check_usable()
        now = self._vote.vote
        if now.cluster_uid not in (0, uid):
            raise LogRangeError(f"cluster {uid:x} after cluster {now.cluster_uid:x}")
        self._save_vote(Vote(now.term, now.voted_for, uid))

    def begin_another_cluster(self, uid: int) -> None:
        """Leave the cluster this member is part of for one of this number, in a new term; for forced recovery only.

        Raises:
            OSError: as `set_vote`.
        """
        self._check_usable()
        self._save_vote(Vote(self.current_term + 1, None, uid))

    def _save_vote(self, vote: Vote) -> None:
        saved = False
        try:
            self._vote.save(vote)
            saved = True
        finally:
            self._failed = self._failed or not saved

    # ------------------------------------------------------------------ facts

    @property
    def identity(self) -> Identity:
        """Return whose log this is."""
        return self._directory.identity

    @property
    def is_blank(self) -> bool:
        """Return whether nothing was ever promised or stored here."""
        return self.current_term == 0 and self.last == 0

    @property
    def checkpoint_configuration(self) -> bytes:
        """Return the configuration as of the newest checkpoint, as it was given; empty: there is no checkpoint."""
        return self.checkpoints.newest.configuration

    @property
    def checkpoint_index(self) -> int:
        """Return the index of the newest checkpoint; 0: none yet."""
        return self.checkpoints.newest.index

    @property
    def checkpoint_term(self) -> int:
        """Return the term at the newest checkpoint."""
        return self.checkpoints.newest.term

    @property
    def checkpoint_bytes(self) -> int:
        """Return the size of the newest checkpoint's files."""
        return self.checkpoints.newest.total_bytes

    @property
    def bytes_total(self) -> int:
        """Return the bytes of log, cold files and checkpoint."""
        return self.stored_bytes + self.checkpoints.newest.total_bytes

    @property
    def stored_bytes(self) -> int:
        """Return the bytes of log and cold files."""
        return self.log_bytes + self.cold.tier.total_bytes

    def stored(self, index: int) -> Entry | None:
        """Return an entry for its bodies, from the log or the cold files, verified; None: they are not needed any more.

        An older entry may have lost the bodies that no queue needs.

        Raises:
            CorruptData: the record on disk is damaged; the member must stop.
        """
        if self.first <= index <= self._last:
            return self.entry(index)
        cold = self.cold.tier.find(index)
        return None if cold is None else self._reader.entry(cold, index)

    def free_bytes(self) -> int:
        """Return the free space of the disk."""
        return self._files.free_bytes(self._directory.root)

    # ------------------------------------------------------------------ checkpoints

    def begin_checkpoint(
        self, index: int, dump: StateDump, *, live: HasLive, configuration: bytes = b""
    ) -> CheckpointJob:
        """Prepare to save the state as of an entry; then `collect` and `run_checkpoint` in turns until it is done.

        The entry must be durable here: a leader may have committed it by the disks of others, and a checkpoint must
        never be ahead of the log that holds its bodies.

        `live`: whether the state, as of the entry, needs a body of the entries from a first one to before another.

        Raises:
            LogRangeError: not durable, not newer than the last checkpoint, or another job is under way.
        """
        self._check_usable()
        if not self.checkpoint_index < index <= self._durable or self._checkpoint_job is not None:
            raise LogRangeError(
                f"checkpoint at {index}, the last one is at {self.checkpoint_index}, durable is "
                f"{self._durable}, another one under way: {self._checkpoint_job is not None}"
            )
        leading = self._leading(self._margin_floor(index))
        first_of_log = self._index.segments[len(leading)].header.sequence
        self._plan = self.cold.plan(leading, first_of_log, live)
        self._checkpoint_job = self.checkpoints.begin(
            index, self._terms.term(index), dump,
            configuration=configuration, needed=self._plan.needed,
        )  # fmt: skip
        return self._checkpoint_job

    def run_checkpoint(self, job: CheckpointJob) -> None:
        """Write what the job has collected; with the last of it, finish the checkpoint. Any thread.

        On a full disk nothing is changed, and `end_checkpoint` returns False.

        Raises:
            OSError, CorruptData: the member must stop.
        """
        with self._checkpoint_lock:
            if job is self._checkpoint_job:
                self.checkpoints.run(job)

    def end_checkpoint(self, job: CheckpointJob) -> bool:
        """Count the checkpoint, and let go of what it says is no longer needed; return whether it was written."""
        plan = self._plan
        if job is not self._checkpoint_job or plan is None:
            return False
        self._checkpoint_job = self._plan = None
        if not self.checkpoints.end(job):
            return False
        self._let_go(plan.turning)
        self.cold.carry_out(plan)
        return True

    def load_checkpoint(self) -> SavedState | None:
        """Return the state in the newest checkpoint; None: there is none.

        Raises:
            CorruptData: damaged since it was written.
        """
        return self.checkpoints.load()

    def _checkpoints_of(self, recovered: Recovered) -> CheckpointStore:
        return CheckpointStore(
            self._directory.files,
            self._directory.generation(self._generation),
            owner_of(self._directory.identity),
            recovered.checkpoint,
            file_bytes=self._options.segment_bytes // PAGE_FILES_PER_SEGMENT,
        )

    def _cold_of(self, recovered: Recovered) -> ColdStore:
        return ColdStore(
            self._directory.files,
            self._directory.generation(self._generation),
            owner_of(self._directory.identity),
            recovered.cold,
            segment_bytes=self._options.segment_bytes,
            compress=self._options.compress_cold,
            is_pinned=lambda name: any(name in image.names for image in self._images),
            forget=lambda path: self._reader.forget(path),
        )

    def run_upkeep(self, store: ColdStore, run: Callable[[], None]) -> None:
        """Do a piece of the cold files' work, unless another generation has taken over. Any thread, one at a time.

        Raises:
            OSError, CorruptData: the member must stop.
        """
        with self._checkpoint_lock:
            if store is self.cold and not self._closed:
                run()

    def _drop_checkpoint_job(self) -> None:
        if self._checkpoint_job is not None:
            self.checkpoints.cancel(self._checkpoint_job)
            self._checkpoint_job = self._plan = None

    # ------------------------------------------------------------------ images

    def open_image(self) -> Image:
        """Open checkpoint and log up to it as one stream, and pin its files until it is closed.

        Raises:
            LogRangeError: there is no checkpoint yet.
        """
        checkpoint = self.checkpoints.newest
        if not checkpoint.index:
            raise LogRangeError("there is no checkpoint to make an image of")
        segments = self._segments_up_to(checkpoint.index)
        rows = checkpoint.names()
        rows += self.cold.rows()
        rows += [(segment.path.name, size) for segment, size in segments]
        header = ImageHeader(checkpoint.index, checkpoint.term, tuple(rows))
        number = self._files.random32() << 32 | self._files.random32()
        unpin = self.checkpoints.pin()

        def closed(image: Image) -> None:
            self._images.discard(image)
            unpin()

        image = Image(self._files, header, self._owner, self._path, image_id=number, closed=closed)
        self._images.add(image)
        return image

    def _close_images(self) -> None:
        for image in list(self._images):
            image.close()

    def begin_install(self, index: int, term: int, total_bytes: int, image_id: int) -> Installation:
        """Start receiving an image; one that was being received is abandoned.

        Raises:
            LogRangeError: it is not newer than the checkpoint.
            OSError: the disk; nothing has changed.
        """
        self._check_usable()
        if index <= self.checkpoint_index:
            raise LogRangeError(
                f"an image at {index}, the checkpoint is at {self.checkpoint_index}"
            )
        self.abandon_install()
        self._installation = Installation(
            self._files, self._directory.generation(self._generation + 1), self._owner,
            Announced(index, term, total_bytes, image_id),
            adopt=self._adopt, ended=self._install_ended,
        )  # fmt: skip
        return self._installation

    def abandon_install(self) -> None:
        """Throw away an image that is being received, if there is one."""
        if self._installation is not None:
            self._installation.abandon()

    def _install_ended(self, installation: Installation) -> None:
        if self._installation is installation:
            self._installation = None

    def _holds(self, index: int, term: int) -> bool:
        return self.first - 1 <= index <= self._last and self._terms.term(index) == term

    def _adopt(self, installation: Installation, verified: Verified) -> bool:
        """Switch to a received generation, unless the log already holds its last entry."""
        self._check_usable()
        if self._holds(installation.index, installation.term):
            return False
        if installation.term > self.current_term:
            raise LogRangeError(f"an image of term {installation.term} in {self.current_term}")
        with self._write_lock, self._checkpoint_lock:
            switched = False
            try:
                self._switch(verified)
                switched = True
            finally:
                self._failed = self._failed or not switched
        return True

    def _switch(self, verified: Verified) -> None:
        sequence = verified.recovered.index.tail.header.sequence
        self._directory.save_current(Current(self._generation + 1, sequence))
        if self._batch is not None:
            self._batch.cancelled = True
        self._drop_checkpoint_job()
        self._close_images()
        self._writer.close()
        self._reader.close()
        before = self._path
        self._generation += 1
        self.checkpoints = self._checkpoints_of(verified.recovered)
        self.cold = self._cold_of(verified.recovered)
        path = self._directory.generation(self._generation)
        self._use_generation(path, verified.recovered, verified.tail)
        self.configuration_indexes = verified.recovered.configurations
        remove_tree(self._files, before)

    # ------------------------------------------------------------------ hooks of the log

    def _announce_segment(self, sequence: int) -> None:
        self._directory.prepare_current(Current(self._generation, sequence))

    def _segment_named(self) -> None:
        self._directory.commit_current()

    def _cut_floor(self) -> int:
        job = self._checkpoint_job.index if self._checkpoint_job is not None else 0
        return max(self.checkpoint_index, job, self.first - 1)
