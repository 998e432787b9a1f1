"""One member: the `ReplicatedLog` of the broker, from its start to its end.

Owns how long callers wait, and what a member says of itself before, while and after it works. The work is the
engine's.
"""

import asyncio
import contextlib

from sybline.clock import Clock
from sybline.errors import NoLeader
from sybline.replication.engine import Engine, MemberSettings
from sybline.replication.fail_stop import Die, FailStopEdge, end_process
from sybline.replication.journal import COMMAND, Entry, Journal
from sybline.replication.log import NoteHook, ReplicationStatus
from sybline.replication.measures import Counters, Observer
from sybline.state_machine.commands import AnyCommand
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.replies import AnyReply

__all__ = ["Member", "MemberSettings"]


class Member:
    """ReplicatedLog over sockets and disks."""

    def __init__(
        self,
        settings: MemberSettings,
        *,
        clock: Clock,
        on_note: NoteHook,
        observer: Observer,
        die: Die = end_process,
    ) -> None:
        """`die` ends the process when this member is broken; a test may hear of it instead."""
        self._settings = settings
        self._clock = clock
        self._on_note = on_note
        self._observer = observer
        self._edge = FailStopEdge(die, describe=self._in_hand)
        self._engine: Engine | None = None
        self.counters = Counters()

    # --- start and stop ---
    async def start(self) -> None:
        """Verify what is stored, listen for peers, and take part.

        Raises:
            CorruptData, DirectoryInUse: the data directory cannot be used.
            OSError: the disk, or the address to listen on.
            FailStop: the stored state cannot be used by this version.
        """
        loop = asyncio.get_running_loop()
        self._edge.watch(loop)
        journal = await loop.run_in_executor(None, self._open_journal)
        with contextlib.ExitStack() as undo:
            undo.callback(journal.close)
            engine = Engine(
                self._settings, journal, clock=self._clock, edge=self._edge,
                counters=self.counters, observer=self._observer, on_note=self._on_note,
            )  # fmt: skip
            await engine.start()
            undo.pop_all()
        self._engine = engine

    async def stop(self) -> None:
        """Fail who waits, definitely or as unknown, finish what is being written, and close everything."""
        if self._engine is not None:
            await self._engine.stop()

    def _open_journal(self) -> Journal:
        settings = self._settings
        return Journal.open(
            settings.data_dir,
            cluster_id=settings.identity.cluster_id,
            member=settings.identity.member,
            options=settings.journal,
        )

    def _in_hand(self) -> str:
        """Return what this member was at, for its last words."""
        index = None if self._engine is None else self._engine.state.applying_index
        return "" if index is None else f"while applying entry {index}"

    def _working(self) -> Engine:
        if self._engine is None:
            raise NoLeader("this member has not started")
        return self._engine

    # --- ReplicatedLog ---
    async def propose(self, command: AnyCommand, *, deadline_s: float) -> AnyReply:
        """Replicate, apply here, and return the reply; see `ReplicatedLog`."""
        engine = self._working()
        answer: asyncio.Future[AnyReply] = asyncio.get_running_loop().create_future()
        sequence = engine.proposals.add(command, deadline_s=deadline_s, answer=answer)
        if not engine.node.is_gathering:
            engine.turns.wake()
        try:
            return await answer
        finally:
            if answer.cancelled():
                engine.proposals.drop(sequence)

    async def barrier(self, *, deadline_s: float, note: bytes = b"") -> bytes:
        """Return once everything acknowledged before this call is applied here; see `ReplicatedLog`."""
        engine = self._working()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        request = engine.reads.add(note=note, deadline_s=deadline_s, answer=answer)
        engine.turns.wake()
        try:
            return await answer
        finally:
            if answer.cancelled():
                engine.reads.drop(request, answer)

    async def wait_for_leader(self, *, deadline_s: float) -> bool:
        """Return whether a leader is known, waiting up to `deadline_s` seconds for one."""
        engine = self._working()
        ends_s = self._clock.monotonic_s() + deadline_s
        while engine.leader is None and not engine.is_stopping:
            left_s = ends_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            await engine.leader_moves(left_s)
        return engine.leader is not None

    async def transfer_leadership(self, *, deadline_s: float, target: int | None = None) -> bool:
        """Hand over leadership and return whether another member leads now.

        Without a `target`, to the connected member that has most of the log. Repeated until the deadline.
        """
        engine = self._working()
        member = self._settings.identity.member
        ends_s = self._clock.monotonic_s() + deadline_s
        while engine.leader in (None, member) and not engine.is_stopping:
            left_s = ends_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            if engine.leader == member and not engine.hand_over_leadership(target):
                break
            await engine.leader_moves(min(left_s, self._settings.timing.election_s))
        return engine.leader not in (None, member)

    def payload(self, index: int) -> bytes:
        """Return the command bytes of a log entry that is applied and still live.

        Raises:
            KeyError: the entry is no longer stored.
        """
        engine = self._working()
        if not engine.journal.first <= index <= engine.node.applied_index:
            raise KeyError(index)
        entry: Entry | None = None
        with self._edge:  # what cannot be read is damaged
            entry = engine.journal.entry(index)
        if entry is None or entry.kind != COMMAND:
            raise KeyError(index)
        return entry.payload

    def status(self) -> ReplicationStatus:
        """Return this member's own view, at once."""
        member = self._settings.identity.member
        if self._engine is None:
            return ReplicationStatus(
                member, "follower", term=0, leader=None, ready=False, quorum_confirmed=False,
                commit_index=0, applied_index=0, first_index=0, last_index=0,
                pending_proposals=0, peers=(),
            )  # fmt: skip
        node, journal = self._engine.node, self._engine.journal
        return ReplicationStatus(
            member=member,
            role=node.role,
            term=node.term,
            leader=node.leader,
            ready=node.ready,
            quorum_confirmed=node.quorum_confirmed,
            commit_index=node.commit_index,
            applied_index=node.applied_index,
            first_index=journal.first,
            last_index=journal.last,
            pending_proposals=len(self._engine.proposals),
            peers=self._engine.peers(),
        )

    def full_disk_member(self) -> int | None:
        """Return the member whose full disk is why publishes must be refused; None: they may go on (Z-5)."""
        engine = self._engine
        return None if engine is None else engine.pressure.blocking_member(engine.leader)

    # --- for metrics and the composition root ---
    @property
    def machine(self) -> StateMachine:
        """The current state; a checkpoint of the leader replaces the object, so do not keep it."""
        return StateMachine() if self._engine is None else self._engine.state.machine

    @property
    def peer_port(self) -> int:
        """Return the port that peers connect to."""
        return self._working().transport.port

    @property
    def disk_free_bytes(self) -> int:
        """Return the free space of the disk, as measured last."""
        return 0 if self._engine is None else self._engine.disk.free_bytes

    @property
    def log_bytes(self) -> int:
        """Return the bytes of the stored log."""
        return 0 if self._engine is None else self._engine.journal.log_bytes

    @property
    def log_live_bytes(self) -> int:
        """Return the bytes of the bodies that queues still hold; the rest of the log is history and framing."""
        bodies = sum(queue.bytes for queue in self.machine.queue_stats())
        return min(bodies, self.log_bytes)  # a message in several queues is stored once
