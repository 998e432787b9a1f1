"""Defects of the earlier implementation, by the ids of the regression list.

Every scenario runs on two replicas and out of checkpoints; `Replicas` compares them byte for byte after each command.
"""

import pytest

from sybline import limits
from sybline.state_machine.commands import (
    Bind,
    Caller,
    DeclareQueue,
    DeleteQueue,
    Redrive,
    Settle,
    Unbind,
)
from sybline.state_machine.replies import Done, Enqueued, Moved, Reason, Refused, Settled
from tests.support.replicas import (
    Replicas,
    batch,
    failures_of,
    ranges_of,
    reason_of,
)


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


def test_reg_q1_a_nack_at_the_limit_without_dead_letter_queue_removes_and_counts(
    replicas: Replicas,
) -> None:
    replicas.declare("q", retry_limit=1)
    replicas.publish("q", 3)
    first, *_ = replicas.fetch(replicas.root, "q")
    assert replicas.give_back(replicas.root, "q", [first]) == Settled(1)
    assert replicas.counts("q") == (0, 2, 0)
    assert replicas.stats("q").counters.removed == {"delivery_limit": 1}
    assert replicas.publish("q")


def test_reg_q2_a_queue_has_room_again_after_batch_acks_of_its_whole_size(
    replicas: Replicas,
) -> None:
    replicas.declare("q", size=4)
    for _ in range(5):
        replicas.publish("q", 4)
        assert replicas.settle(replicas.root, "q", replicas.fetch(replicas.root, "q")) == Settled(4)
        assert replicas.counts("q") == (0, 0, 0)
        assert replicas.stats("q").bytes == 0
    assert replicas.publish("q", 4)


def test_reg_q3a_a_batch_ack_with_unknown_and_expired_ids_settles_the_valid_ones(
    replicas: Replicas,
) -> None:
    other = replicas.session("other")
    replicas.declare("q")
    lost = replicas.publish("q")
    replicas.fetch(replicas.root, "q")
    replicas.tick(300_000)
    assert replicas.fetch(other, "q") == lost
    valid = replicas.publish("q", 3)
    assert replicas.fetch(replicas.root, "q", 2) == valid[:2]
    reply = replicas.settle(replicas.root, "q", [*lost, *valid[:2], 1, valid[2]])
    assert failures_of(reply) == {
        1: Reason.MESSAGE_NOT_FOUND,
        lost[0]: Reason.LEASE_LOST,
        valid[2]: Reason.MESSAGE_NOT_FOUND,
    }
    assert isinstance(reply, Settled)
    assert reply.settled == 2
    assert replicas.counts("q") == (1, 1, 0)


def test_reg_q3b_a_batch_ack_with_an_unknown_id_keeps_the_order(replicas: Replicas) -> None:
    replicas.declare("q")
    sent = replicas.publish("q", 4)
    assert replicas.fetch(replicas.root, "q") == sent
    replicas.settle(replicas.root, "q", [sent[1], 77])
    assert replicas.fetch(replicas.root, "q") == [sent[0], sent[2], sent[3]]


def test_reg_q4_a_batch_nack_returns_the_messages(replicas: Replicas) -> None:
    replicas.declare("q", retry_limit=5)
    sent = replicas.publish("q", 3)
    replicas.fetch(replicas.root, "q")
    assert replicas.give_back(replicas.root, "q", sent) == Settled(3)
    assert replicas.counts("q") == (3, 0, 0)
    assert replicas.fetch(replicas.root, "q") == sent
    assert replicas.stats("q").counters.settled == 0


def test_reg_q5_unbinding_a_key_that_does_not_hold_the_queue_changes_nothing(
    replicas: Replicas,
) -> None:
    replicas.declare("a")
    replicas.declare("b")
    for key in ("b", "never-seen"):
        assert replicas.apply(Unbind(replicas.root, "a", key)) == Done(changed=False)
    assert replicas.stats("a").keys == ("a",)
    assert replicas.stats("b").keys == ("b",)


