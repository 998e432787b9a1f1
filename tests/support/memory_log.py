"""A `ReplicatedLog` of one process: the product's state machine and codec, no Raft, no disk.

Stands where a member stands for the API. A test can make it fail like one: no leader, unknown outcome, commands that
wait, a local state that lags behind what the cluster has acknowledged.
"""

import asyncio

from sybline.errors import DeadlinePassed, NotProposed, SyblineError
from sybline.replication import codec
from sybline.replication.log import NoteHook, ReplicationStatus
from sybline.replication.pressure import Shortage
from sybline.state_machine.commands import AnyCommand, Tick
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.meta import Meta
from sybline.state_machine.replies import AnyReply
from tests.support.manual_clock import ManualClock
from tests.support.memory_membership import MemoryMembership

_ORIGIN = 1


class MemoryLog(MemoryMembership):
    """The log of a cluster and the state of one member of it."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.machine = StateMachine()
        self.proposed: list[AnyCommand] = []  # through this member, in order
        self.barriers = 0
        self.notes: list[bytes] = []
        # What a test may change:
        self.error: SyblineError | None = None  # instead of every proposal and barrier
        self.lost_reply: SyblineError | None = None  # instead of the next reply, once it is applied
        self.is_leader = True
        self.has_leader = True
        self.quorum_confirmed = True
        self.short: Shortage | None = None
        self.leaders_answer: NoteHook = lambda _note: b""
        self.released = asyncio.Event()  # proposals wait for it
        self.released.set()
        self._clock = clock
        self._payloads: dict[int, bytes] = {}
        self._last = 0
        self._applied = 0

    # --- the protocol ---
    async def propose(self, command: AnyCommand, *, deadline_s: float) -> AnyReply:
        """Apply the command here, after everything before it."""
        if deadline_s <= 0:
            raise NotProposed("the deadline has passed")
        self.proposed.append(command)
        if self.error is not None:
            raise self.error
        index = self._append(command)
        try:
            async with asyncio.timeout(deadline_s):
                await self.released.wait()
        except TimeoutError as error:
            raise DeadlinePassed("not applied in time") from error
        reply = self._apply_up_to(index)
        assert reply is not None
        if self.lost_reply is not None:
            lost, self.lost_reply = self.lost_reply, None
            raise lost
        return reply

    async def barrier(self, *, deadline_s: float, note: bytes = b"") -> bytes:
        """Apply here what was committed elsewhere."""
        self.barriers += 1
        if note:
            self.notes.append(note)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self._apply_up_to(self._last)
        return self.leaders_answer(note) if note else b""

    async def wait_for_leader(self, *, deadline_s: float) -> bool:
        """Answer at once: time does not bring a leader here."""
        return self.has_leader

    def payload(self, index: int) -> bytes:
        """Return an entry."""
        return self._payloads[index]

    def status(self) -> ReplicationStatus:
        """Return what a member would say."""
        return ReplicationStatus(
            member=1,
            role="leader" if self.is_leader else "follower",
            term=1,
            leader=(1 if self.is_leader else 2) if self.has_leader else None,
            ready=self.has_leader,
            quorum_confirmed=self.is_leader and self.quorum_confirmed,
            commit_index=self._applied,
            applied_index=self._applied,
            first_index=1,
            last_index=self._last,
            pending_proposals=0,
            peers=(),
        )

    def shortage(self) -> Shortage | None:
        """Return what the test said."""
        return self.short

    # --- the rest of the cluster ---
    def commit_elsewhere(self, command: AnyCommand) -> None:
        """Commit a command that is applied here only with the next barrier or proposal."""
        self._append(command)

    def apply(self, command: AnyCommand) -> AnyReply:
        """Commit and apply a command that came another way."""
        reply = self._apply_up_to(self._append(command))
        assert reply is not None
        return reply

    def drop(self, index: int) -> None:
        """Forget an entry, as if nothing needed it any more."""
        del self._payloads[index]

    def advance(self, seconds: float) -> None:
        """Let time pass, and let what is due happen."""
        self._clock.now_s += seconds
        self.apply(Tick())
        for _ in range(100_000):
            due_ms = self.machine.next_due_ms()
            if due_ms is None or due_ms > self.machine.now_ms:
                return
            self.apply(Tick())
        raise AssertionError("ticks without end")

    def _append(self, command: AnyCommand) -> int:
        self._last += 1
        request = codec.encode_request(_ORIGIN, self._last, 0, command)
        self._payloads[self._last] = codec.stamp(request, self._clock.wall_ms())
        return self._last

    def _apply_up_to(self, index: int) -> AnyReply | None:
        reply = None
        while self._applied < index:
            self._applied += 1
            payload = self._payloads[self._applied]
            header = codec.decode_header(payload)
            meta = Meta(self._applied, 1, header.now_ms, header.origin, header.sequence, 0)
            reply = self.machine.apply(meta, codec.decode_command(payload)).reply
        return reply
