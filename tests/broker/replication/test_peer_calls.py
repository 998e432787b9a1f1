"""Frames of peers, odd ones included: a bad frame costs the connection, never the member, and nothing is half done."""

import struct
from collections.abc import Callable
from functools import partial

import pytest

from sybline import limits
from sybline.replication.codec import encode_request
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.intake import Intake
from sybline.replication.leader_calls import Answer, AnyCall, LeaderCalls
from sybline.replication.measures import Counters, NoObserver
from sybline.replication.messages import (
    NOTE_BYTES_MAX,
    Append,
    BadFrame,
    Message,
    Propose,
    ProposeRefused,
    ReadIndexReply,
    ReadIndexRequest,
    ShortageReport,
    TimeoutNow,
    decode,
    encode,
)
from sybline.replication.peer_calls import PeerCalls, send_message, send_refusal
from sybline.replication.pressure import Pressure, Resource, Shortage
from sybline.replication.proposals import Proposals
from sybline.replication.reads import Reads
from sybline.replication.records import COMMAND, Entry
from sybline.state_machine.commands import Tick
from tests.support.recorder import Recorder

MEMBER, PEER, ORIGIN = 1, 2, 77


class FakeNode:
    """Writes down what it is asked; answers when the test says so."""

    member = MEMBER
    applied_index = 10

    def __init__(self) -> None:
        self.received: list[tuple[int, Message]] = []
        self.appended: list[tuple[bytes, Callable[[bool], None]]] = []
        self.reads: list[Callable[[int | None], None]] = []
        self.links: list[tuple[str, int]] = []
        self.error: BaseException | None = None
        self.is_news = True
        self.is_gathering = False

    def receive(self, peer: int, message: Message) -> bool:
        if self.error is not None:
            raise self.error
        self.received.append((peer, message))
        return self.is_news

    def propose(self, payload: bytes, refused: Callable[[bool], None]) -> None:
        self.appended.append((payload, refused))

    def read_index(self, done: Callable[[int | None], None]) -> None:
        self.reads.append(done)

    def peer_connected(self, peer: int) -> None:
        self.links.append(("connected", peer))

    def peer_disconnected(self, peer: int) -> None:
        self.links.append(("disconnected", peer))


class FakeWire:
    """Takes what is sent to peers that are connected."""

    def __init__(self) -> None:
        self.connected = {PEER, 3}
        self.sent: list[tuple[int, Message]] = []
        self.unsent = 0

    def send(self, peer: int, kind: int, body: bytes) -> bool:
        self.sent.append((peer, decode(kind, body)))
        return True

    def is_connected(self, peer: int) -> bool:
        return peer in self.connected

    def unsent_bytes(self, peer: int) -> int:
        return self.unsent


