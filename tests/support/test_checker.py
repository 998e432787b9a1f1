"""The checker has teeth: each kind of defect, seeded into a clean history, is found, and nothing else is."""

import random
from dataclasses import replace

import pytest

from tests.support.checker import (
    FAILED,
    KINDS,
    OK,
    RETURN,
    SETTLE,
    UNKNOWN,
    Answer,
    Delivery,
    Fetch,
    History,
    Publish,
    Report,
    build_body,
    check,
    read_body,
)

LEASE_S = 5.0


def clean_history(messages: int = 20, *, first_at: float = 0.0) -> History:
    """One producer, one consumer: each message published, fetched and settled in turn."""
    history = History()
    for number in range(messages):
        at = first_at + number
        tag, message_id = f"t{number}", number.to_bytes(16, "big")
        history.publishes.append(Publish(tag, "q", "p", at, at + 0.1, OK))
        history.fetches.append(Fetch("q", "c1", at + 0.2, at + 0.3, OK))
        history.deliveries.append(Delivery("q", message_id, "c1", at + 0.2, at + 0.3, 0, tag))
        history.answers.append(Answer(SETTLE, "q", message_id, "c1", at + 0.4, at + 0.5, OK))
    return history


def checked(history: History, *, drained: bool = True) -> Report:
    return check(history, drained=drained, lease_s=LEASE_S)


def assert_only(report: Report, kind: str, number: int = 1) -> None:
    assert {k: report.number(k) for k in KINDS if report.number(k)} == {kind: number}, str(report)


def test_a_clean_history_has_no_findings() -> None:
    report = checked(clean_history())
    assert report.is_clean, str(report)
    assert report.counts["confirmed"] == 20
    assert report.counts["redeliveries"] == 0


def test_a_confirmed_message_that_never_comes_is_lost() -> None:
    history = clean_history()
    history.publishes.append(Publish("gone", "q", "p", 30, 30.1, OK))
    assert_only(checked(history), "lost")


def test_a_message_seen_once_and_then_gone_without_a_settle_is_lost() -> None:
    history = clean_history()
    del history.answers[7]
    assert_only(checked(history), "lost")


def test_a_message_whose_settle_definitely_failed_and_that_never_returns_is_lost() -> None:
    history = clean_history()
    history.answers[7] = replace(history.answers[7], outcome=FAILED)
    assert_only(checked(history), "lost")


def test_a_settle_of_unknown_outcome_explains_a_message_that_never_returns() -> None:
    history = clean_history()
    history.answers[7] = replace(history.answers[7], outcome=UNKNOWN)
    assert checked(history).is_clean


def test_what_is_missing_from_a_queue_that_was_not_emptied_is_stuck() -> None:
    history = clean_history()
    history.publishes.append(Publish("there still", "q", "p", 30, 30.1, OK))
    assert_only(checked(history, drained=False), "stuck")


def test_a_settled_message_that_comes_again_is_resurrected() -> None:
    history = clean_history()
    history.deliveries.append(replace(history.deliveries[3], start=40.0, end=40.1))
    assert_only(checked(history), "resurrected")


def test_a_fetch_under_way_while_the_settle_is_confirmed_proves_nothing() -> None:
    history = clean_history()
    settle = history.answers[3]
    history.deliveries.append(
        replace(history.deliveries[3], start=settle.start, end=settle.end + 1)
    )
    assert checked(history).is_clean


def test_a_failed_publish_that_is_delivered_is_a_phantom() -> None:
    history = clean_history()
    history.publishes[5] = replace(history.publishes[5], outcome=FAILED)
    assert_only(checked(history), "phantom")


def test_an_unknown_publish_may_be_delivered_or_not() -> None:
    history = clean_history()
    history.publishes[5] = replace(history.publishes[5], outcome=UNKNOWN)
    history.publishes.append(Publish("never came", "q", "p", 30, 30.1, UNKNOWN))
    assert checked(history).is_clean


def test_a_message_handed_to_two_consumers_within_one_lease_is_double_held() -> None:
    history = clean_history()
    late = replace(history.answers[4], start=8.0, end=8.1)
    history.answers[4] = late
    history.deliveries.append(replace(history.deliveries[4], consumer="c2", start=5.0, end=5.1))
    assert_only(checked(history), "double-held")


