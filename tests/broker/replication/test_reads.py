"""Barriers: shared rounds, answers after the own apply, and an error in time."""

import pytest

from sybline import limits
from sybline.errors import NoLeader, Overloaded
from sybline.replication.reads import REFUSED_RETRY_S, Reads
from tests.support.recorder import Recorder


class Bench:
    def __init__(self) -> None:
        self.now_s = 10.0
        self.applied_index = 5
        self.asked: list[tuple[int, bytes]] = []
        self.reads = Reads(
            now_s=lambda: self.now_s,
            ask=self._ask,
            applied_index=lambda: self.applied_index,
            first_request=1_000,
        )
        self.reads.route_changed(is_open=True)

    def _ask(self, number: int, note: bytes) -> bool:
        self.asked.append((number, note))
        return True

    def add(self, note: bytes = b"", *, deadline_s: float = 30.0) -> Recorder:
        answer = Recorder()
        self.reads.add(note=note, deadline_s=deadline_s, answer=answer)
        return answer

    def apply(self, index: int) -> None:
        self.applied_index = index
        self.reads.applied(index)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.reads.poll(self.now_s)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_barriers_of_one_turn_share_a_request(bench: Bench) -> None:
    answers = [bench.add() for _ in range(100)]
    bench.reads.flush()
    assert len(bench.asked) == 1
    bench.reads.answered(bench.asked[0][0], 5, b"")
    assert {answer.outcome for answer in answers} == {b""}
    assert len(bench.reads) == 0


def test_a_barrier_that_comes_after_the_request_left_needs_its_own(bench: Bench) -> None:
    early = bench.add()
    bench.reads.flush()
    late = bench.add()
    bench.reads.flush()
    assert len(bench.asked) == 2
    bench.reads.answered(bench.asked[0][0], 5, b"")
    assert early.done()
    assert not late.done()


def test_a_barrier_returns_only_when_the_index_is_applied_here(bench: Bench) -> None:
    answer = bench.add()
    bench.reads.flush()
    bench.reads.answered(bench.asked[0][0], 7, b"")
    bench.apply(6)
    assert not answer.done()
    bench.apply(8)
    assert answer.outcome == b""


def test_notes_are_not_shared_and_their_answers_come_back(bench: Bench) -> None:
    plain, first, second = bench.add(), bench.add(b"a"), bench.add(b"b")
    bench.reads.flush()
    assert [note for _, note in bench.asked] == [b"", b"a", b"b"]
    for number, note in bench.asked:
        bench.reads.answered(number, 1, note.upper())
    assert (plain.outcome, first.outcome, second.outcome) == (b"", b"A", b"B")


def test_a_refused_request_is_repeated_until_five_seconds_have_passed(bench: Bench) -> None:
    answer = bench.add()
    bench.reads.flush()
    bench.reads.answered(bench.asked[-1][0], None, b"")
    bench.pass_time(REFUSED_RETRY_S + 0.001)
    assert len(bench.asked) == 2
    bench.reads.answered(bench.asked[-1][0], None, b"")
    bench.pass_time(limits.LEADER_WAIT_S)
    assert isinstance(answer.outcome, NoLeader)
    assert len(bench.reads) == 0


def test_a_leader_change_asks_the_new_leader(bench: Bench) -> None:
    answer = bench.add()
    bench.reads.flush()
    bench.reads.route_changed(is_open=False)
    late = bench.add()
    bench.reads.flush()
    assert len(bench.asked) == 1
    bench.reads.route_changed(is_open=True)
    assert len(bench.asked) == 3
    for number, _ in bench.asked[1:]:
        bench.reads.answered(number, 5, b"")
    assert (answer.outcome, late.outcome) == (b"", b"")


def test_an_index_that_is_not_applied_in_time_ends_with_the_deadline(bench: Bench) -> None:
    answer = bench.add(deadline_s=8)
    bench.reads.flush()
    bench.reads.answered(bench.asked[0][0], 99, b"")
    bench.pass_time(7)
    assert not answer.done()
    bench.pass_time(1.1)
    assert isinstance(answer.outcome, NoLeader)


def test_a_caller_that_leaves_leaves_nothing_behind(bench: Bench) -> None:
    answer = Recorder()
    number = bench.reads.add(note=b"", deadline_s=9, answer=answer)
    bench.reads.drop(number, answer)
    assert len(bench.reads) == 0
    bench.reads.flush()
    assert bench.asked == []
    fresh = bench.add()
    bench.reads.flush()
    bench.reads.answered(bench.asked[0][0], 1, b"")
    assert fresh.outcome == b""


def test_too_many_waiting_reads_are_refused_at_once(bench: Bench) -> None:
    for _ in range(limits.FORWARDED_PER_PEER_MAX):
        bench.add()
    with pytest.raises(Overloaded):
        bench.add()


def test_stopping_answers_everybody(bench: Bench) -> None:
    answer = bench.add()
    bench.reads.stop()
    assert isinstance(answer.outcome, NoLeader)
