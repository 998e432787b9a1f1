"""When clusters are looked at: never twice at once, never too many, and whatever a look raises."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from sybline_operator.kubernetes_api import ApiError
from sybline_operator.looks import Looks
from sybline_operator.metrics import Metrics

DEADLINE_S = 5.0


class Seen:
    """Looks that are counted, and that may be held up or fail."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.count: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.most_at_once = 0
        self.twice_at_once = False
        self.may_end = threading.Event()
        self.may_end.set()
        self.errors: dict[str, list[Exception]] = {}
        self.gone: set[str] = set()
        self._lock = threading.Lock()

    def look(self, _: str, name: str) -> float | None:
        with self._lock:
            self.count[name] += 1
            self.under_way[name] += 1
            self.most_at_once = max(self.most_at_once, self.under_way.total())
            self.twice_at_once |= self.under_way[name] > 1
        try:
            assert self.may_end.wait(DEADLINE_S)
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            return None if name in self.gone else 60.0
        finally:
            with self._lock:
                self.under_way[name] -= 1

    def outcome(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "sybline_operator_looks_total", {"outcome": name}
        )
        return value or 0.0


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def looks(seen: Seen) -> AsyncIterator[Looks]:
    looks = Looks(seen.look, seen.metrics, at_once=2, backoff_s=0.01)
    yield looks
    seen.may_end.set()
    await looks.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


async def test_news_during_a_look_bring_exactly_one_more(seen: Seen, looks: Looks) -> None:
    seen.may_end.clear()
    looks.wake("here", "orders")
    await until(lambda: seen.under_way["orders"] == 1)
    for _ in range(5):
        looks.wake("here", "orders")
    seen.may_end.set()
    await until(lambda: seen.count["orders"] == 2)
    assert not seen.twice_at_once
    await until(lambda: seen.outcome("ended") == 2)


async def test_of_many_clusters_only_so_many_are_looked_at_together(
    seen: Seen, looks: Looks
) -> None:
    seen.may_end.clear()
    for number in range(7):
        looks.wake("here", f"c{number}")
    await until(lambda: seen.under_way.total() == 2)
    seen.may_end.set()
    await until(lambda: len(seen.count) == 7)
    assert seen.most_at_once == 2


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ApiError("get", 0, "refused"), "unanswered"),
        (KeyError("metadata"), "crashed"),
        (AssertionError(), "crashed"),
    ],
)
async def test_whatever_a_look_raises_it_is_counted_and_tried_again(
    seen: Seen, looks: Looks, error: Exception, outcome: str
) -> None:
    seen.errors["orders"] = [error, error]
    looks.wake("here", "orders")
    await until(lambda: seen.outcome("ended") == 1)
    assert seen.outcome(outcome) == 2


async def test_a_cluster_whose_looks_fail_does_not_hold_up_the_others(
    seen: Seen, looks: Looks
) -> None:
    seen.errors["broken"] = [KeyError("x")] * 10_000
    looks.wake("here", "broken")
    looks.wake("here", "orders")
    await until(lambda: seen.count["orders"] == 1 and seen.count["broken"] > 2)


async def test_a_look_under_way_when_the_resource_goes_is_the_last_one(
    seen: Seen, looks: Looks
) -> None:
    seen.may_end.clear()
    looks.wake("here", "orders")
    await until(lambda: seen.under_way["orders"] == 1)
    looks.forget("here", "orders")
    seen.may_end.set()
    await until(lambda: not looks.ages_s())
    assert seen.count["orders"] == 1


async def test_a_resource_made_again_during_the_last_look_is_looked_at_but_not_twice_at_once(
    seen: Seen, looks: Looks
) -> None:
    seen.may_end.clear()
    looks.wake("here", "orders")
    await until(lambda: seen.under_way["orders"] == 1)
    looks.forget("here", "orders")
    looks.wake("here", "orders")
    seen.may_end.set()
    await until(lambda: seen.count["orders"] == 2)
    assert not seen.twice_at_once


async def test_what_does_not_exist_is_not_followed_until_there_is_news(
    seen: Seen, looks: Looks
) -> None:
    seen.gone.add("ghost")
    looks.wake("here", "ghost")
    await until(lambda: seen.count["ghost"] == 1 and not looks.ages_s())
    seen.gone.clear()
    looks.wake("here", "ghost")
    await until(lambda: seen.count["ghost"] == 2)
    assert ("here", "ghost") in looks.ages_s()


async def test_without_clusters_the_operator_is_not_stuck(looks: Looks) -> None:
    assert looks.age_s() == 0.0


async def test_stopping_waits_for_the_look_under_way_and_begins_no_other(
    seen: Seen, looks: Looks
) -> None:
    seen.may_end.clear()
    looks.wake("here", "one")
    await until(lambda: seen.under_way["one"] == 1)
    stopping = asyncio.create_task(looks.stop())
    looks.wake("here", "one")
    await asyncio.sleep(0)
    assert not stopping.done()
    seen.may_end.set()
    await asyncio.wait_for(stopping, DEADLINE_S)
    assert seen.count == {"one": 1}
    assert seen.under_way.total() == 0
