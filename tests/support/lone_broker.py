"""One member that is a cluster by itself, on a simulated disk: the product's node, state machine and journal.

Everything happens within `apply`: syncs, checkpoints, and the work on cold files.
"""

import random

from sybline.api.bodies import EntryBodies
from sybline.replication import codec
from sybline.replication.configuration import static_configuration
from sybline.replication.journal import Journal, JournalOptions
from sybline.replication.machine_state import MachineState
from sybline.replication.measures import Counters
from sybline.replication.node import CheckpointDistance, RaftNode
from sybline.replication.timing import Timing
from sybline.state_machine.commands import (
    AnyCommand,
    BootstrapAdmin,
    Caller,
    Checkout,
    DeclareQueue,
    Enqueue,
    OpenSession,
    Settle,
)
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.replies import AnyReply, Enqueued
from tests.simulation.disk import SimulatedDisk
from tests.support.journal_model import ROOT
from tests.support.manual_clock import ManualClock
from tests.support.replicas import (
    FOR_EVER_MS,
    PASSWORD,
    batch,
    consumer_named,
    positions_of,
    ranges_of,
    token_named,
)

QUEUE = "orders"
PER_ENTRY = 1 << 20
CALLER = Caller("root", consumer_named("root"))


class _Silent:
    """A listener that hears nothing."""

    def leader_changed(self, leader: int | None, term: int) -> None: ...

    def applied(self, index: int) -> None: ...

    def installed(self) -> None: ...

    def checkpointed(self, index: int) -> None: ...

    def membership_changed(self) -> None: ...


class LoneBroker:
    """See the module."""

    def __init__(
        self, disk: SimulatedDisk, options: JournalOptions, *, checkpoint_entries: int = 20
    ) -> None:
        self.disk = disk
        self.options = options
        self.clock = ManualClock()
        self._distance = CheckpointDistance(entries=checkpoint_entries)
        self._sequence = 0
        self._replies: dict[int, AnyReply] = {}
        self.open()
        if self.state.machine.queue(QUEUE) is None:
            self.apply(BootstrapAdmin("root", PASSWORD))
            credential = self.state.machine.credential("root")
            assert credential is not None
            token = token_named("root")
            self.apply(
                OpenSession("root", credential.epoch, token, CALLER.consumer, FOR_EVER_MS, b"")
            )
            self.apply(DeclareQueue(CALLER, QUEUE, QUEUE, 1_000_000, -1, False))

    def open(self) -> None:
        """Start the process."""
        self.journal = Journal.open(
            ROOT, cluster_id="test", member=1, first=static_configuration((1,)),
            files=self.disk, options=self.options,
        )  # fmt: skip
        self.state = MachineState(factory=StateMachine, replied=self._replied, counters=Counters())
        self.node = RaftNode(
            member=1, journal=self.journal, state=self.state, send=lambda *_: None,
            clock=self.clock, rng=random.Random(1), timing=Timing(), listener=_Silent(),
            checkpoint=self._distance,
        )  # fmt: skip
        for _ in range(100):
            self.turn()
            if self.node.is_ready_leader and self.journal.cluster_uid:
                return
        raise AssertionError("it does not lead")

    def restart(self, *, power: bool = False) -> None:
        """End the process and start it again."""
        self.disk.crash(power=power)
        self.open()

    def turn(self, count: int = 1) -> None:
        """Let a while pass, several times."""
        for _ in range(count):
            self.clock.now_s += 0.2
            self.node.tick()

    def _replied(self, _origin: int, sequence: int, reply: AnyReply) -> None:
        self._replies[sequence] = reply

    def apply(self, command: AnyCommand) -> AnyReply:
        """Have a command committed and applied, and return the reply."""
        self._sequence += 1
        request = codec.encode_request(0, self._sequence, 0, command)
        payload = codec.stamp(request, round(self.clock.monotonic_s() * 1000))
        self.node.propose(payload, lambda _overload: None)
        for _ in range(10):
            self.turn()
            if self._sequence in self._replies:
                return self._replies.pop(self._sequence)
        raise AssertionError("not applied")

    # --- messages ---
    def publish(self, *bodies: bytes) -> list[int]:
        """Publish one batch and return the positions."""
        reply = self.apply(batch(CALLER, *((QUEUE, body) for body in bodies)))
        assert isinstance(reply, Enqueued), reply
        return [reply.index * PER_ENTRY + number for number in range(len(bodies))]

    def fetch(self, amount: int) -> list[int]:
        """Lease messages and return their positions."""
        return positions_of(self.apply(Checkout(CALLER, QUEUE, amount, 1 << 20, 3_600_000)))

    def settle(self, positions: list[int]) -> None:
        """Acknowledge messages."""
        self.apply(Settle(CALLER, QUEUE, ranges_of(positions), True))

    def body(self, position: int) -> bytes | None:
        """Read a body from the disk; None: its entry is gone."""
        entry = self.journal.stored(position // PER_ENTRY)
        if entry is None:
            return None
        command = codec.decode_command(entry.payload)
        assert isinstance(command, Enqueue)
        number, stored = position % PER_ENTRY, EntryBodies(command)
        told = 0
        for run in command.runs:
            told += run.count
            if number < told:
                offset = stored.offset(number)
                return stored.bodies[offset : offset + run.size_bytes]
        return None
