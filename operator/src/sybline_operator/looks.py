"""When each cluster is looked at: soon after news, again when the last look said so, later and later while looks fail.

A cluster is never looked at twice at once; of all looks together only so many run, in threads of their own, for a look
waits for the network. No look ends silently: what it raises is logged, counted, and tried again.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from sybline_operator import limits
from sybline_operator.broker_admin import AdminError
from sybline_operator.kubernetes_api import ApiError
from sybline_operator.metrics import Key, Metrics

log = structlog.get_logger(__name__)
Look = Callable[
    [str, str], float | None
]  # (namespace, name): seconds until the next; None: no such cluster


@dataclass(slots=True)
class _Follow:
    """What is known about one cluster's looks; nothing of it matters to what they decide."""

    ended_well_s: float
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_wanted: bool = True
    failures: int = 0  # in a row


class Looks:
    """One task for each cluster. Belongs to an event loop."""

    def __init__(
        self,
        look: Look,
        metrics: Metrics,
        *,
        at_once: int = limits.WORKERS_MAX,
        backoff_s: float = limits.ERROR_BACKOFF_S,
    ) -> None:
        self._look = look
        self._metrics = metrics
        self._backoff_s = backoff_s
        self._follows: dict[Key, _Follow] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="look")
        metrics.clusters.ages_s = self.ages_s

    def wake(self, namespace: str, name: str) -> None:
        """Look at a cluster soon."""
        key = (namespace, name)
        follow = self._follows.get(key)
        if follow is None:
            follow = self._follows[key] = _Follow(time.monotonic())
            task = asyncio.create_task(self._run(key, follow), name=f"looks at {namespace}/{name}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        follow.is_wanted = True
        follow.news.set()

    def forget(self, namespace: str, name: str) -> None:
        """Stop looking, after the look under way: the resource is gone."""
        follow = self._follows.get((namespace, name))
        if follow is not None:
            follow.is_wanted = False
            follow.news.set()

    async def stop(self) -> None:
        """Begin no further look and wait for those under way, which end by their own time-outs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def ages_s(self) -> Mapping[Key, float]:
        """Return how long ago the last look at each cluster ended well, or since when it is waited for."""
        now_s = time.monotonic()
        return {key: now_s - follow.ended_well_s for key, follow in list(self._follows.items())}

    def age_s(self) -> float:
        """Return how long ago any look ended well; 0: there is nothing to look at."""
        return min(self.ages_s().values(), default=0.0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nobody would look at this cluster any more: better to begin again.
            log.critical("looks_ended", reason=repr(error), exc_info=error)
            signal.raise_signal(signal.SIGTERM)

    async def _run(self, key: Key, follow: _Follow) -> None:
        while follow.is_wanted:
            follow.news.clear()
            again_s = await self._look_once(key, follow)
            if again_s is None and not follow.news.is_set():
                break
            if follow.failures:
                await asyncio.sleep(
                    again_s or 0.0
                )  # news do not shorten it: they may be our own writes
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(again_s):
                        await follow.news.wait()
        del self._follows[key]
        self._metrics.clusters.forget(key)

    async def _look_once(self, key: Key, follow: _Follow) -> float | None:
        began_s = time.monotonic()
        loop = asyncio.get_running_loop()
        under_way = loop.run_in_executor(self._threads, self._look, *key)
        result: float | BaseException | None
        [result] = await asyncio.gather(under_way, return_exceptions=True)
        self._metrics.look_seconds.observe(time.monotonic() - began_s)
        if not isinstance(result, BaseException):
            follow.failures = 0
            follow.ended_well_s = time.monotonic()
            self._metrics.looks.labels("ended").inc()
            return result
        follow.failures += 1
        doubled: int = 2 ** min(follow.failures - 1, 10)
        again_s = min(self._backoff_s * doubled, limits.ERROR_BACKOFF_MAX_S)
        self._tell_failure(key, result, again_s)
        return again_s

    def _tell_failure(self, key: Key, error: BaseException, again_s: float) -> None:
        where = {"namespace": key[0], "cluster": key[1], "again_s": again_s}
        if isinstance(error, (ApiError, AdminError)):
            self._metrics.looks.labels("unanswered").inc()
            log.warning("look_failed", **where, reason=str(error))
        else:  # a mistake of ours; the other clusters are none the worse for it
            self._metrics.looks.labels("crashed").inc()
            log.error("look_crashed", **where, reason=repr(error), exc_info=error)
