"""What members ask of each other besides Raft: take my command, confirm a read, what are you short of.

Owns the way to the leader as this member sees it, and the leader's side of other members' reads. It gets every frame of
the transport and passes Raft's on to the node.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

from sybline import limits
from sybline.replication.codec import UnknownFormat
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.intake import Intake
from sybline.replication.leader_calls import LeaderCalls
from sybline.replication.log import NoteHook
from sybline.replication.measures import Counters
from sybline.replication.messages import (
    BadFrame,
    LeaderAnswer,
    LeaderCall,
    Message,
    Propose,
    ProposeRefused,
    ReadIndexReply,
    ReadIndexRequest,
    ShortageReport,
    decode,
    encode,
)
from sybline.replication.node import RaftNode
from sybline.replication.pressure import Pressure, Resource
from sybline.replication.proposals import Proposals
from sybline.replication.reads import Reads


class Wire(Protocol):
    """The part of the transport that sends."""

    def send(self, peer: int, kind: int, body: bytes) -> bool: ...

    def is_connected(self, peer: int) -> bool: ...

    def unsent_bytes(self, peer: int) -> int: ...


def send_message(wire: Wire, peer: int, message: Message) -> bool:
    """Queue a message for a peer and return whether there is a connection to take it."""
    return wire.is_connected(peer) and wire.send(peer, *encode(message))


def send_refusal(wire: Wire, peer: int, origin: int, sequence: int, overloaded: bool) -> None:
    """Tell a peer that its command was definitely not appended."""
    send_message(wire, peer, ProposeRefused(origin, sequence, overloaded))


def _short_of(report: ShortageReport) -> frozenset[Resource]:
    told = ((Resource.DISK, report.disk), (Resource.MEMORY, report.memory))
    return frozenset(resource for resource, is_short in told if is_short)


class PeerCalls:
    """The receiver of the transport; see the module."""

    def __init__(  # noqa: PLR0913 - it stands between all of these
        self,
        *,
        node: RaftNode,
        wire: Wire,
        intake: Intake,
        proposals: Proposals,
        reads: Reads,
        pressure: Pressure,
        leader_calls: LeaderCalls,
        counters: Counters,
        on_note: NoteHook,
        edge: FailStopEdge,
        wake: Callable[[], None],
    ) -> None:
        """`wake` asks for a turn, which must call `begin_turn` before the node's tick."""
        self._node = node
        self._wire = wire
        self._intake = intake
        self._proposals = proposals
        self._reads = reads
        self._pressure = pressure
        self._leader_calls = leader_calls
        self._counters = counters
        self._on_note = on_note
        self._edge = edge
        self._wake = wake
        self._leader: int | None = None
        self._route_moved = False  # the leader or the connection to it is another one
        self._confirming: Counter[int] = Counter()  # reads of each peer in hand here

    @property
    def leader(self) -> int | None:
        """Return who takes proposals, as far as this member knows."""
        return self._leader

    # --- the way to the leader ---
    def leader_changed(self, leader: int | None) -> None:
        """Another member takes proposals from now on, or nobody; acted on in the next turn."""
        self._leader = leader
        self._move_route()

    def begin_turn(self, now_s: float) -> None:
        """Hand over what is due, so that it takes part in this turn's tick."""
        if self._route_moved:
            self._route_moved = False
            is_open = self._leader == self._node.member or (
                self._leader is not None and self._wire.is_connected(self._leader)
            )
            self._proposals.route_changed(is_open=is_open)
            self._reads.route_changed(is_open=is_open)
        self._proposals.poll(now_s)
        self._reads.poll(now_s)
        self._reads.flush()

    def hand_over(self, sequence: int, payload: bytes) -> bool:
        """Give a command of this member to the leader; False: there is no way, or it is jammed."""
        leader = self._leader
        if leader == self._node.member:
            self._intake.propose(payload, partial(self._refused_here, sequence))
            return True
        if leader is None or self._is_jammed(leader, len(payload)):
            return False
        self._counters.forwarded_out += 1
        return send_message(self._wire, leader, Propose(payload))

    def ask(self, request: int, note: bytes) -> bool:
        """Ask the leader for a read index; False: there is no way to it."""
        leader = self._leader
        if leader == self._node.member:
            self._node.read_index(partial(self._confirmed_here, request, note))
            return True
        return leader is not None and send_message(
            self._wire, leader, ReadIndexRequest(request, note)
        )

    def _is_jammed(self, leader: int, size_bytes: int) -> bool:
        """Return whether the leader should read first: the transport would cut it off for too much unsent."""
        unsent_bytes = self._wire.unsent_bytes(leader)
        return unsent_bytes > 0 and unsent_bytes + size_bytes > limits.FORWARD_BUFFER_BYTES_MAX

    def _move_route(self) -> None:
        self._route_moved = True
        self._wake()

    def _refused_here(self, sequence: int, overloaded: bool) -> None:
        self._counters.proposals_refused += 1
        self._proposals.refused(sequence, overloaded=overloaded)

    def _confirmed_here(self, request: int, note: bytes, index: int | None) -> None:
        self._reads.answered(request, index, self._answer(note, index))

    def _answer(self, note: bytes, index: int | None) -> bytes:
        """Return the hook's answer: only a confirmed leader's knowledge counts."""
        return self._on_note(note) if note and index is not None else b""

    # --- what the transport tells (transport.Receiver) ---
    def connected(self, peer: int) -> None:
        """A peer is there."""
        with self._edge:
            self._node.peer_connected(peer)
            self._peer_moved(peer)

    def disconnected(self, peer: int) -> None:
        """A peer's connection is gone: what was in flight on it has no answer."""
        with self._edge:
            self._node.peer_disconnected(peer)
            self._leader_calls.disconnected(peer)
            self._peer_moved(peer)

    def _peer_moved(self, peer: int) -> None:
        if peer == self._leader:
            self._move_route()
        self._wake()

    def frame(self, peer: int, kind: int, body: bytes | memoryview) -> None:
        """Take a frame.

        Raises:
            BadFrame: not a message, or a command of a format that must not get into the log.
        """
        if self._edge.is_broken:
            return
        message = decode(kind, body)
        rejected: UnknownFormat | BadFrame | None = None
        is_news = False
        with self._edge:
            try:
                is_news = self._take(peer, message)
            except (UnknownFormat, BadFrame) as error:
                rejected = error
        if rejected is not None:
            raise BadFrame(f"it cannot be read: {rejected}") from rejected
        if is_news:
            self._wake()

    def _take(self, peer: int, message: Message) -> bool:
        """Act on a message and return whether a turn must follow."""
        match message:
            case Propose():
                self._intake.forwarded(peer, message.payload)
                return not self._node.is_gathering
            case ProposeRefused():
                if message.origin == self._proposals.origin:
                    self._proposals.refused(message.sequence, overloaded=message.overloaded)
            case ReadIndexRequest():
                self._confirm_for(peer, message)
            case ReadIndexReply():
                self._reads.answered(message.request, message.index or None, message.answer)
            case LeaderCall():
                self._leader_calls.asked(peer, message)
            case LeaderAnswer():
                self._leader_calls.answered(peer, message)
                return False
            case ShortageReport():
                self._pressure.reported(peer, _short_of(message))
            case _:
                return self._node.receive(peer, message)
        return True

    # --- reads of other members ---
    def _confirm_for(self, peer: int, asked: ReadIndexRequest) -> None:
        if self._confirming[peer] >= limits.FORWARDED_PER_PEER_MAX:
            send_message(self._wire, peer, ReadIndexReply(asked.request, 0, b""))
            return
        self._confirming[peer] += 1
        self._node.read_index(partial(self._confirmed_for, peer, asked))

    def _confirmed_for(self, peer: int, asked: ReadIndexRequest, index: int | None) -> None:
        self._confirming[peer] -= 1
        answer = self._answer(asked.note, index)
        send_message(self._wire, peer, ReadIndexReply(asked.request, index or 0, answer))
