"""One member of a Raft group: a hardened `pysyncobj.SyncObj`, driven by ticks and messages (ADR-0001).

Owns the order of work in a tick, proposals, application, linearizable reads, checkpoints and the view for status. The
rules stand in `election`, `following`, `leading` and `changing`; what waits for the disk in `durable_core`. One thread,
the loop's, owns a node. A broken invariant or storage error is a `FailStop`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from sybline import limits
from sybline.clock import Clock
from sybline.errors import FailStop
from sybline.replication.changing import Changing
from sybline.replication.durable_core import Background
from sybline.replication.journal import (
    COMMAND,
    CheckpointJob,
    CorruptData,
    Entry,
    Journal,
    LogRangeError,
)
from sybline.replication.log import ReplicatedState
from sybline.replication.messages import (
    Append,
    AppendReply,
    PreVote,
    PreVoteReply,
    RaftMessage,
    RequestVote,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    Vote,
)
from sybline.replication.progress import Mode
from sybline.replication.quirks import FOLLOWER, LEADER, NOT_LEADER, QUEUE_FULL, ROLE_NAMES
from sybline.replication.timing import Timing
from sybline.replication.upkeep import Upkeep

# After so much the loop turns: a long replay must not stop heartbeats.
APPLY_ENTRIES_PER_TICK = 2_000
APPLY_BYTES_PER_TICK = 4 * limits.MIB
CHECKPOINT_RETRY_S = 5.0  # after one that found the disk full: each costs a dump of the state

Refused = Callable[[bool], None]  # definitely not appended; called with whether it was overload
ReadDone = Callable[[int | None], None]


class Listener(Protocol):
    """Who hears of what happens in a node. Called on the loop; may not call back into the node at once."""

    def leader_changed(self, leader: int | None, term: int) -> None:
        """Another member leads, or nobody; for this member only once it is ready to take proposals."""

    def applied(self, index: int) -> None:
        """Everything up to `index` is applied."""

    def installed(self) -> None:
        """The state was replaced by the leader's checkpoint."""

    def checkpointed(self, index: int) -> None:
        """A checkpoint is on disk."""

    def membership_changed(self) -> None:
        """The members, whether they are committed, or who is still told of his removal are others now."""


@dataclass(frozen=True, slots=True)
class PeerProgress:
    """The leader's view of one follower."""

    member: int
    match_index: int
    heard_age_s: float
    image_sent_bytes: int
    image_bytes: int  # 0: it is sent none


@dataclass(frozen=True, slots=True)
class CheckpointDistance:
    """When to write a checkpoint: after so many entries, so many bytes of them, or so long applying them."""

    entries: int = limits.CHECKPOINT_ENTRIES_DEFAULT
    log_bytes: int = limits.CHECKPOINT_LOG_BYTES
    work_s: float = limits.CHECKPOINT_WORK_S


