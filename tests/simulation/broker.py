"""The product's own layers above the node: state machine, proposals, reads and intake of every member (P-9).

Clients publish on any member. A command may get into the log several times, because proposals are repeated over leader
changes and broken connections; it must be applied once, and its caller gets exactly one answer, which must be true.
"""

import random
import struct
from collections.abc import Callable
from functools import partial
from typing import cast

from sybline.errors import NotApplied, SyblineError
from sybline.replication.configuration import Change
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.intake import Intake
from sybline.replication.log_time import LogTime
from sybline.replication.machine_state import MachineState
from sybline.replication.measures import Counters, NoObserver
from sybline.replication.peer_calls import PeerCalls, send_refusal
from sybline.replication.pressure import Pressure
from sybline.replication.proposals import Proposals
from sybline.replication.reads import Reads
from sybline.state_machine.commands import (
    AnyCommand,
    BootstrapAdmin,
    Caller,
    DeclareQueue,
    OpenSession,
)
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.replies import AnyReply, Enqueued, Reason, Refused
from tests.simulation.history import History, Read, Write
from tests.simulation.host import Host, OpenEdge
from tests.simulation.questions import Questions
from tests.simulation.violation import Violation
from tests.simulation.watched import WatchedNode
from tests.simulation.wire import Wire
from tests.support.replicas import FOR_EVER_MS, PASSWORD, batch, consumer_named

QUEUE, USER = "orders", "root"
TOKEN = bytes(32)
CALLER = Caller(USER, consumer_named(USER))
_NUMBER = struct.Struct("<QQ")
DEADLINE_S = (0.5, 6.0)
READ_RATE = 0.4
LEAVE_RATE = 0.05  # of callers that do not wait for the answer


class _Answer:
    """A caller's future: exactly one outcome, told to the history."""

    def __init__(self, resolve: Callable[[object], None]) -> None:
        self._resolve = resolve
        self._outcomes = 0

    def done(self) -> bool:
        return self._outcomes > 0

    def set_result(self, result: object, /) -> None:
        self._end(result)

    def set_exception(self, exception: SyblineError, /) -> None:
        self._end(exception)

    def _end(self, outcome: object) -> None:
        self._outcomes += 1
        if self._outcomes > 1:
            raise Violation("answered twice", repr(outcome))
        self._resolve(outcome)


