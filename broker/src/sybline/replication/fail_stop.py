"""Where a broken member ends: the edge around everything replication does on the loop (C-8).

asyncio logs what a callback raises, even a FailStop, and goes on. So each of replication's callbacks runs inside this
edge, which ends the process instead. It is a context manager and holds no `except`: nothing is handled here.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from sybline.errors import FailStop
from sybline.replication.storage_errors import DISK_ADVICE

log = structlog.get_logger(__name__)

EXIT_CODE = 70  # EX_SOFTWARE: tells a supervisor that this was a decision, not a crash
Die = Callable[[str], None]
_NOT_OURS = (KeyboardInterrupt, SystemExit, asyncio.CancelledError)


def end_process(reason: str) -> None:
    """Say why in one line and end at once: no handler runs, nothing more is written."""
    log.critical("member_stops", reason=reason)
    os._exit(EXIT_CODE)


class FailStopEdge:
    """`with edge:` ends the member when something comes out. Afterwards `is_broken` holds; only tests see that."""

    def __init__(self, die: Die, *, describe: Callable[[], str] = str) -> None:
        """`describe` says what the member was at; "" if nothing in particular."""
        self._die = die
        self._describe = describe
        self.is_broken = False

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or isinstance(error, _NOT_OURS):
            return False
        self.fail(error)
        return True

    def fail(self, error: BaseException) -> None:
        """End the member for this reason; the first one counts."""
        if self.is_broken:
            return
        self.is_broken = True
        context = self._describe()
        self._die(_one_line(error) + (f" ({context})" if context else ""))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that runs until it is cancelled; an error in it ends the member."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let a FailStop end the member wherever on the loop it was raised; the rest is handled as before."""
        before = loop.get_exception_handler()

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if isinstance(error, FailStop):
                self.fail(error)
            elif before is not None:
                before(loop, context)
            else:
                loop.default_exception_handler(context)

        loop.set_exception_handler(handle)


def _one_line(error: BaseException) -> str:
    """Return what went wrong and where, and what to do if it is the disk, without a line break."""
    where = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        where = f"{Path(code.co_filename).name}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    text = str(error) if isinstance(error, FailStop) else f"{type(error).__name__}: {error}"
    is_disk = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
    advice = f". {DISK_ADVICE}" if is_disk else ""
    return " ".join(f"{text} at {where}{advice}".split())