class RaftNode(Changing):
    """See the module."""

    def __init__(  # noqa: PLR0913 - everything a node has around it
        self,
        *,
        member: int,
        journal: Journal,
        state: ReplicatedState,
        send: Callable[[int, RaftMessage], None],
        clock: Clock,
        rng: Random,
        timing: Timing,
        listener: Listener,
        start_sync: Background | None = None,
        start_background: Background | None = None,
        checkpoint: CheckpointDistance | None = None,
        gather_s: float = 0.0,
    ) -> None:
        """Open at the journal's checkpoint; the rest of the log is applied as it is found to be committed.

        `gather_s`: how long at most proposals wait for what was appended before them to be committed.
        """
        self._listener = listener
        self._background = start_background
        self._checkpoint = checkpoint or CheckpointDistance()
        self._checkpoint_job: CheckpointJob | None = None
        self._bytes_since_checkpoint = 0
        self._work_since_checkpoint_s = 0.0
        self._gather_s = gather_s
        self._gathers_until_s = -math.inf
        self._queued = 0  # proposals that wait to be taken
        self.is_gathering = False  # a tick is planned that takes them, and what comes until then
        self._checkpoint_not_before_s = -math.inf
        self._reads: list[tuple[int, int, ReadDone]] = []  # round and index needed
        self._told_leader: tuple[int | None, int] = (None, 0)
        self._told_membership: tuple[object, ...] = ()
        super().__init__(
            member=member, journal=journal, state=state, send=send,
            clock=clock, rng=rng, timing=timing, start_sync=start_sync,
        )  # fmt: skip
        saved = journal.load_checkpoint()
        if saved is not None:
            state.restore(saved)
            saved.close()
        self._set_applied(journal.checkpoint_index)
        self._set_commit(journal.checkpoint_index)
        self._upkeep = Upkeep(
            journal, state, start=self._start_upkeep, applied_index=lambda: self.applied_index
        )

    # --- driving ---
    def tick(self) -> float:
        """Do what is due and return the seconds until the next tick is needed, if no message comes before."""
        self._guarded(self.run_tick)
        now_s = self._now_s()
        if self.applied_index < self.commit_index:
            return 0.0
        due_s = self._heartbeat_due_s if self.role_number == LEADER else self._deadline_s
        if self.is_gathering:
            due_s = min(due_s, self._gathers_until_s)
        return max(0.0, due_s - now_s)

    def receive(self, peer: int, message: RaftMessage) -> bool:
        """Take one message and return whether a tick must follow; one too many does no harm."""
        self._guarded(lambda: self._port.deliver(peer, message))
        return type(message) is not AppendReply or self.role_number != LEADER or self.has_work()

    def has_work(self) -> bool:
        """Return whether a tick would do something now; after many a sync and many an answer it would not."""
        journal, commit = self._journal, self.commit_index
        if self._syncing is None and (journal.has_pending or self._outbox):
            return True
        if self.applied_index < commit:
            return True
        if self.role_number != LEADER:
            return False
        if self._reads or self._majority_index() > commit:
            return True
        last = journal.last
        return any(p.mode is not Mode.REPLICATE or p.next <= last for p in self._progress.values())

    def peer_connected(self, peer: int) -> None:
        """A connection to a peer opened: what is due to it is sent with the next tick."""
        self._meet(peer)
        progress = self._progress.get(peer)
        if progress is not None:
            progress.due_s = 0.0

    def peer_disconnected(self, peer: int) -> None:
        """A peer's connection closed; what was in flight to it is lost."""
        now_s = self._now_s()
        progress = self._progress.get(peer)
        if progress is not None:
            progress.heard_s = -math.inf
            if progress.match:
                progress.probe(now_s)
        elif self.role_number == FOLLOWER and peer == self.leader:
            self._leader_gone(now_s)

    def _guarded(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except (CorruptData, LogRangeError, OSError) as error:
            raise FailStop(f"{type(error).__name__}: {error}") from error

    def run_tick(self) -> None:
        now_s = self._now_s()
        if self.role_number == LEADER:
            self._check_leadership(now_s)
        elif now_s >= self._deadline_s:
            self._time_is_up(now_s)
        if self.role_number == LEADER:
            self._advance()  # first: the next entries carry the news, and proposals need gather no longer
        self._take_commands(now_s)
        if self.role_number == LEADER:
            self._replicate(now_s)
        self._flush()
        if self.role_number == LEADER and self._advance():
            self._replicate(now_s)
        self._follow_changes()
        self._apply()
        self._serve_reads()
        self._checkpoint_if_due()
        self._look_after_files()
        self._tell_leader()
        self._tell_membership()

    def _check_leadership(self, now_s: float) -> None:
        if not self._hears_quorum(now_s, self._timing.election_max_s):
            self._follow(self.term, None)
        elif self._transfer is not None and now_s > self._transfer[1]:
            self._transfer = None  # the target did not take over

    def on_message(self, peer: int, message: RaftMessage) -> None:
        if not self._takes_part:
            return
        now_s = self._now_s()
        match message:
            case Append():
                self._on_append(peer, message, now_s)
            case AppendReply():
                self._on_append_reply(peer, message, now_s)
            case PreVote():
                self._on_pre_vote(peer, message, now_s)
            case PreVoteReply():
                self._on_pre_vote_reply(peer, message, now_s)
            case RequestVote():
                self._on_request_vote(peer, message, now_s)
            case Vote():
                self._on_vote(peer, message, now_s)
            case SnapshotChunk():
                self._on_chunk(peer, message, now_s)
            case SnapshotReply():
                self._on_chunk_reply(peer, message, now_s)
            case TimeoutNow():
                if (
                    message.term == self.term
                    and peer == self.leader
                    and self.role_number == FOLLOWER
                    and self._may_campaign
                ):
                    self._campaign(now_s, transfer=True)

    # --- proposals ---
    def propose(self, payload: bytes, refused: Refused) -> None:
        """Append a command with the next tick; `refused` is called iff it is definitely not appended.

        A leader that hears no quorum refuses before it steps down: what it appended now might be lost or not. Before
        the cluster has formed nothing is taken: the loss of a disk would not be noticed yet (ADR-0005).
        """
        if not (self.quorum_confirmed and self._journal.cluster_uid) or self._transfer is not None:
            refused(False)
        elif not self._journal.has_room:
            refused(True)
        else:
            self._queued += 1
            self._queue_command(payload, lambda _result, error: refused(error == QUEUE_FULL))

    def _take_commands(self, now_s: float) -> None:
        """Append everything that was proposed since the last time, in one piece.

        Proposals wait for company while the last piece is under way, for each costs every member a message and a sync;
        but never for long: neither a distant majority nor a slow disk may become the pace of the log.
        """
        entries: list[Entry] = []
        index, term = self._journal.last, self.term
        takes = self.role_number == LEADER and self._transfer is None
        self.is_gathering = (
            takes
            and self._queued > 0
            and now_s < self._gathers_until_s
            and index > self.commit_index
        )
        if self.is_gathering:
            return
        self._queued = 0
        while (queued := self._next_command()) is not None:
            payload, refused = queued
            if not takes:
                refused(None, NOT_LEADER)
                continue
            index += 1
            entries.append(Entry(index, term, COMMAND, payload))
        if entries:
            self._append(entries)
            self._gathers_until_s = now_s + self._gather_s

    # --- applying ---
    def _apply(self) -> None:
        last = min(self.commit_index, self.applied_index + APPLY_ENTRIES_PER_TICK)
        if self.applied_index >= last:
            return
        applied_bytes, began_s = 0, self._now_s()
        for index in range(self.applied_index + 1, last + 1):
            entry = self._journal.entry(index)
            self._set_applied(index)  # first: an entry is never applied twice (S14)
            if entry.kind == COMMAND:
                applied_bytes += len(entry.payload)
                self._state.apply(index, entry.term, entry.payload)
            if applied_bytes >= APPLY_BYTES_PER_TICK:
                break
        self._bytes_since_checkpoint += applied_bytes
        self._work_since_checkpoint_s += self._now_s() - began_s
        self._listener.applied(self.applied_index)

    def _installed(self) -> None:
        self._bytes_since_checkpoint, self._work_since_checkpoint_s = 0, 0.0
        self._upkeep.reset()
        self._listener.installed()

    # --- reads ---
    def read_index(self, done: ReadDone) -> None:
        """Call `done(index)` once a read of the state at `index` is linearizable, `done(None)` if this cannot be."""
        if not self.is_ready_leader:
            done(None)
            return
        if not self._reads or self._reads[-1][0] <= self._round:
            self._wants_round = True
        self._reads.append((self._round + 1, self.commit_index, done))

    def _serve_reads(self) -> None:
        """Answer the reads whose heartbeat round a majority has answered (thesis 6.4)."""
        reads = self._reads
        while reads:
            needed, index, done = reads[0]
            answered = {peer for peer, p in self._progress.items() if p.round >= needed}
            if not self._is_quorum(answered | {self.member}) or self.applied_index < index:
                return
            reads.pop(0)
            done(index)

    def _lost(self) -> None:
        super()._lost()
        reads, self._reads = self._reads, []
        for _, _, done in reads:
            done(None)

    # --- checkpoints ---
    def _checkpoint_if_due(self) -> None:
        journal, index = self._journal, self.applied_index
        if (
            index - journal.checkpoint_index < self._checkpoint.entries
            and self._bytes_since_checkpoint < self._checkpoint.log_bytes
            and self._work_since_checkpoint_s < self._checkpoint.work_s
            and not self._upkeep.wants_checkpoint
        ):
            return
        is_free = self._checkpoint_job is None and index <= journal.durable
        is_time = self._now_s() >= self._checkpoint_not_before_s
        if is_free and is_time and index > journal.checkpoint_index:
            self._begin_checkpoint(index)

    def _begin_checkpoint(self, index: int) -> None:
        self._bytes_since_checkpoint, self._work_since_checkpoint_s = 0, 0.0
        dump = self._state.begin_dump(self._journal.checkpoints.next_page)
        job = self._checkpoint_job = self._journal.begin_checkpoint(
            index, dump, live=self._has_live, configuration=self._configuration_at(index)
        )
        self._write_checkpoint(job)

    def _write_checkpoint(self, job: CheckpointJob) -> None:
        """Write a slice of the state in the thread, then collect the next one; the loop turns in between."""

        def run() -> None:
            self._guarded(lambda: self._journal.run_checkpoint(job))

        def done() -> None:
            if job.is_done:
                self._end_checkpoint(job)
            else:
                job.collect()
                self._write_checkpoint(job)

        self._start_background(run, done)

    def _end_checkpoint(self, job: CheckpointJob) -> None:
        self._checkpoint_job = None
        if self._journal.end_checkpoint(job):
            self._upkeep.checkpointed()
            self._configurations.drop_before(job.index)
            self._listener.checkpointed(job.index)
        else:
            self._checkpoint_not_before_s = self._now_s() + CHECKPOINT_RETRY_S

    def _has_live(self, first: int, end: int) -> bool:
        """Return whether the state needs a body of the entries `first` to before `end`."""
        start, stop = first * limits.BATCH_MESSAGES_MAX, end * limits.BATCH_MESSAGES_MAX
        while start < stop:
            live = self._state.live_bodies(start, stop, 1)
            if live.positions:
                return True
            start = live.end
        return False

    def _look_after_files(self) -> None:
        """Let go of what is dead on disk; not while an image is about to replace all of it."""
        if not self._verifying:
            self._upkeep.step(self._now_s())

    def _start_upkeep(self, run: Callable[[], None], done: Callable[[], None]) -> None:
        self._start_background(lambda: self._guarded(run), done)

    def _start_background(self, run: Callable[[], None], done: Callable[[], None]) -> None:
        if self._background is None:
            run()
            done()
        else:
            self._background(run, done)

    # --- leadership ---
    def transfer_leadership(self, target: int | None = None) -> bool:
        """Refuse new proposals, bring the target up to date and tell it to campaign; False: not possible now.

        Given up after one election time-out if the target does not take over.
        """
        return self._begin_transfer(target, self._now_s())

    def _tell_leader(self) -> None:
        """Tell the listener when the leader it may send proposals to has changed."""
        leader = self.leader
        if leader == self.member and not self.is_ready_leader:
            leader = None
        known = (leader, self.term)
        if known != self._told_leader:
            self._told_leader = known
            self._listener.leader_changed(leader, self.term)

    def _tell_membership(self) -> None:
        """Tell the listener when the members have changed in any way that matters to it."""
        known = (
            self.configuration_index, self.is_configuration_committed, self.leaving, self.is_removed,
        )  # fmt: skip
        if known != self._told_membership:
            self._told_membership = known
            self._listener.membership_changed()

    # --- view ---
    @property
    def role(self) -> str:
        """Return "leader", "candidate" or "follower"."""
        return ROLE_NAMES[self.role_number]

    @property
    def ready(self) -> bool:
        """Return whether this member serves: it leads, or knows a leader and has applied what that has committed."""
        if self.role_number == LEADER:
            return self.is_ready_leader
        return (
            self.leader is not None
            and not self.is_removed
            and self.applied_index >= min(self._leader_commit, self._journal.last)
        )

    @property
    def is_transferring(self) -> bool:
        return self._transfer is not None

    def peers(self) -> tuple[PeerProgress, ...]:
        """Return the leader's view of its followers; empty on a follower."""
        now_s = self._now_s()
        return tuple(
            PeerProgress(peer, p.match, p.heard_age_s(now_s), p.image_sent_bytes, p.image_bytes)
            for peer, p in self._progress.items()
        )