class BrokerClients:
    """The clients of one member in one life of its process, and what serves them; an Application."""

    def __init__(self, host: Host, history: History) -> None:
        self._host = host
        self._history = history
        self._counters = Counters()
        self.state = MachineState(
            factory=StateMachine, replied=self._replied, counters=self._counters
        )
        self._open: dict[int, Write] = {}  # by sequence

    def started(self, node: WatchedNode) -> None:
        host, wire = self._host, Wire(self._host)
        self._node = node
        host.check_bodies(self.state)
        self._log_time = LogTime(host.clock)
        self._log_time.follow(self.state.machine.now_ms)
        self._is_stamped = False
        self._intake = Intake(
            append=node.propose, stamp_ms=self._log_time.stamp_ms,
            refuse=partial(send_refusal, wire), counters=self._counters,
        )  # fmt: skip
        self._proposals = Proposals(
            origin=1 + host.rng.getrandbits(62), now_s=host.clock.monotonic_s,
            send=lambda sequence, payload: self._calls.hand_over(sequence, payload),
            observer=NoObserver(),
        )  # fmt: skip
        self._reads = Reads(
            now_s=host.clock.monotonic_s, ask=lambda number, note: self._calls.ask(number, note),
            applied_index=lambda: node.applied_index, first_request=host.rng.getrandbits(62),
        )  # fmt: skip
        self._questions = Questions(host, node, lambda: self._calls.leader)
        self._calls = PeerCalls(
            node=node, wire=wire, intake=self._intake, proposals=self._proposals, reads=self._reads,
            pressure=Pressure(frozenset()), leader_calls=self._questions, counters=self._counters,
            on_note=lambda note: note, edge=cast(FailStopEdge, OpenEdge()), wake=host.wake,
        )  # fmt: skip

    def stopped(self) -> None:
        for write in self._open.values():
            self._history.leaves_unknown(write)
        self._open = {}

    # ------------------------------------------------------------------ clients

    def ask(self, rng: random.Random) -> None:
        if rng.random() < READ_RATE:
            self._read(rng)
        command = self._missing()
        if command is not None:
            self._propose(command, rng)
            return
        for _ in range(rng.choice((1, 1, 2, 5))):
            self._propose(batch(CALLER, (QUEUE, bytes(rng.choice((0, 10, 200))))), rng)

    def change_members(
        self, change: Change, version: int, *, force: bool, done: Callable[[object], None]
    ) -> None:
        self._questions.ask_leader(change, version, force=force, done=done)

    def _missing(self) -> AnyCommand | None:
        """Return what must be done before anybody can publish."""
        machine = self.state.machine
        credential = machine.credential(USER)
        if credential is None:
            return BootstrapAdmin(USER, PASSWORD)
        if machine.caller_of(TOKEN, USER) is None:
            return OpenSession(USER, credential.epoch, TOKEN, CALLER.consumer, FOR_EVER_MS)
        if machine.queue(QUEUE) is None:
            return DeclareQueue(CALLER, QUEUE, QUEUE, 1_000_000, 3, False)
        return None

    def _propose(self, command: AnyCommand, rng: random.Random) -> None:
        write: Write | None = None
        early: list[object] = []

        def resolve(outcome: object) -> None:
            if write is None:
                early.append(outcome)  # within `add`
            else:
                self._resolved(write, outcome)

        try:
            sequence = self._proposals.add(
                command, deadline_s=rng.uniform(*DEADLINE_S), answer=_Answer(resolve)
            )
        except NotApplied:
            self._history.totals["not taken"] += 1
            return
        write = self._history.proposes(_NUMBER.pack(self._proposals.origin, sequence))
        self._open[sequence] = write
        for outcome in early:
            self._resolved(write, outcome)
        if rng.random() < LEAVE_RATE and sequence in self._open:
            self._proposals.drop(sequence)
            self._history.leaves_unknown(self._open.pop(sequence))

    def _resolved(self, write: Write, outcome: object) -> None:
        del self._open[_NUMBER.unpack(write.tag)[1]]
        if isinstance(outcome, NotApplied):
            self._history.refuses(write)
        elif isinstance(outcome, SyblineError):
            self._history.leaves_unknown(write)
        else:
            self._history.acknowledges(write)

    def _read(self, rng: random.Random) -> None:
        read = self._history.reads()
        answer = _Answer(partial(self._read_done, read))
        try:
            self._reads.add(note=b"", deadline_s=rng.uniform(*DEADLINE_S), answer=answer)
        except NotApplied as error:
            self._read_done(read, error)

    def _read_done(self, read: Read, outcome: object) -> None:
        index = None if isinstance(outcome, SyblineError) else self._node.applied_index
        self._history.read_done(self._host.member, read, index)

    # ------------------------------------------------------------------ what happens below

    def _replied(self, origin: int, sequence: int, reply: AnyReply) -> None:
        tag, index = _NUMBER.pack(origin, sequence), self.state.applying_index
        assert index is not None
        self._history.applied(self._host.member, index, tag)
        forgotten = isinstance(reply, Refused) and reply.reason is Reason.REPLY_FORGOTTEN
        self._history.replied(tag, reply, forgotten=forgotten)
        self._is_stamped = True
        if origin == self._proposals.origin:
            self._proposals.applied(sequence, reply)
        else:
            self._intake.applied(origin, sequence)

    def leader_changed(self, leader: int | None, term: int) -> None:
        self._intake.reset()
        self._calls.leader_changed(leader)

    def applied(self, index: int) -> None:
        if self._is_stamped and self._calls.leader != self._node.member:
            self._log_time.follow(self.state.machine.now_ms)
        self._is_stamped = False
        self._reads.applied(index)

    def installed(self) -> None:
        self._history.totals["installs"] += 1
        self._is_stamped = True
        self._proposals.restored(self.state.machine.reply_to)
        self.applied(self._node.applied_index)

    def checkpointed(self, index: int) -> None:
        self._history.totals["checkpoints"] += 1

    def membership_changed(self) -> None:
        self._host.members_changed()

    def begin_turn(self, now_s: float) -> None:
        self._calls.begin_turn(now_s)

    @property
    def next_event_s(self) -> float:
        return min(self._proposals.next_event_s, self._reads.next_event_s)

    def connected(self, peer: int) -> None:
        self._calls.connected(peer)

    def disconnected(self, peer: int) -> None:
        self._calls.disconnected(peer)

    def frame(self, peer: int, kind: int, body: bytes) -> None:
        self._calls.frame(peer, kind, body)

    # ------------------------------------------------------------------ the end

    @property
    def is_quiet(self) -> bool:
        return not len(self._proposals) and not len(self._reads)

    def check_settled(self) -> None:
        machine = self.state.machine
        machine.check_invariants()
        self._host.check_bodies(self.state)
        self._history.same_state(self._host.member, self._node.applied_index, machine.dump())
        stored = sum(isinstance(reply, Enqueued) for reply in self._history.replies())
        stats = machine.queue(QUEUE)
        if stats is not None and stats.ready != stored:
            raise Violation("queue", f"{stats.ready} messages of {stored} publishes")
