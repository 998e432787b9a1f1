"""What a follower does with the leader's messages (rules 2, 3, 9)."""

import errno
import math
from typing import Any

from sybline import limits
from sybline.errors import FailStop
from sybline.replication import rules
from sybline.replication.election import Elections
from sybline.replication.files import NO_SPACE
from sybline.replication.journal import BadImage, Entry, Installation
from sybline.replication.log import ReplicatedState
from sybline.replication.messages import Append, AppendReply, SnapshotChunk, SnapshotReply


class Following(Elections):
    """The part of a member that takes entries and images from a leader."""

    def __init__(self, *, state: ReplicatedState, **parts: Any) -> None:
        self._state = state
        self._installation: Installation | None = None
        self._verifying = False
        self._no_room_until_s = -math.inf  # no image is taken before: the disk is full
        self._leader_commit = 0  # as the leader said last; for readiness only
        super().__init__(**parts)

    # --- what the layer above does ---
    def _installed(self) -> None:
        """The state was replaced."""

    # --- entries ---
    def _on_append(self, peer: int, message: Append, now_s: float) -> None:
        if message.term < self.term:
            self._refuse_old_term(peer, message.round)
            return
        self._take_term(message.term)
        self._heard_leader(peer, now_s)
        reply = self._take_entries(message)
        if not (message.is_silent and reply.ok):
            self._promise(peer, reply)

    def _take_term(self, term: int) -> None:
        if term > self.term:
            self._follow(term, None)

    def _refuse_old_term(self, peer: int, round_: int) -> None:
        self._post(peer, AppendReply(self.term, ok=False, prev=0, match=0, hint=0, round=round_))

    def _take_entries(self, message: Append) -> AppendReply:
        journal, prev, commit = self._journal, message.prev, self.commit_index
        self._leader_commit = message.commit
        if prev < commit:  # committed here, hence equal to the leader's
            return self._accepted(message, commit)
        if prev > journal.last:
            return self._rejected(message, journal.last + 1)
        if journal.term(prev) != message.prev_term:
            hint = rules.conflict_hint(prev, commit=commit, start_of_term=journal.start_of_term)
            return self._rejected(message, hint)
        new = self._cut_at_conflict(message.entries)
        if new:
            self._append(new)
        match = prev + len(message.entries)  # what this message verified, not the end of the log
        advanced = rules.follower_commit(leader_commit=message.commit, match=match, commit=commit)
        if advanced > commit:
            self._set_commit(advanced)
        return self._accepted(message, match)

    def _accepted(self, message: Append, match: int) -> AppendReply:
        return AppendReply(
            self.term, ok=True, prev=message.prev, match=match, hint=0, round=message.round
        )

    def _rejected(self, message: Append, hint: int) -> AppendReply:
        return AppendReply(
            self.term, ok=False, prev=message.prev, match=0, hint=hint, round=message.round
        )

    def _cut_at_conflict(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Cut the log at the first entry that differs, and return the entries that are new."""
        journal = self._journal
        last = journal.last
        for at, entry in enumerate(entries):
            if entry.index > last:
                return entries[at:]
            if journal.term(entry.index) != entry.term:
                if entry.index <= self.commit_index:
                    raise FailStop(f"the leader's entry {entry.index} differs from a committed one")
                self._cut(entry.index)
                return entries[at:]
        return ()

    # --- images ---
    def _on_chunk(self, peer: int, message: SnapshotChunk, now_s: float) -> None:
        if message.term < self.term:
            self._refuse_old_term(peer, message.round)
            return
        self._take_term(message.term)
        self._heard_leader(peer, now_s)
        if message.index <= self.commit_index:
            self._drop_installation()  # never go back
            self._promise(peer, self._chunk_reply(message, 0, self.commit_index))
            return
        try:
            is_time = now_s >= self._no_room_until_s
            installation = self._installation_for(message) if is_time else None
            wanted = 0 if installation is None else self._take_chunk(installation, message)
        except OSError as error:
            installation, wanted = None, 0
            self._give_up_image(error)
        self._promise(peer, self._chunk_reply(message, wanted, 0))
        if installation is not None and wanted == message.total and not self._verifying:
            self._verify(peer, installation, message)

    def _chunk_reply(self, message: SnapshotChunk, offset: int, match: int) -> SnapshotReply:
        pause_ms = math.ceil(max(0.0, self._no_room_until_s - self._now_s()) * 1000)
        return SnapshotReply(
            self.term, message.index, message.image_id, offset, match, message.round,
            0 if match else pause_ms,
        )  # fmt: skip

    @property
    def image_progress(self) -> tuple[int, int]:
        """Return how many bytes of an image are here, and its size; 0 of 0: none is being received."""
        held = self._installation
        return (0, 0) if held is None else (held.received, held.total_bytes)

    @property
    def lacks_room(self) -> bool:
        """Return whether the leader's image did not fit on the disk, as of the last try."""
        next_try_ended_s = self._no_room_until_s + self._timing.election_s
        return self._now_s() < next_try_ended_s

    def _give_up_image(self, error: OSError) -> None:
        """Throw away an image that does not fit on the disk, and take none for a while.

        Raises:
            OSError: it is not for want of room, so the member must stop.
        """
        if error.errno not in NO_SPACE:
            raise error
        self._drop_installation()
        self._no_room_until_s = self._now_s() + limits.INSTALL_RETRY_S

    def _installation_for(self, message: SnapshotChunk) -> Installation | None:
        """Return where the chunk belongs; None: not now, another image is being verified."""
        held = self._installation
        if held is not None:
            announced = (held.image_id, held.index, held.total_bytes)
            if announced == (message.image_id, message.index, message.total):
                return held
            if self._verifying:
                return None
        self._drop_installation()
        if self._journal.free_bytes() < message.total + limits.INSTALL_SPARE_BYTES:
            raise OSError(errno.ENOSPC, f"there is no room for an image of {message.total} bytes")
        self._installation = self._journal.begin_install(
            message.index, message.index_term, message.total, message.image_id
        )
        return self._installation

    def _take_chunk(self, installation: Installation, message: SnapshotChunk) -> int:
        """Take the next bytes and return the offset wanted next; 0 when they are not of the image announced."""
        if not self._verifying and message.offset == installation.received and message.data:
            try:
                installation.write(message.offset, message.data)
            except BadImage:
                self._drop_installation()
                return 0
        return installation.received

    def _verify(self, peer: int, installation: Installation, message: SnapshotChunk) -> None:
        """Verify what was received, away from the loop if there is a thread, then take it over."""
        self._verifying = True
        failed: BadImage | OSError | None = None

        def run() -> None:
            nonlocal failed
            try:
                installation.run_verify()
            except (BadImage, OSError) as error:
                failed = error

        def done() -> None:
            self._verifying = False
            if isinstance(failed, OSError):
                self._give_up_image(failed)
            elif failed or self._installation is not installation:
                self._drop_installation()
            else:
                self._take_over(installation)
                self._promise(peer, self._chunk_reply(message, message.total, self.commit_index))
            self.run_tick()

        if self._start_sync is None:
            run()
            done()
        else:
            self._start_background(run, done)

    def _start_background(self, run: Any, done: Any) -> None:
        """Run something long in a thread; the layer above does."""

    def _take_over(self, installation: Installation) -> None:
        """Make the received state ours, unless the log has caught up meanwhile."""
        if installation.index <= self.commit_index:
            self._drop_installation()
            return
        index = installation.index
        self._installation = None
        installation.finish(self._state.restore)
        self._set_applied(index)
        self._set_commit(index)
        if self._journal.checkpoint_index == index:  # else the log had it already, and stays
            self._replace_configurations()
        self._installed()

    def _drop_installation(self) -> None:
        if self._installation is not None and not self._verifying:
            self._installation.abandon()
            self._installation = None
