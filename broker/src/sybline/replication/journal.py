"""The Raft log of one member on disk, with its term and vote, its checkpoints and its images.

One thread, the loop's, owns a journal; only the `run_` methods may run in another thread, one of each kind at a
time. Durability has three steps so that a slow disk never stops the loop: `begin_sync` (loop) takes what was added,
`run_sync` (thread) writes and syncs it, `end_sync` (loop) moves `durable`. After an OSError, or CorruptData from a
read, the member must stop: nothing here is ever retried. Format: docs/internals/storage.md.
"""

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

from sybline.replication.checkpoint import (
    CheckpointFacts,
    CheckpointOwner,
    checkpoint_name,
    load_state,
    write_checkpoint,
)
from sybline.replication.data_directory import Current, DataDirectory
from sybline.replication.files import NO_SPACE, File, Files, RealFiles, remove_tree
from sybline.replication.identity import Identity
from sybline.replication.image import Image, ImageHeader
from sybline.replication.install import Announced, Installation, Verified
from sybline.replication.records import COMMAND, CONFIGURATION, NO_OP, Entry
from sybline.replication.recovery import Recovered, list_generation, recover_generation
from sybline.replication.segment_writer import mend_tail
from sybline.replication.segmented_log import JournalOptions, SegmentedLog, SyncBatch
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


@dataclass(slots=True)
class CheckpointJob:
    """One checkpoint under way."""

    index: int
    term: int
    state: bytes
    facts: CheckpointFacts | None = None  # set when it is durable under its name
    cancelled: bool = False  # another generation took over


@dataclass(frozen=True, slots=True)
class _Start:
    """What opening a data directory found."""

    directory: DataDirectory
    vote: VoteFile
    current: Current
    recovered: Recovered
    tail: File