@pytest.mark.parametrize("dead_letter", [True, False])
def test_reg_q6a_a_batch_nack_at_the_limit_moves_only_what_it_names(
    replicas: Replicas, dead_letter: bool
) -> None:
    replicas.declare("q", retry_limit=1, dead_letter=dead_letter)
    sent = replicas.publish("q", 6)
    replicas.fetch(replicas.root, "q")
    replicas.give_back(replicas.root, "q", [sent[3]])
    left = [*sent[:3], *sent[4:]]
    assert replicas.fetch(replicas.root, "q") == left
    if dead_letter:
        assert replicas.fetch(replicas.root, "q-dlq") == [sent[3]]


def test_reg_q6b_a_batch_nack_by_a_session_that_holds_nothing_is_refused(
    replicas: Replicas,
) -> None:
    other = replicas.session("other")
    replicas.declare("q", retry_limit=1)
    sent = replicas.publish("q", 2)
    replicas.fetch(replicas.root, "q", 1)
    assert failures_of(replicas.give_back(other, "q", sent)) == {
        sent[0]: Reason.LEASE_LOST,
        sent[1]: Reason.MESSAGE_NOT_FOUND,
    }
    assert replicas.counts("q") == (1, 1, 0)


def test_reg_q7a_a_publish_to_a_full_queue_is_refused(replicas: Replicas) -> None:
    replicas.declare("q", size=2)
    replicas.publish("q", 2)
    reply = replicas.apply(batch(replicas.root, ("q", b"x")))
    assert reply == Refused(Reason.QUEUE_FULL, "q", (2, 2, 1))
    assert replicas.counts("q") == (2, 0, 0)


def test_reg_q7b_a_batch_never_overshoots(replicas: Replicas) -> None:
    replicas.declare("q", size=5)
    replicas.publish("q", 4)
    two = [("q", b"x")] * 2
    assert reason_of(replicas.apply(batch(replicas.root, *two))) is Reason.QUEUE_FULL
    hundred = [("q", b"x")] * 100
    reply = replicas.apply(batch(replicas.root, *hundred))
    assert reply == Refused(Reason.BATCH_NEVER_FITS, "q", (5, 100))
    assert replicas.counts("q") == (4, 0, 0)


def test_reg_q8a_a_deleted_queue_leaves_no_binding(replicas: Replicas) -> None:
    replicas.declare("q", key="k1")
    replicas.apply(Bind(replicas.root, "q", "k2"))
    assert replicas.apply(DeleteQueue(replicas.root, "q")) == Done()
    for key in ("k1", "k2"):
        reply = replicas.apply(batch(replicas.root, (key, b"x")))
        assert reply == Refused(Reason.KEY_NOT_FOUND, key, (key,))


def test_reg_q8b_a_queue_created_again_is_a_new_one(replicas: Replicas) -> None:
    replicas.declare("q", key="old")
    sent = replicas.publish("old", 2)
    replicas.fetch(replicas.root, "q", 1)
    replicas.apply(DeleteQueue(replicas.root, "q"))
    replicas.declare("q", key="new")
    assert reason_of(replicas.apply(batch(replicas.root, ("old", b"x")))) is Reason.KEY_NOT_FOUND
    assert set(failures_of(replicas.settle(replicas.root, "q", sent)).values()) == {
        Reason.MESSAGE_NOT_FOUND
    }
    replicas.tick(300_000)
    assert replicas.counts("q") == (0, 0, 0)


def test_reg_q8c_a_dead_letter_queue_without_owner_can_be_deleted(replicas: Replicas) -> None:
    replicas.declare("q", retry_limit=1, dead_letter=True)
    sent = replicas.publish("q")
    replicas.fetch(replicas.root, "q")
    reply = replicas.apply(DeleteQueue(replicas.root, "q-dlq"))
    assert reply == Refused(Reason.DEAD_LETTER_OWNED, "q-dlq", ("q",))
    replicas.give_back(replicas.root, "q", sent)
    assert replicas.apply(DeleteQueue(replicas.root, "q")) == Done()
    assert replicas.counts("q-dlq") == (1, 0, 0)
    assert replicas.apply(DeleteQueue(replicas.root, "q-dlq")) == Done()
    assert replicas.machine.queue("q-dlq") is None


