"""Who polls a queue, as the leader knows it (N-6)."""

import pytest

from sybline import limits
from sybline.api.polls import PollMemory, PollReports, is_yes, polled_note, question_note
from tests.support.manual_clock import ManualClock

ONE, TWO, THREE = (name.ljust(16, b".") for name in (b"one", b"two", b"three"))
REMEMBERED_S = (limits.POLL_MEMORY_MS + limits.POLL_REPORT_MS) / 1000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def polls(clock: ManualClock) -> PollMemory:
    return PollMemory(clock)


def test_a_lone_session_is_told_that_nobody_else_polls(polls: PollMemory) -> None:
    for _ in range(3):
        polls.note("q", ONE)
    assert not polls.others_poll("q", ONE)
    assert not polls.others_poll("another", ONE)


def test_another_session_counts_in_either_order(polls: PollMemory) -> None:
    polls.note("q", ONE)
    polls.note("q", TWO)
    assert polls.others_poll("q", ONE)
    assert polls.others_poll("q", TWO)
    assert polls.others_poll("q", THREE)
    polls.note("q", ONE)
    assert polls.others_poll("q", ONE)


def test_a_poll_is_forgotten_after_its_time_and_not_before(
    polls: PollMemory, clock: ManualClock
) -> None:
    polls.note("q", TWO)
    clock.now_s += REMEMBERED_S
    polls.note("q", ONE)
    assert polls.others_poll("q", ONE)
    clock.now_s += 0.01
    assert not polls.others_poll("q", ONE)
    assert polls.others_poll("q", TWO)


def test_members_tell_and_ask_by_notes(polls: PollMemory) -> None:
    assert polls.on_note(polled_note("größe", TWO)) == b""
    assert is_yes(polls.on_note(question_note("größe", ONE)))
    assert not is_yes(polls.on_note(question_note("größe", TWO)))
    assert not is_yes(polls.on_note(question_note("other", ONE)))


@pytest.mark.parametrize("note", [b"", b"P", b"X" + ONE + b"q", b"P" + ONE + b"\xff", b"A"])
def test_a_note_that_is_none_harms_nobody(polls: PollMemory, note: bytes) -> None:
    assert not is_yes(polls.on_note(note))


def test_the_memory_is_bounded(polls: PollMemory) -> None:
    for number in range(limits.QUEUES_MAX + 5):
        polls.note(f"q{number}", ONE)
    assert len(polls) == limits.QUEUES_MAX
    assert not polls.others_poll("q0", TWO)
    assert polls.others_poll("q5", TWO)


def test_a_poller_is_reported_at_once_and_then_now_and_again(clock: ManualClock) -> None:
    reports = PollReports(clock)
    assert reports.is_due("q", ONE, 1)
    assert not reports.is_due("q", ONE, 1)
    assert reports.is_due("q", TWO, 1)
    assert reports.is_due("r", ONE, 1)
    clock.now_s += limits.POLL_REPORT_MS / 1000
    assert reports.is_due("q", ONE, 1)


def test_a_new_leader_is_told_everything_again(clock: ManualClock) -> None:
    reports = PollReports(clock)
    assert reports.is_due("q", ONE, 1)
    assert reports.is_due("q", ONE, 2)
    assert not reports.is_due("q", ONE, 2)


def test_the_memory_of_reports_is_bounded(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POLL_REPORTS_MAX", 2)
    reports = PollReports(clock)
    for queue in ("a", "b", "c"):
        assert reports.is_due(queue, ONE, 1)
    assert not reports.is_due("c", ONE, 1)
    assert reports.is_due("a", ONE, 1), "forgotten, so told once more"
