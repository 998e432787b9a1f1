"""Questions to the leader as frames: each gets one answer, or is lost with its connection; nonsense is refused."""

import asyncio

import pytest

from sybline import limits
from sybline.replication.configuration import (
    AddLearner,
    ChangeReason,
    Configuration,
    Promote,
    Remove,
    UpdateAddress,
    static_configuration,
)
from sybline.replication.leader_calls import (
    Answer,
    AnyAnswer,
    AnyCall,
    CallLost,
    ChangeCall,
    ChangeMade,
    ChangeNotMade,
    ChangeUnknown,
    LeaderCalls,
    NotLeading,
    TransferBegun,
    TransferCall,
    View,
    ViewCall,
)
from sybline.replication.log import Membership, MemberView
from sybline.replication.messages import BadFrame, LeaderAnswer, LeaderCall, Message, decode, encode

CONFIGURATION: Configuration = static_configuration((1, 2, 3))
VIEW = Membership(
    CONFIGURATION, committed=True, leader=1, term=7, member=1, removed=False, view_age_s=0.25,
    members=tuple(
        MemberView(info, 9, 1, float("inf"), connected=False) for info in CONFIGURATION.members
    ),
)  # fmt: skip
CALLS: list[AnyCall] = [
    ViewCall(),
    TransferCall(None),
    TransferCall(70_000),
    ChangeCall(AddLearner(70_000, "new", "host:1"), 3, False),
    ChangeCall(Promote(70_000), 4, False),
    ChangeCall(Remove(1), 5, True),
    ChangeCall(UpdateAddress(2, "[::1]:1"), 6, False),
]
ANSWERS: list[AnyAnswer] = [
    ChangeMade(CONFIGURATION),
    ChangeNotMade(ChangeReason.NOT_CAUGHT_UP, "it lacks 5 entries"),
    ChangeUnknown(),
    NotLeading(),
    View(VIEW),
    TransferBegun(True),
]


class Bench:
    """Two members: 1 asks, 2 answers when the test says so. Everything passes through bytes."""

    def __init__(self) -> None:
        self.asked: list[tuple[AnyCall, Answer]] = []
        self.connected = True
        self.one = LeaderCalls(send=self._to_two, serve=self._serve, first_request=100)
        self.two = LeaderCalls(send=self._to_one, serve=self._serve, first_request=900)

    def _serve(self, call: AnyCall, answer: Answer) -> None:
        self.asked.append((call, answer))

    def _to_two(self, _peer: int, message: Message) -> bool:
        if self.connected:
            call = decode(*encode(message))
            assert isinstance(call, LeaderCall)
            self.two.asked(1, call)
        return self.connected

    def _to_one(self, _peer: int, message: Message) -> bool:
        if self.connected:
            answer = decode(*encode(message))
            assert isinstance(answer, LeaderAnswer)
            self.one.answered(2, answer)
        return self.connected


@pytest.mark.parametrize("call", CALLS, ids=repr)
async def test_a_question_arrives_as_it_was_asked(call: AnyCall) -> None:
    bench = Bench()
    assert bench.one.ask(2, call) is not None
    assert [each for each, _ in bench.asked] == [call]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
async def test_an_answer_arrives_as_it_was_given(answer: AnyAnswer) -> None:
    bench = Bench()
    future = bench.one.ask(2, ViewCall())
    assert future is not None
    bench.asked[0][1](answer)
    assert await future == answer


async def test_answers_find_their_questions_in_any_order() -> None:
    bench = Bench()
    futures = [bench.one.ask(2, ViewCall()) for _ in range(3)]
    for number in (2, 0, 1):
        bench.asked[number][1](TransferBegun(number == 1))
    assert [await f for f in futures if f] == [TransferBegun(n == 1) for n in range(3)]


async def test_without_a_connection_nothing_is_asked() -> None:
    bench = Bench()
    bench.connected = False
    assert bench.one.ask(2, ViewCall()) is None
    assert bench.asked == []


async def test_what_was_asked_over_a_connection_is_lost_with_it() -> None:
    bench = Bench()
    future = bench.one.ask(2, ViewCall())
    assert future is not None
    bench.one.disconnected(3)
    assert not future.done()
    bench.one.disconnected(2)
    with pytest.raises(CallLost):
        await future
    bench.asked[0][1](NotLeading())  # too late, and nobody minds


async def test_an_answer_of_somebody_else_counts_for_nothing() -> None:
    bench = Bench()
    future = bench.one.ask(2, ViewCall())
    assert future is not None
    _, body = encode(LeaderAnswer(100, b""))
    good = LeaderAnswer(100, b"\x81\xa4type\xabnot leading")
    bench.one.answered(3, good)
    assert not future.done()
    bench.one.answered(2, good)
    assert await future == NotLeading()
    assert body[:8] == (100).to_bytes(8, "little")


async def test_one_member_has_a_bounded_number_of_questions_in_hand() -> None:
    bench = Bench()
    futures = [bench.one.ask(2, ViewCall()) for _ in range(limits.LEADER_CALLS_PER_PEER_MAX + 1)]
    assert len(bench.asked) == limits.LEADER_CALLS_PER_PEER_MAX
    assert futures[-1] is not None
    assert await futures[-1] == NotLeading()
    bench.asked[0][1](View(VIEW))
    assert bench.one.ask(2, ViewCall()) is not None
    assert len(bench.asked) == limits.LEADER_CALLS_PER_PEER_MAX + 1


async def test_who_stops_waits_no_longer() -> None:
    bench = Bench()
    future = bench.one.ask(2, ViewCall())
    assert future is not None
    bench.one.stop()
    async with asyncio.timeout(5):
        with pytest.raises(CallLost):
            await future


@pytest.mark.parametrize("body", [b"", b"\x80", b"\x81\xa4type\xa3who", b"\xc1", b"x" * 50])
async def test_nonsense_is_a_bad_frame(body: bytes) -> None:
    bench = Bench()
    with pytest.raises(BadFrame):
        bench.two.asked(1, LeaderCall(1, body))
    with pytest.raises(BadFrame):
        bench.one.answered(2, LeaderAnswer(100, body))


def test_an_overlong_question_is_a_bad_frame() -> None:
    kind, body = encode(LeaderCall(1, bytes(limits.LEADER_CALL_BYTES_MAX)))
    with pytest.raises(BadFrame):
        decode(kind, body)


@pytest.mark.parametrize(
    "change",
    [AddLearner(0, "", ""), Promote(1 << 48), AddLearner(5, "x" * 300, ""), UpdateAddress(5, "y" * 300)],
)  # fmt: skip
async def test_numbers_and_texts_out_of_bounds_are_no_change(change: object) -> None:
    bench = Bench()
    call = ChangeCall(change, 1, False)
    with pytest.raises(BadFrame):
        bench.one.ask(2, call)