class Bench:
    def __init__(self) -> None:
        self.now_s = 5.0
        self.node, self.wire, self.counters = FakeNode(), FakeWire(), Counters()
        self.deaths: list[str] = []
        self.wakes = 0
        self.proposals = Proposals(
            origin=ORIGIN,
            now_s=lambda: self.now_s,
            send=lambda sequence, payload: self.calls.hand_over(sequence, payload),
            observer=NoObserver(),
        )
        self.reads = Reads(
            now_s=lambda: self.now_s,
            ask=lambda request, note: self.calls.ask(request, note),
            applied_index=lambda: self.node.applied_index,
            first_request=100,
        )
        self.pressure = Pressure(frozenset({1, 2, 3}))
        self.intake = Intake(
            append=self.node.propose,
            stamp_ms=lambda: 1,
            refuse=lambda *refusal: send_refusal(self.wire, *refusal),
            counters=self.counters,
        )
        self.asked: list[tuple[AnyCall, Answer]] = []
        self.leader_calls = LeaderCalls(
            send=partial(send_message, self.wire),
            serve=lambda call, answer: self.asked.append((call, answer)),
            first_request=500,
        )
        self.calls = PeerCalls(
            node=self.node,
            wire=self.wire,
            intake=self.intake,
            proposals=self.proposals,
            leader_calls=self.leader_calls,
            reads=self.reads,
            pressure=self.pressure,
            counters=self.counters,
            on_note=lambda note: b"to " + note,
            edge=FailStopEdge(self.deaths.append),
            wake=self._wake,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def lead(self, leader: int | None) -> None:
        self.calls.leader_changed(leader)
        self.turn()

    def turn(self, *, after_s: float = 0.0) -> None:
        self.now_s += after_s
        self.calls.begin_turn(self.now_s)

    def frame(self, message: Message, *, peer: int = PEER) -> None:
        self.calls.frame(peer, *encode(message))

    def propose(self) -> Recorder:
        answer = Recorder()
        self.proposals.add(Tick(), deadline_s=30, answer=answer)
        return answer

    def read(self, note: bytes = b"") -> Recorder:
        answer = Recorder()
        self.reads.add(note=note, deadline_s=30, answer=answer)
        self.turn()
        return answer


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- odd frames ---
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (4, b""),
        (48, b"\1"),  # no kind of this version
        (255, b"x" * 100),
        (20, b"short"),
        (32, b""),  # a command without a header
        (32, b"\7" * 64),  # of another version
        (32, encode_request(ORIGIN, 1, 0, Tick()) + b"more"),
        (33, b"\0" * 16),
        (34, b"\0" * 7),
        (34, b"\0" * (8 + NOTE_BYTES_MAX + 1)),
        (35, b"\0" * 15),
        (36, b""),
        (36, b"\1\1\1"),
    ],
)
def test_a_frame_that_is_no_message_is_refused_and_changes_nothing(
    bench: Bench, kind: int, body: bytes
) -> None:
    with pytest.raises(BadFrame):
        bench.calls.frame(PEER, kind, body)
    assert bench.node.received == []
    assert bench.node.appended == []
    assert bench.node.reads == []
    assert bench.pressure.shortage(PEER) is None
    assert bench.deaths == []


def test_entries_with_falling_terms_never_reach_the_node(bench: Bench) -> None:
    entries = (Entry(1, 3, COMMAND, b""), Entry(2, 2, COMMAND, b""))
    with pytest.raises(BadFrame):
        bench.frame(Append(3, 0, 0, 0, 1, entries))
    kind, body = encode(Append(3, 0, 0, 0, 1, entries[:1]))
    for cut in range(len(body)):
        with pytest.raises(BadFrame):
            bench.calls.frame(PEER, kind, body[:cut])
    with pytest.raises(BadFrame):
        bench.calls.frame(PEER, kind, body + struct.pack("<B", 0))
    assert bench.node.received == []


def test_messages_of_raft_go_to_the_node_and_a_turn_follows(bench: Bench) -> None:
    bench.frame(TimeoutNow(4), peer=3)
    assert bench.node.received == [(3, TimeoutNow(4))]
    assert bench.wakes == 1


def test_what_a_message_breaks_ends_the_member_and_later_frames_are_ignored(bench: Bench) -> None:
    bench.node.error = RuntimeError("a broken invariant")
    bench.frame(TimeoutNow(4))
    assert len(bench.deaths) == 1
    bench.node.error = None
    bench.frame(TimeoutNow(4))
    assert bench.node.received == []


def test_what_peers_report_to_be_short_of_is_believed(bench: Bench) -> None:
    bench.frame(ShortageReport(disk=True, memory=False), peer=PEER)
    assert bench.pressure.shortage(PEER) == Shortage(PEER, Resource.DISK)
    bench.frame(ShortageReport(disk=False, memory=True), peer=PEER)
    assert bench.pressure.shortage(PEER) == Shortage(PEER, Resource.MEMORY)
    bench.frame(ShortageReport(disk=False, memory=False), peer=PEER)
    assert bench.pressure.shortage(PEER) is None


# --- commands ---
def test_a_leader_proposes_to_itself(bench: Bench) -> None:
    bench.lead(MEMBER)
    answer = bench.propose()
    ((_, refused),) = bench.node.appended
    refused(True)
    assert answer.done()
    assert bench.counters.proposals_refused == 1
    assert bench.wire.sent == []


