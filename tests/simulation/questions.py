"""Changes of the membership asked for on any member: the product's way to the leader and back, but for its futures."""

from collections.abc import Callable
from functools import partial
from typing import cast

from sybline.errors import NoLeader, OutcomeUnknown
from sybline.replication.administration import Administration, Lead
from sybline.replication.configuration import Change, ChangeRefused
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.leader_calls import (
    AnyAnswer,
    CallLost,
    ChangeCall,
    ChangeMade,
    ChangeNotMade,
    LeaderCalls,
    NotLeading,
    _encode,
)
from sybline.replication.messages import LeaderCall
from sybline.replication.peer_calls import send_message
from tests.simulation.host import Host, OpenEdge
from tests.simulation.watched import WatchedNode
from tests.simulation.wire import Wire

Done = Callable[[object], None]


class _Asked:
    """In place of a future: tells at once what came, an answer or the loss of the connection."""

    def __init__(self, done: Done) -> None:
        self._done = done
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, answer: AnyAnswer) -> None:
        self._is_done = True
        self._done(outcome_of(answer))

    def set_exception(self, _lost: CallLost) -> None:
        self._is_done = True
        self._done(OutcomeUnknown("the connection ended"))


def outcome_of(answer: AnyAnswer) -> object:
    """Return the configuration or the error that an answer stands for."""
    match answer:
        case ChangeMade():
            return answer.configuration
        case ChangeNotMade():
            return ChangeRefused(answer.reason, answer.text)
        case NotLeading():
            return NoLeader("it does not lead")
        case _:
            return OutcomeUnknown("it leads no more")


class Questions(LeaderCalls):
    """The questions of one process, and its answers to those of others."""

    def __init__(self, host: Host, node: WatchedNode, leader: Callable[[], int | None]) -> None:
        """`leader`: who takes proposals, as far as known here."""
        self._member = host.member
        self._leader = leader
        self._wake = host.wake
        self._administration = Administration(
            node=node, lead=cast(Lead, self), calls=lambda: self, clock=host.clock,
            edge=cast(FailStopEdge, OpenEdge()), wake=host.wake, patience_s=0.0,
        )  # fmt: skip
        super().__init__(
            send=partial(send_message, Wire(host)), serve=self._administration.serve,
            first_request=host.rng.getrandbits(62),
        )  # fmt: skip

    def ask_leader(self, change: Change, version: int, *, force: bool, done: Done) -> None:
        """Ask whoever leads, as far as this member knows."""
        leader, call = self._leader(), ChangeCall(change, version, force)
        if leader == self._member:
            self._administration.serve(call, lambda answer: done(outcome_of(answer)))
            return
        request = self._next_request
        self._next_request += 1
        if leader is None or not self._send(leader, LeaderCall(request, _encode(call))):
            done(NoLeader("nobody to ask"))
            return
        self._waiting[request] = (leader, _Asked(done))
        self._wake()
