"""Background tasks that must not end: what ends anyway ends the process.

A member whose housekeeping has silently stopped looks well and is not.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import structlog

from sybline.errors import FailStop
from sybline.replication.fail_stop import Die

log = structlog.get_logger(__name__)


def supervise(coroutine: Coroutine[Any, Any, None], *, name: str, die: Die) -> asyncio.Task[None]:
    """Run a coroutine in a task until it is cancelled; if it returns or raises before, call `die` with the reason."""
    task = asyncio.create_task(coroutine, name=name)
    task.add_done_callback(partial(_ended, die))
    return task


def _ended(die: Die, task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    name, error = task.get_name(), task.exception()
    if isinstance(error, FailStop):
        die(f"{name}: {error}")
    elif error is not None:
        log.error("task_failed", task=name, exc_info=error)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        die(f"{name} failed: {text}")
    elif not task.cancelling():  # told to end, it may return instead
        die(f"{name} ended")
