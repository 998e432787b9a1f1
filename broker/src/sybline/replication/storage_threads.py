"""The journal of a member at work and the threads that write it: one for syncs of the log, one for everything else.

Owns how the journal ends: never while something is being written to it. What is written, and when, the node decides.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from sybline.clock import Clock
from sybline.replication.background import Worker
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.journal import Journal

log = structlog.get_logger(__name__)

STOP_S: Final = 10.0  # for what is being written when this member stops


class StorageThreads:
    """See the module."""

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock,
        edge: FailStopEdge,
        synced: Callable[[], None],
        written: Callable[[], None],
    ) -> None:
        """`synced` and `written` are called on the loop after each piece of work of the two threads."""
        self._journal = journal
        self._edge = edge
        self.syncs = Worker("log-sync", edge=edge, clock=clock, then=synced)
        self.files = Worker("checkpoint", edge=edge, clock=clock, then=written)

    def is_full(self) -> bool:
        """Return whether there is no room for the log to go on; each time, try again to get some."""
        is_full = self._journal.is_full
        if is_full and not self.files.is_busy:
            self.files.start(self._journal.retry_reserve, lambda: None)
        return is_full

    async def stop(self) -> None:
        """Close the journal once nothing is being written; if that takes too long, leave it as a crash would."""
        if not await self._is_idle():
            log.error("storage_still_busy", waited_s=STOP_S)
            return
        with self._edge:
            await asyncio.get_running_loop().run_in_executor(None, self._close_journal)
        self.syncs.close()
        self.files.close()

    async def _is_idle(self) -> bool:
        """Wait for what is being written; the end of one write may begin another."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                while self.syncs.is_busy or self.files.is_busy:
                    await self.syncs.wait_until_idle()
                    await self.files.wait_until_idle()
                return True
        return False

    def _close_journal(self) -> None:
        if not self._edge.is_broken:
            self._journal.sync()
        self._journal.close()