class Journal(SegmentedLog):
    """The log of one member; see the module. Indexes begin at 1; the entry before the first has term 0."""

    def __init__(self, start: _Start, options: JournalOptions) -> None:
        """Use `Journal.open`."""
        self._directory = start.directory
        self._vote = start.vote
        self._generation = start.current.generation
        self._checkpoint: CheckpointFacts = start.recovered.checkpoint
        self._checkpoint_job: CheckpointJob | None = None
        self._checkpoint_lock = threading.Lock()  # run_checkpoint holds it: a switch waits
        self._images: set[Image] = set()
        self._installation: Installation | None = None
        super().__init__(
            start.directory.files,
            _owner(start.directory.identity),
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
        member: int,
        files: Files | None = None,
        options: JournalOptions | None = None,
    ) -> "Journal":
        """Open a member's data directory, verifying all of it; an empty one is initialised.

        Raises:
            CorruptData: damaged, incomplete, or another member's; it never starts empty instead.
            DirectoryInUse: another process has it open.
            OSError: the disk.
        """
        options = options or JournalOptions()
        identity = Identity(cluster_id, member)
        place = DataDirectory.open(
            files or RealFiles(), Path(directory), identity, options.segment_bytes
        )
        with contextlib.ExitStack() as undo:
            undo.callback(place.close)
            vote = VoteFile.open(place.files, place.vote_path, identity)
            undo.callback(vote.close)
            start = _recover(place, vote)
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
        saved = False
        try:
            self._vote.save(Vote(term, voted_for))
            saved = True
        finally:
            self._failed = self._failed or not saved

    # ------------------------------------------------------------------ facts

    @property
    def checkpoint_index(self) -> int:
        """Return the index of the newest checkpoint; 0: none yet."""
        return self._checkpoint.index

    @property
    def checkpoint_term(self) -> int:
        """Return the term at the newest checkpoint."""
        return self._checkpoint.term

    @property
    def checkpoint_bytes(self) -> int:
        """Return the size of the newest checkpoint's file."""
        return self._checkpoint.total_bytes

    @property
    def bytes_total(self) -> int:
        """Return the valid bytes of log and checkpoint."""
        return self.log_bytes + self._checkpoint.total_bytes

    def free_bytes(self) -> int:
        """Return the free space of the disk."""
        return self._files.free_bytes(self._directory.root)

    # ------------------------------------------------------------------ checkpoints

    def begin_checkpoint(self, index: int, state: bytes) -> CheckpointJob:
        """Prepare to save the state as of an entry; `state` must not change any more.

        The entry must be durable here: a leader may have committed it by the disks of others, and a checkpoint must
        never be ahead of the log that holds its bodies.

        Raises:
            LogRangeError: not durable, not newer than the last checkpoint, or another job is under way.
        """
        self._check_usable()
        if not self._checkpoint.index < index <= self._durable or self._checkpoint_job is not None:
            raise LogRangeError(
                f"checkpoint at {index}, the last one is at {self._checkpoint.index}, durable is "
                f"{self._durable}, another one under way: {self._checkpoint_job is not None}"
            )
        self._checkpoint_job = CheckpointJob(index, self._terms.term(index), state)
        return self._checkpoint_job

    def run_checkpoint(self, job: CheckpointJob) -> None:
        """Write the checkpoint, sync it, read it back, and give it its name. Any thread.

        On a full disk nothing is changed, and `end_checkpoint` returns False.

        Raises:
            OSError, CorruptData: the member must stop.
        """
        with self._checkpoint_lock:
            if job.cancelled:
                return
            path = self._path / checkpoint_name(job.index)
            try:
                job.facts = write_checkpoint(
                    self._files, path, self._owner, index=job.index, term=job.term, state=job.state
                )
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                temporary = path.with_name(path.name + ".tmp")
                if self._files.exists(temporary):
                    self._files.remove(temporary)

    def end_checkpoint(self, job: CheckpointJob, oldest_live: int | None) -> bool:
        """Count the checkpoint and remove what it makes unneeded; return whether it was written.

        `oldest_live`: the oldest entry whose bodies the state still needs; segments from there on stay.
        """
        if job is not self._checkpoint_job:
            return False
        self._checkpoint_job = None
        if job.facts is None:
            return False
        before, self._checkpoint = self._checkpoint, job.facts
        if before.index:
            self._files.remove(self._path / checkpoint_name(before.index))
        self.drop_prefix(oldest_live)
        return True

    def drop_prefix(self, oldest_live: int | None) -> None:
        """Remove the segments that neither the state, the checkpoint's margin nor an open image needs."""
        floor = self._margin_floor(self._checkpoint.index)
        if oldest_live is not None:
            floor = min(floor, oldest_live)
        self._drop_segments(floor, min((i.first_sequence for i in self._images), default=None))

    def load_checkpoint(self) -> bytes | None:
        """Return the state in the newest checkpoint, verified; None: there is none.

        Raises:
            CorruptData: damaged since it was written.
        """
        if not self._checkpoint.index:
            return None
        path = self._path / checkpoint_name(self._checkpoint.index)
        return load_state(self._files, path, self._owner)

    # ------------------------------------------------------------------ images

    def open_image(self) -> Image:
        """Open checkpoint and log up to it as one stream, and pin its files until it is closed.

        Raises:
            LogRangeError: there is no checkpoint yet.
        """
        index = self._checkpoint.index
        if not index:
            raise LogRangeError("there is no checkpoint to make an image of")
        segments = self._segments_up_to(index)
        header = ImageHeader(
            index, self._checkpoint.term, self._checkpoint.total_bytes,
            tuple((segment.header.sequence, size) for segment, size in segments),
        )  # fmt: skip
        paths = [self._path / checkpoint_name(index), *(segment.path for segment, _ in segments)]
        number = self._files.random32() << 32 | self._files.random32()
        image = Image(
            self._files, header, self._owner, paths, image_id=number, closed=self._images.discard
        )
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
        if index <= self._checkpoint.index:
            raise LogRangeError(
                f"an image at {index}, the checkpoint is at {self._checkpoint.index}"
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
        if self._checkpoint_job is not None:
            self._checkpoint_job.cancelled = True
            self._checkpoint_job = None
        self._close_images()
        self._writer.close()
        self._reader.close()
        before = self._path
        self._generation += 1
        self._checkpoint = verified.recovered.checkpoint
        path = self._directory.generation(self._generation)
        self._use_generation(path, verified.recovered, verified.tail)
        remove_tree(self._files, before)

    # ------------------------------------------------------------------ hooks of the log

    def _announce_segment(self, sequence: int) -> None:
        self._directory.prepare_current(Current(self._generation, sequence))

    def _segment_named(self) -> None:
        self._directory.commit_current()

    def _cut_floor(self) -> int:
        job = self._checkpoint_job.index if self._checkpoint_job is not None else 0
        return max(self._checkpoint.index, job, self.first - 1)


def _owner(identity: Identity) -> CheckpointOwner:
    return CheckpointOwner(identity.cluster_hash, identity.group)


def _recover(place: DataDirectory, vote: VoteFile) -> _Start:
    """Verify the generation in use, remove leftovers, and make its tail ready for writing."""
    current = place.load_current()
    path = place.generation(current.generation)
    recovered = recover_generation(
        place.files, path, _owner(place.identity), last_segment=current.last_segment
    )
    last_term = recovered.terms.term(recovered.terms.last)
    if last_term > vote.vote.term:
        raise CorruptData(
            place.vote_path, 0, f"term {vote.vote.term} is older than the log's last, {last_term}"
        )
    names = list_generation(place.files, path)
    older = [checkpoint_name(index) for index in names.checkpoints[:-1]]
    for name in names.leftovers + older:
        place.files.remove(path / name)
    # A process that was killed may have left names that are seen but not durable.
    place.files.sync_directory(path)
    segment = recovered.index.tail
    if segment.header.sequence != current.last_segment:
        place.save_current(Current(current.generation, segment.header.sequence))
    tail = mend_tail(place.files, segment, recovered.tail_durable)
    return _Start(place, vote, current, recovered, tail)
