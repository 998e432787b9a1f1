"""How much one fetch leases: what fits into an answer, and one message however large it is (Z-3)."""

import pytest

from sybline import limits
from sybline.state_machine.checkout import encoded_bytes
from tests.support.replicas import Replicas, batch

SMALL, LARGE = b"s" * 100, b"L" * 2_000
ANSWER_BYTES = 1_000


@pytest.fixture
def replicas() -> Replicas:
    replicas = Replicas()
    replicas.declare("q")
    return replicas


def publish(replicas: Replicas, *bodies: bytes) -> None:
    replicas.apply(batch(replicas.root, *(("q", body) for body in bodies)))


def fetch(replicas: Replicas, amount: int = 100) -> list[int]:
    return replicas.fetch(replicas.root, "q", amount, answer_bytes=ANSWER_BYTES)


def test_an_answer_ends_before_the_message_that_does_not_fit(replicas: Replicas) -> None:
    publish(replicas, *[SMALL] * 20)
    assert len(fetch(replicas)) == ANSWER_BYTES // encoded_bytes(len(SMALL))


def test_a_message_larger_than_an_answer_comes_alone(replicas: Replicas) -> None:
    publish(replicas, LARGE, LARGE, SMALL)
    first = fetch(replicas)
    assert len(first) == 1
    assert fetch(replicas) == first, "what is leased comes first, and it fills the answer"
    replicas.settle(replicas.root, "q", first)
    second = fetch(replicas)
    assert len(second) == 1
    replicas.give_back(replicas.root, "q", second)
    assert fetch(replicas) == second, "a returned one comes alone as well"


def test_a_large_message_behind_small_ones_waits_for_an_answer_of_its_own(
    replicas: Replicas,
) -> None:
    publish(replicas, SMALL, LARGE)
    small = fetch(replicas)
    assert len(small) == 1
    replicas.settle(replicas.root, "q", small)
    assert len(fetch(replicas)) == 1


def test_the_largest_body_is_one_that_every_member_applies(replicas: Replicas) -> None:
    publish(replicas, bytes(limits.BODY_BYTES_MAX))
    assert replicas.counts("q") == (1, 0, 0)
