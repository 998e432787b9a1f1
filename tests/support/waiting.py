"""Waiting for conditions with a deadline, in place of sleeps."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.02


class WaitTimedOut(AssertionError):
    """The condition did not come true in time."""


async def wait_until(
    condition: Callable[[], Awaitable[T | None]],
    *,
    what: str,
    deadline_s: float,
    poll_s: float = POLL_S,
) -> T:
    """Return the first true result of `condition`, asked every `poll_s` seconds.

    Raises:
        WaitTimedOut: after `deadline_s` seconds, naming `what` and the last result.
    """
    end = time.monotonic() + deadline_s
    while True:
        result = await condition()
        if result:
            return result
        if time.monotonic() >= end:
            raise WaitTimedOut(f"not within {deadline_s:g} s: {what} (last: {result!r})")
        await asyncio.sleep(poll_s)


async def wait_for(
    condition: Callable[[], T | None], *, what: str, deadline_s: float, poll_s: float = POLL_S
) -> T:
    """Like `wait_until`, for a condition that needs no waiting itself."""

    async def asked() -> T | None:
        return condition()

    return await wait_until(asked, what=what, deadline_s=deadline_s, poll_s=poll_s)
