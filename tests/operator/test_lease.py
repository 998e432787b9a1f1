"""The Lease: one holder, no trust in other clocks, and no acting on one that may be gone."""

import asyncio
from collections.abc import Iterator

import pytest

from sybline_operator import lease as lease_module
from sybline_operator import limits
from sybline_operator.kubernetes_api import KubernetesApi
from sybline_operator.lease import Candidate, Lease, NotActing, acquire, keep
from tests.operator.api_stub import ApiStub

PATH = "/apis/coordination.k8s.io/v1/namespaces/here/leases/operator"


class Clock:
    """The one clock of a test; what people read in the Lease plays no part."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "_now_s", clock)
    return clock


@pytest.fixture
def stub() -> Iterator[ApiStub]:
    with ApiStub().serving() as stub:
        yield stub


def candidate(stub: ApiStub, name: str) -> Lease:
    return Lease(KubernetesApi(stub.new_client()), Candidate("here", "operator", name))


def test_of_two_exactly_one_gets_it(stub: ApiStub, clock: Clock) -> None:
    one, two = candidate(stub, "one"), candidate(stub, "two")
    assert one.try_once()
    assert not two.try_once()
    assert two.holder == "one"
    one.check()
    with pytest.raises(NotActing):
        two.check()


def test_a_lease_that_moves_is_never_taken_however_old_it_says_it_is(
    stub: ApiStub, clock: Clock
) -> None:
    one, two = candidate(stub, "one"), candidate(stub, "two")
    for _ in range(20):
        assert one.try_once()
        stub.objects[PATH]["spec"]["renewTime"] = (
            "1999-01-01T00:00:00.000000Z"  # a clock gone wrong
        )
        assert not two.try_once()
        clock.now_s += limits.LEASE_S - 1


def test_a_lease_that_stands_still_is_taken_but_only_after_its_holder_has_stopped(
    stub: ApiStub, clock: Clock
) -> None:
    one, two = candidate(stub, "one"), candidate(stub, "two")
    assert one.try_once()
    assert not two.try_once()
    holder_stopped_s = taken_s = None
    while taken_s is None:
        clock.now_s += 0.5
        if not one.is_held and holder_stopped_s is None:
            holder_stopped_s = clock.now_s
        if two.try_once():
            taken_s = clock.now_s
    assert holder_stopped_s is not None
    assert taken_s - holder_stopped_s >= limits.LEASE_S - limits.LEASE_RENEW_WITHIN_S
    assert stub.objects[PATH]["spec"]["leaseTransitions"] == 1


def test_who_was_away_and_comes_back_finds_that_it_no_longer_acts(
    stub: ApiStub, clock: Clock
) -> None:
    one, two = candidate(stub, "one"), candidate(stub, "two")
    assert one.try_once()
    assert not two.try_once()
    clock.now_s += limits.LEASE_S + 1
    assert two.try_once()
    with pytest.raises(NotActing):
        one.check()
    assert not one.try_once()
    assert two.try_once()


def test_a_holder_that_gets_no_answers_goes_on_for_a_while_and_no_longer(
    stub: ApiStub, clock: Clock
) -> None:
    one = candidate(stub, "one")
    assert one.try_once()
    stub.instead = lambda *_: (503, {"message": "away"})
    clock.now_s += limits.LEASE_RENEW_WITHIN_S - 0.1
    assert one.try_once()
    clock.now_s += 0.2
    assert not one.try_once()


def test_a_race_for_a_free_lease_has_one_winner(stub: ApiStub, clock: Clock) -> None:
    one, two, three = (candidate(stub, name) for name in ("one", "two", "three"))
    assert one.try_once()
    one.release()
    stale = stub.objects[PATH]
    assert two.try_once()

    def first_read_is_stale(method: str, path: str) -> tuple[int, dict[str, object]] | None:
        return (200, stale) if method == "GET" else None

    stub.instead = first_read_is_stale
    assert not three.try_once()
    assert stub.asked[-1] == ("PUT", PATH), "it tried"


def test_a_released_lease_is_taken_at_once(stub: ApiStub, clock: Clock) -> None:
    one, two = candidate(stub, "one"), candidate(stub, "two")
    assert one.try_once()
    assert not two.try_once()
    one.release()
    assert not one.is_held
    assert two.try_once()


def test_a_renewal_that_was_under_way_does_not_take_back_what_was_given_away(
    stub: ApiStub, clock: Clock
) -> None:
    one, two = candidate(stub, "one"), candidate(stub, "two")
    assert one.try_once()
    one.release()
    assert not one.try_once(), "its thread could not be called back"
    assert two.try_once()


def test_a_process_that_starts_again_in_the_same_pod_goes_on_at_once(
    stub: ApiStub, clock: Clock
) -> None:
    assert candidate(stub, "one").try_once()
    assert candidate(stub, "one").try_once()
    assert stub.objects[PATH]["spec"]["leaseTransitions"] == 0


async def test_standing_by_ends_when_it_is_stopped(stub: ApiStub) -> None:
    assert candidate(stub, "one").try_once()
    stop = asyncio.Event()
    waiting = asyncio.create_task(acquire(candidate(stub, "two"), stop))
    stop.set()
    assert not await asyncio.wait_for(waiting, 10.0)


async def test_keeping_ends_when_the_lease_is_taken_away(
    stub: ApiStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LEASE_RETRY_S", 0.01)
    one = candidate(stub, "one")
    assert await acquire(one, asyncio.Event())
    keeping = asyncio.create_task(keep(one))
    stub.objects[PATH] = {
        **stub.objects[PATH],
        "spec": {**stub.objects[PATH]["spec"], "holderIdentity": "two"},
        "metadata": {**stub.objects[PATH]["metadata"], "resourceVersion": "taken"},
    }
    await asyncio.wait_for(keeping, 10.0)
    assert not one.is_held