def test_reg_q9_a_dead_letter_queue_left_behind_is_adopted_with_its_messages(
    replicas: Replicas,
) -> None:
    replicas.declare("a", size=10, retry_limit=1, dead_letter=True)
    sent = replicas.publish("a", 3)
    replicas.fetch(replicas.root, "a")
    replicas.give_back(replicas.root, "a", sent)
    replicas.apply(DeleteQueue(replicas.root, "a"))
    assert replicas.declare("a", size=2, retry_limit=1, dead_letter=True) == Done()
    assert replicas.counts("a-dlq") == (3, 0, 0)
    assert replicas.stats("a-dlq").size == 2
    assert replicas.stats("a-dlq").owner == "a"
    assert replicas.fetch(replicas.root, "a-dlq") == sent


def test_reg_q9_an_ordinary_queue_of_that_name_is_never_replaced(replicas: Replicas) -> None:
    replicas.declare("a-dlq")
    sent = replicas.publish("a-dlq", 2)
    reply = replicas.declare("a", dead_letter=True)
    assert reply == Refused(Reason.DEAD_LETTER_NAME_TAKEN, "a-dlq")
    assert replicas.machine.queue("a") is None
    assert replicas.fetch(replicas.root, "a-dlq") == sent


def test_reg_q10_a_message_whose_consumers_die_is_dead_lettered_after_the_limit(
    replicas: Replicas,
) -> None:
    replicas.declare("q", retry_limit=3, dead_letter=True)
    poison = replicas.publish("q")
    for attempt in range(3):
        caller = replicas.session(f"victim-{attempt}")
        assert replicas.fetch(caller, "q") == poison
        replicas.tick(300_000)
    assert replicas.counts("q") == (0, 0, 0)
    assert replicas.fetch(replicas.root, "q-dlq") == poison


def test_reg_q11_binding_a_pair_twice_gives_one_copy(replicas: Replicas) -> None:
    replicas.declare("q", key="k")
    assert replicas.apply(Bind(replicas.root, "q", "k")) == Done(changed=False)
    sent = replicas.publish("k")
    assert replicas.fetch(replicas.root, "q") == sent


def test_reg_q12_an_ack_without_identity_removes_nothing(replicas: Replicas) -> None:
    replicas.declare("q")
    sent = replicas.publish("q", 2)
    nobody = Caller("root", b"")
    reply = replicas.apply(Settle(nobody, "q", ranges_of(sent)))
    assert reason_of(reply) is Reason.UNAUTHENTICATED
    assert reason_of(replicas.give_back(nobody, "q", sent)) is Reason.UNAUTHENTICATED
    assert replicas.counts("q") == (2, 0, 0)


def test_reg_q13_a_key_that_lost_its_last_queue_is_unknown(replicas: Replicas) -> None:
    replicas.declare("q", key="k1")
    replicas.apply(Bind(replicas.root, "q", "k2"))
    assert replicas.apply(Unbind(replicas.root, "q", "k1")) == Done()
    assert reason_of(replicas.apply(batch(replicas.root, ("k1", b"x")))) is Reason.KEY_NOT_FOUND
    assert reason_of(replicas.apply(Unbind(replicas.root, "q", "k2"))) is Reason.LAST_BINDING


def test_reg_q14_a_batch_with_one_unknown_key_stores_nothing(replicas: Replicas) -> None:
    replicas.declare("a")
    replicas.declare("b")
    reply = replicas.apply(batch(replicas.root, ("a", b"1"), ("nowhere", b"2"), ("b", b"3")))
    assert reply == Refused(Reason.KEY_NOT_FOUND, "nowhere", ("nowhere",))
    assert replicas.counts("a") == replicas.counts("b") == (0, 0, 0)


def test_reg_q15_a_batch_over_several_keys_keeps_the_order_of_the_request(
    replicas: Replicas,
) -> None:
    replicas.declare("q", key="k0")
    for number in range(1, 4):
        replicas.apply(Bind(replicas.root, "q", f"k{number}"))
    messages = [(f"k{number % 4}", b"x" * (number % 3)) for number in (3, 1, 2, 0, 2, 1, 3, 3, 0)]
    reply = replicas.apply(batch(replicas.root, *messages))
    assert isinstance(reply, Enqueued)
    first = reply.index * limits.BATCH_MESSAGES_MAX
    assert replicas.fetch(replicas.root, "q") == list(range(first, first + len(messages)))