def test_a_follower_forwards_and_hears_of_a_refusal(bench: Bench) -> None:
    bench.lead(PEER)
    answer = bench.propose()
    ((peer, message),) = bench.wire.sent
    assert (peer, type(message)) == (PEER, Propose)
    bench.frame(ProposeRefused(ORIGIN + 1, 1, overloaded=True))
    assert not answer.done()  # meant for an earlier process of this member
    bench.frame(ProposeRefused(ORIGIN, 1, overloaded=True))
    assert answer.done()


def test_a_command_that_is_definitely_not_appended_is_refused_to_its_peer(bench: Bench) -> None:
    bench.frame(Propose(encode_request(8, 5, 0, Tick())), peer=3)
    ((_, refused),) = bench.node.appended
    refused(False)
    assert bench.wire.sent == [(3, ProposeRefused(8, 5, overloaded=False))]


def test_a_new_connection_to_the_leader_gets_everything_again(bench: Bench) -> None:
    bench.lead(PEER)
    bench.propose()
    bench.read()
    sent = list(bench.wire.sent)
    assert len(sent) == 2
    bench.calls.disconnected(PEER)
    bench.calls.connected(PEER)
    bench.turn()
    assert bench.wire.sent == sent * 2
    bench.calls.disconnected(3)
    bench.turn()
    assert bench.wire.sent == sent * 2
    assert bench.node.links == [("disconnected", PEER), ("connected", PEER), ("disconnected", 3)]


def test_without_a_connection_to_the_leader_commands_wait(bench: Bench) -> None:
    bench.wire.connected.clear()
    bench.lead(PEER)
    bench.propose()
    bench.turn(after_s=1)
    assert bench.wire.sent == []
    bench.wire.connected.add(PEER)
    bench.calls.connected(PEER)
    bench.turn()
    assert [type(message) for _, message in bench.wire.sent] == [Propose]


def test_commands_wait_for_a_leader_that_reads_slowly_instead_of_cutting_it_off(
    bench: Bench,
) -> None:
    bench.lead(PEER)
    bench.wire.unsent = limits.FORWARD_BUFFER_BYTES_MAX
    bench.propose()
    assert bench.wire.sent == []
    bench.wire.unsent = 0
    bench.turn(after_s=1)
    assert len(bench.wire.sent) == 1


# --- reads ---
def test_a_leader_confirms_its_own_reads_and_answers_its_own_notes(bench: Bench) -> None:
    bench.lead(MEMBER)
    plain, noted = bench.read(), bench.read(b"me")
    for done in bench.node.reads:
        done(10)
    assert (plain.outcome, noted.outcome) == (b"", b"to me")


def test_a_read_of_a_peer_is_answered_once_confirmed(bench: Bench) -> None:
    bench.frame(ReadIndexRequest(7, b"you"))
    bench.frame(ReadIndexRequest(8, b""))
    bench.frame(ReadIndexRequest(9, b"not confirmed"))
    assert bench.wire.sent == []
    for done, index in zip(bench.node.reads, (12, 12, None), strict=True):
        done(index)
    assert [message for _, message in bench.wire.sent] == [
        ReadIndexReply(7, 12, b"to you"),
        ReadIndexReply(8, 12, b""),
        ReadIndexReply(9, 0, b""),
    ]


def test_one_peer_cannot_have_more_than_its_share_of_reads_in_hand(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARDED_PER_PEER_MAX", 3)
    for request in range(4):
        bench.frame(ReadIndexRequest(request, b""))
    assert bench.wire.sent == [(PEER, ReadIndexReply(3, 0, b""))]
    bench.frame(ReadIndexRequest(9, b""), peer=3)
    bench.node.reads[0](12)
    bench.frame(ReadIndexRequest(4, b""))
    assert len(bench.node.reads) == 5


def test_a_follower_waits_until_it_has_applied_what_the_leader_confirmed(bench: Bench) -> None:
    bench.lead(PEER)
    answer = bench.read(b"note")
    ((_, asked),) = bench.wire.sent
    assert asked == ReadIndexRequest(100, b"note")
    bench.frame(ReadIndexReply(99, 11, b"for an earlier process"))
    bench.frame(ReadIndexReply(100, 0, b""))
    assert not answer.done()
    bench.turn(after_s=1)
    bench.frame(ReadIndexReply(100, 11, b"known"))
    assert not answer.done()
    bench.reads.applied(11)
    assert answer.outcome == b"known"
