"""Waiters of proposals: one outcome each, definite or unknown, never none."""

import pytest

from sybline import limits
from sybline.errors import (
    DeadlinePassed,
    NoLeader,
    NotProposed,
    OutcomeUnknown,
    Overloaded,
)
from sybline.replication.codec import decode_header
from sybline.replication.measures import NoObserver
from sybline.replication.proposals import REFUSED_RETRY_S, Proposals
from sybline.state_machine.commands import Caller, Enqueue, Tick
from sybline.state_machine.replies import AnyReply, Done, Enqueued
from tests.support.recorder import Recorder

ORIGIN = 77


class Bench:
    """Proposals with a clock and a wire in the test's hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sent: list[tuple[int, bytes]] = []
        self.wire_is_up = True
        self.proposals = Proposals(
            origin=ORIGIN, now_s=lambda: self.now_s, send=self._send, observer=NoObserver()
        )

    def _send(self, sequence: int, payload: bytes) -> bool:
        if self.wire_is_up:
            self.sent.append((sequence, payload))
        return self.wire_is_up

    def add(self, *, deadline_s: float = 30.0) -> tuple[int, Recorder]:
        answer = Recorder()
        return self.proposals.add(Tick(), deadline_s=deadline_s, answer=answer), answer

    def open_route(self) -> None:
        self.proposals.route_changed(is_open=True)

    def close_route(self) -> None:
        self.proposals.route_changed(is_open=False)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.proposals.poll(self.now_s)

    def sequences_sent(self) -> list[int]:
        return [sequence for sequence, _ in self.sent]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_reply_goes_to_the_waiter_of_its_sequence(bench: Bench) -> None:
    bench.open_route()
    added = [bench.add() for _ in range(5)]
    for sequence, _ in reversed(added):
        bench.proposals.applied(sequence, Enqueued(sequence))
    assert [answer.outcome for _, answer in added] == [Enqueued(s) for s, _ in added]
    assert len(bench.proposals) == 0
    assert bench.proposals.pending_bytes == 0


def test_each_command_says_the_smallest_sequence_somebody_waits_for(bench: Bench) -> None:
    bench.open_route()
    first, second, third = (bench.add()[0] for _ in range(3))
    bench.proposals.applied(second, Done())
    bench.proposals.applied(first, Done())
    bench.add()
    bench.proposals.drop(third)
    last, _ = bench.add()
    bench.proposals.applied(last - 1, Done())
    bench.proposals.applied(last, Done())
    alone, _ = bench.add()
    headers = [decode_header(payload) for _, payload in bench.sent]
    assert [h.sequence for h in headers] == [1, 2, 3, 4, 5, 6]
    assert [h.answered_below for h in headers] == [1, 1, 1, 3, 4, alone]
    assert {h.origin for h in headers} == {ORIGIN}


def test_without_a_leader_a_caller_is_told_so_after_five_seconds(bench: Bench) -> None:
    _, answer = bench.add(deadline_s=30)
    bench.pass_time(limits.LEADER_WAIT_S - 0.01)
    assert answer.outcome is None
    bench.pass_time(0.02)
    assert isinstance(answer.outcome, NoLeader)
    assert bench.sent == []


def test_without_a_leader_a_shorter_deadline_counts(bench: Bench) -> None:
    _, answer = bench.add(deadline_s=0.5)
    bench.pass_time(0.51)
    assert isinstance(answer.outcome, NoLeader)


def test_what_waits_for_a_leader_is_handed_over_in_order_when_there_is_one(bench: Bench) -> None:
    sequences = [bench.add()[0] for _ in range(3)]
    assert bench.sent == []
    bench.open_route()
    assert bench.sequences_sent() == sequences


def test_after_a_leader_change_the_same_bytes_go_to_the_new_one(bench: Bench) -> None:
    bench.open_route()
    sequence, answer = bench.add()
    bench.close_route()
    bench.pass_time(3)
    bench.open_route()
    assert bench.sequences_sent() == [sequence, sequence]
    assert bench.sent[0] == bench.sent[1]
    bench.proposals.applied(sequence, Done())
    bench.proposals.applied(sequence, Done())  # the repeat comes out of the log too
    assert answer.outcome == Done()


def test_once_handed_over_the_outcome_at_the_deadline_is_unknown(bench: Bench) -> None:
    bench.open_route()
    _, answer = bench.add(deadline_s=8)
    bench.close_route()
    bench.pass_time(7.9)
    assert answer.outcome is None  # not NoLeader after 5 s: it may be in a log
    bench.pass_time(0.2)
    assert isinstance(answer.outcome, DeadlinePassed)


def test_a_refused_proposal_is_offered_again_and_may_still_succeed(bench: Bench) -> None:
    bench.open_route()
    sequence, answer = bench.add()
    bench.proposals.refused(sequence, overloaded=False)
    bench.pass_time(REFUSED_RETRY_S + 0.001)
    assert bench.sequences_sent() == [sequence, sequence]
    bench.proposals.applied(sequence, Done())
    assert answer.outcome == Done()


def test_what_was_only_ever_refused_is_definitely_not_applied(bench: Bench) -> None:
    bench.open_route()
    sequence, answer = bench.add(deadline_s=30)
    for _ in range(400):
        if answer.done():
            break
        bench.proposals.refused(sequence, overloaded=False)
        bench.pass_time(REFUSED_RETRY_S + 0.001)
        if not answer.done() and bench.sequences_sent()[-1] == sequence:
            continue
    bench.proposals.refused(sequence, overloaded=False)
    bench.pass_time(limits.LEADER_WAIT_S)
    assert isinstance(answer.outcome, NoLeader)


def test_a_refusal_does_not_make_an_earlier_unknown_hand_over_definite(bench: Bench) -> None:
    bench.open_route()
    sequence, answer = bench.add(deadline_s=10)
    bench.close_route()
    bench.open_route()  # the second hand-over; the first may be in the old leader's log
    bench.proposals.refused(sequence, overloaded=True)
    assert answer.outcome is None
    bench.close_route()
    bench.pass_time(10.1)
    assert isinstance(answer.outcome, DeadlinePassed)


def test_an_overloaded_leader_is_reported_at_once(bench: Bench) -> None:
    bench.open_route()
    sequence, answer = bench.add()
    bench.proposals.refused(sequence, overloaded=True)
    assert isinstance(answer.outcome, Overloaded)
    assert len(bench.proposals) == 0


def test_the_bound_on_pending_bytes_refuses_at_once_and_frees_again(bench: Bench) -> None:
    command = Enqueue(Caller("u", b"c" * 16), ("k",), (), b"x" * (4 * limits.MIB))
    for _ in range(15):
        bench.proposals.add(command, deadline_s=30, answer=Recorder())
    with pytest.raises(Overloaded):
        bench.proposals.add(command, deadline_s=30, answer=Recorder())
    assert 0 < bench.proposals.pending_bytes <= limits.PENDING_PROPOSAL_BYTES_MAX
    bench.proposals.drop(1)
    bench.proposals.add(command, deadline_s=30, answer=Recorder())


def test_a_deadline_that_has_passed_is_not_proposed(bench: Bench) -> None:
    bench.open_route()
    with pytest.raises(NotProposed):
        bench.add(deadline_s=0)
    assert bench.sent == []


def test_a_caller_that_leaves_leaves_nothing_behind(bench: Bench) -> None:
    bench.open_route()
    sequence, answer = bench.add()
    bench.proposals.drop(sequence)
    bench.proposals.applied(sequence, Done())
    bench.pass_time(60)
    assert answer.outcome is None
    assert (len(bench.proposals), bench.proposals.pending_bytes) == (0, 0)


def test_replies_of_a_restored_state_reach_their_waiters(bench: Bench) -> None:
    bench.open_route()
    (applied, answered), (other, waiting) = bench.add(), bench.add()
    replies: dict[tuple[int, int], AnyReply] = {(ORIGIN, applied): Enqueued(9)}
    bench.proposals.restored(lambda origin, sequence: replies.get((origin, sequence)))
    assert answered.outcome == Enqueued(9)
    assert waiting.outcome is None
    bench.proposals.applied(other, Done())
    assert waiting.outcome == Done()


def test_a_wire_that_takes_nothing_leaves_the_outcome_definite(bench: Bench) -> None:
    bench.wire_is_up = False
    bench.open_route()
    _, answer = bench.add(deadline_s=2)
    bench.pass_time(2.1)
    assert isinstance(answer.outcome, NoLeader)


def test_stopping_answers_everybody_and_takes_nothing_more(bench: Bench) -> None:
    _, unsent = bench.add()
    bench.proposals.stop()
    assert isinstance(unsent.outcome, NotProposed)
    with pytest.raises(NotProposed):
        bench.add()


def test_stopping_with_a_command_on_its_way_is_an_unknown_outcome(bench: Bench) -> None:
    bench.open_route()
    _, sent = bench.add()
    bench.proposals.stop()
    assert isinstance(sent.outcome, OutcomeUnknown)


def test_poll_asks_to_be_called_at_the_next_event(bench: Bench) -> None:
    bench.open_route()
    assert bench.proposals.poll(bench.now_s) == float("inf")
    bench.add(deadline_s=7)
    assert bench.proposals.poll(bench.now_s) == bench.now_s + 7
    sequence, _ = bench.add(deadline_s=20)
    bench.proposals.refused(sequence, overloaded=False)
    assert bench.proposals.poll(bench.now_s) == bench.now_s + REFUSED_RETRY_S
