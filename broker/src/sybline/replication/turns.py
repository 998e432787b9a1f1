"""When the member works: at most once per turn of the loop, and when something is due.

Everything that became ready in one turn of the loop is handled by one run: this is what makes group commit.
"""

import asyncio
from collections.abc import Callable

from sybline.clock import Clock
from sybline.replication.fail_stop import FailStopEdge

EARLIER_S = 0.001  # a timer is set anew only if it would ring this much too late


class Turns:
    """Calls `run(now)` after every `wake` and at the time the last run returned (monotonic seconds)."""

    def __init__(self, *, clock: Clock, edge: FailStopEdge, run: Callable[[float], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._edge = edge
        self._run = run
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = float("inf")
        self._stopped = False

    def wake(self) -> None:
        """Run once more in this turn of the loop, after what is ready already."""
        if self._soon is None and not self._stopped:
            self._soon = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        """Run no more."""
        self._stopped = True
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()

    def _ring(self) -> None:
        self._timer = None
        self._timer_s = float("inf")
        self._turn()

    def _turn(self) -> None:
        self._soon = None
        if self._stopped or self._edge.is_broken:
            return
        with self._edge:
            now_s = self._clock.monotonic_s()
            self._set_timer(now_s, self._run(now_s))

    def _set_timer(self, now_s: float, at_s: float) -> None:
        if at_s > self._timer_s - EARLIER_S:
            return  # it rings early enough; a run too many does no harm
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = at_s
        self._timer = self._loop.call_later(max(0.0, at_s - now_s), self._ring)
