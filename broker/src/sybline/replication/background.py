"""Threads for file work that must not stop the loop: one for syncs of the log, one for checkpoints and images.

Owns when work runs and where its end is heard. An error of the work comes out on the loop, inside the fail-stop edge.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from sybline.clock import Clock
from sybline.replication.fail_stop import FailStopEdge


class Worker:
    """One thread; work is done in the order in which it was started."""

    def __init__(
        self,
        name: str,
        *,
        edge: FailStopEdge,
        clock: Clock,
        then: Callable[[], None],
    ) -> None:
        """Called on the loop it belongs to; `then` runs there after each piece of work."""
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._edge = edge
        self._clock = clock
        self._then = then
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.seconds_taken = 0.0  # by the work that ended last

    @property
    def is_busy(self) -> bool:
        return self._under_way > 0

    def start(self, run: Callable[[], object], done: Callable[[], None]) -> None:
        """Call `run` in the thread, then `done` on the loop unless `run` failed, which ends the member."""
        self._under_way += 1
        self._idle.clear()
        work = self._pool.submit(self._timed, run)
        work.add_done_callback(partial(self._report, done))

    async def wait_until_idle(self) -> None:
        """Return once nothing is under way; the caller sets the deadline."""
        await self._idle.wait()

    def close(self) -> None:
        """Take no more work; what is under way is finished."""
        self._pool.shutdown(wait=False)

    def _timed(self, run: Callable[[], object]) -> float:
        started_s = self._clock.monotonic_s()
        run()
        return self._clock.monotonic_s() - started_s

    def _report(self, done: Callable[[], None], work: "Future[float]") -> None:
        self._loop.call_soon_threadsafe(self._finish, done, work)

    def _finish(self, done: Callable[[], None], work: "Future[float]") -> None:
        self._under_way -= 1
        if not self._edge.is_broken:
            with self._edge:
                self.seconds_taken = work.result()
                done()
                self._then()
        if not self._under_way:  # `done` may have started more
            self._idle.set()