@pytest.mark.parametrize(
    "ends_the_hold",
    [
        pytest.param(
            Answer(RETURN, "q", (4).to_bytes(16, "big"), "c1", 4.5, 4.6, UNKNOWN), id="return"
        ),
        pytest.param(("c1", 4.5), id="session end"),
    ],
)
def test_a_message_given_back_may_go_to_another(ends_the_hold: Answer | tuple[str, float]) -> None:
    history = clean_history()
    history.answers[4] = replace(history.answers[4], consumer="c2", start=8.0, end=8.1)
    history.deliveries.append(replace(history.deliveries[4], consumer="c2", start=5.0, end=5.1))
    if isinstance(ends_the_hold, Answer):
        history.answers.append(ends_the_hold)
    else:
        history.session_ends.append(ends_the_hold)
    assert checked(history).is_clean


def test_a_message_whose_lease_ended_may_go_to_another() -> None:
    history = clean_history()
    start = history.deliveries[4].start + LEASE_S
    history.answers[4] = replace(history.answers[4], consumer="c2", start=start + 1, end=start + 2)
    history.deliveries.append(
        replace(history.deliveries[4], consumer="c2", start=start, end=start + 0.1)
    )
    assert checked(history).is_clean


def test_a_message_stored_twice_is_duplicated() -> None:
    history = clean_history()
    twin = bytes(15) + b"\xee"
    history.deliveries.append(
        replace(history.deliveries[19], message_id=twin, start=30.0, end=30.1)
    )
    history.answers.append(replace(history.answers[19], message_id=twin, start=30.2, end=30.3))
    assert_only(checked(history), "duplicated")


def test_a_blind_repeat_may_be_stored_twice() -> None:
    history = clean_history()
    twin = bytes(15) + b"\xee"
    history.publishes[19] = replace(history.publishes[19], copies_max=2)
    history.deliveries.append(
        replace(history.deliveries[19], message_id=twin, start=30.0, end=30.1)
    )
    assert checked(history).is_clean


def test_first_deliveries_out_of_order_are_reordered() -> None:
    history = clean_history()
    one, other = history.deliveries[10], history.deliveries[11]
    history.deliveries[10] = replace(one, start=20.0, end=20.1)
    history.answers[10] = replace(history.answers[10], start=20.2, end=20.3)
    assert other.end < 20.0
    assert_only(checked(history), "reordered", 9)  # everything after it came before it


def test_messages_out_of_order_within_one_answer_are_reordered() -> None:
    history = clean_history(2)
    for number, place in ((0, 1), (1, 0)):
        history.deliveries[number] = replace(
            history.deliveries[number], start=2.0, end=2.1, place=place
        )
        history.answers[number] = replace(history.answers[number], start=2.2, end=2.3)
    assert_only(checked(history), "reordered")


def test_an_answer_that_was_lost_excuses_the_order() -> None:
    history = clean_history()
    history.deliveries[10] = replace(history.deliveries[10], start=20.0, end=20.1)
    history.answers[10] = replace(history.answers[10], start=20.2, end=20.3)
    history.fetches.append(Fetch("q", "c2", 10.05, 10.2, UNKNOWN))
    assert checked(history).is_clean


def test_a_message_nobody_sent_is_unexpected() -> None:
    history = clean_history()
    del history.publishes[5]
    assert_only(checked(history), "unexpected")


def test_a_damaged_body_is_corrupted() -> None:
    history = clean_history()
    history.deliveries[5] = replace(history.deliveries[5], intact=False)
    assert_only(checked(history), "corrupted")


def test_unequal_states_are_diverged() -> None:
    report = check(clean_history(), drained=True, lease_s=LEASE_S, digests={1: "a", 2: "a", 3: "b"})
    assert_only(report, "diverged")


def test_equal_states_are_not() -> None:
    report = check(clean_history(), drained=True, lease_s=LEASE_S, digests={1: "a", 2: "a"})
    assert report.is_clean


def test_bodies_carry_their_tag_and_show_any_flipped_bit() -> None:
    for size in (0, 30, 100, 1024):
        body = build_body("w3-17", size)
        assert len(body) >= size
        assert read_body(body) == ("w3-17", True)
    body = bytearray(build_body("w3-17", 200))
    rng = random.Random(1)
    for _ in range(100):
        at = rng.randrange(len(body))
        body[at] ^= 1 << rng.randrange(8)
        tag, intact = read_body(bytes(body))
        assert not intact or tag != "w3-17"
        body = bytearray(build_body("w3-17", 200))


def test_the_longest_gap_counts_from_one_moment_to_another() -> None:
    history = clean_history(10)
    assert history.longest_gap_s(2.0, 5.5) == pytest.approx(1.0)
    assert history.longest_gap_s(2.0, 14.0) == pytest.approx(14.0 - 9.1)