def test_reg_q16_a_message_at_the_limit_is_parked_while_the_dead_letter_queue_is_full(
    replicas: Replicas,
) -> None:
    replicas.declare("q", size=2, retry_limit=1, dead_letter=True)
    old = replicas.publish("q", 2)
    replicas.fetch(replicas.root, "q")
    replicas.give_back(replicas.root, "q", old)
    new = replicas.publish("q", 2)
    replicas.fetch(replicas.root, "q")
    replicas.give_back(replicas.root, "q", new)
    assert replicas.counts("q") == (0, 0, 2)
    assert replicas.counts("q-dlq") == (2, 0, 0)
    assert reason_of(replicas.apply(batch(replicas.root, ("q", b"x")))) is Reason.QUEUE_FULL
    assert replicas.fetch(replicas.root, "q") == []
    replicas.fetch(replicas.root, "q-dlq", 1)
    replicas.settle(replicas.root, "q-dlq", old[:1])
    assert replicas.counts("q") == (0, 0, 1)
    assert replicas.apply(Redrive(replicas.root, "q-dlq", 1)) == Moved(1)
    assert replicas.fetch(replicas.root, "q") == [old[1]]
    assert replicas.fetch(replicas.root, "q-dlq") == new


def test_reg_q17_a_nack_inside_a_dead_letter_queue_never_removes(replicas: Replicas) -> None:
    replicas.declare("q", retry_limit=1, dead_letter=True)
    sent = replicas.publish("q")
    replicas.fetch(replicas.root, "q")
    replicas.give_back(replicas.root, "q", sent)
    for _ in range(5):
        assert replicas.fetch(replicas.root, "q-dlq") == sent
        assert replicas.give_back(replicas.root, "q-dlq", sent) == Settled(1)
    assert replicas.counts("q-dlq") == (1, 0, 0)


def test_reg_q18_a_fan_out_with_one_full_queue_stores_nothing(replicas: Replicas) -> None:
    replicas.declare("a", key="k", size=10)
    replicas.declare("b", key="k", size=1)
    assert replicas.publish("k")
    reply = replicas.apply(batch(replicas.root, ("k", b"x")))
    assert reply == Refused(Reason.QUEUE_FULL, "b", (1, 1, 1))
    assert replicas.counts("a") == replicas.counts("b") == (1, 0, 0)


def test_reg_q19_a_repeated_create_is_ok(replicas: Replicas) -> None:
    assert replicas.declare("q", dead_letter=True) == Done()
    sent = replicas.publish("q")
    assert replicas.declare("q", dead_letter=True) == Done(changed=False)
    assert replicas.fetch(replicas.root, "q") == sent
    different = DeclareQueue(replicas.root, "q", "q", 999, 3, True)
    assert replicas.apply(different) == Refused(Reason.QUEUE_EXISTS, "q", ("size", 1_000, 999))


def test_reg_q20_a_repeated_ack_is_ok_in_the_retry_window(replicas: Replicas) -> None:
    replicas.declare("q")
    sent = replicas.publish("q", 2)
    replicas.fetch(replicas.root, "q")
    assert replicas.settle(replicas.root, "q", sent[:1]) == Settled(1)
    replicas.now_ms += limits.RETRY_WINDOW_MS
    assert replicas.settle(replicas.root, "q", sent[:1]) == Settled(1)
    replicas.now_ms += limits.RETRY_WINDOW_MS
    assert failures_of(replicas.settle(replicas.root, "q", sent[:1]))


def test_reg_q21_an_answer_leases_no_more_than_fits_and_the_rest_follows(
    replicas: Replicas,
) -> None:
    replicas.declare("q")
    sent = replicas.publish("q", 6, body=b"x" * 1_000_000)
    first = replicas.fetch(replicas.root, "q", 6)
    assert first == sent[:4]
    assert replicas.counts("q") == (2, 4, 0)
    assert replicas.fetch(replicas.root, "q", 6) == first
    replicas.settle(replicas.root, "q", first)
    assert replicas.fetch(replicas.root, "q", 6) == sent[4:]


def test_reg_q22_retry_limit_zero_dead_letters_at_the_first_nack(replicas: Replicas) -> None:
    replicas.declare("q", retry_limit=0, dead_letter=True)
    sent = replicas.publish("q")
    replicas.fetch(replicas.root, "q")
    replicas.give_back(replicas.root, "q", sent)
    assert replicas.fetch(replicas.root, "q-dlq") == sent
    assert replicas.apply(Redrive(replicas.root, "q-dlq", 1)) == Moved(0)
