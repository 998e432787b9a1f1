"""Background tasks: an unexpected end of one ends the process."""

import asyncio

import pytest

from sybline.errors import FailStop
from sybline.supervise import supervise
from tests.support.waiting import wait_for


class Deaths(list[str]):
    """Stands in for the end of the process."""

    def die(self, reason: str) -> None:
        self.append(reason)


async def until_first(deaths: Deaths) -> str:
    await wait_for(lambda: deaths, what="the process ends", deadline_s=5)
    return deaths[0]


async def forever() -> None:
    await asyncio.Event().wait()


async def test_an_error_ends_the_process_with_the_task_and_the_reason_on_one_line() -> None:
    async def fail() -> None:
        raise ValueError("no such\nthing")

    deaths = Deaths()
    supervise(fail(), name="timer", die=deaths.die)
    assert await until_first(deaths) == "timer failed: ValueError: no such thing"


async def test_a_return_ends_the_process() -> None:
    deaths = Deaths()
    supervise(asyncio.sleep(0), name="timer", die=deaths.die)
    assert await until_first(deaths) == "timer ended"


async def test_a_fail_stop_ends_the_process_with_its_own_words() -> None:
    async def fail() -> None:
        raise FailStop("fsync failed")

    deaths = Deaths()
    supervise(fail(), name="timer", die=deaths.die)
    assert await until_first(deaths) == "timer: fsync failed"


async def test_cancelling_ends_the_task_and_nothing_else() -> None:
    deaths = Deaths()
    task = supervise(forever(), name="timer", die=deaths.die)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deaths == []


async def test_a_task_may_be_cancelled_before_it_has_begun() -> None:
    deaths = Deaths()
    task = supervise(forever(), name="timer", die=deaths.die)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deaths == []


async def test_a_task_that_ends_in_peace_when_told_to_is_no_surprise() -> None:
    async def tidy() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            return

    deaths = Deaths()
    task = supervise(tidy(), name="timer", die=deaths.die)
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert deaths == []
