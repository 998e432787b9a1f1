"""Looks after what this member can run out of, and tells the others (Z-5): disk, memory, open files.

Owns the regular measurement, off the loop, the log lines when a shortage begins and ends, and the reports. What follows
from disk and memory is decided in `pressure.py`; nothing is refused for open files, they are only warned about.
"""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from sybline import limits
from sybline.process_files import open_files, open_files_max
from sybline.process_memory import give_back_memory, resident_bytes
from sybline.replication.pressure import Marks, Pressure, Resource

log = structlog.get_logger(__name__)

OPEN_FILES: Final = "open_files"  # in the log and in metrics, beside the values of Resource
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measured:
    """What one look found; None: the system did not tell."""

    disk_free_bytes: int | None
    disk_total_bytes: int
    resident_bytes: int | None
    open_files: int | None
    errors: Mapping[str, str]  # by resource


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """What was measured last, and what this member is short of."""

    disk_free_bytes: int = 0
    disk_low_mark_bytes: int = 0
    memory_used_bytes: int = 0
    memory_high_mark_bytes: int = 0  # 0: no mark
    short_of: frozenset[str] = frozenset()  # names of resources


def look(directory: Path) -> Measured:
    """Measure. Each by itself: a process that can open no file can still ask for its disk."""
    errors: dict[str, str] = {}
    disk = _ask(Resource.DISK.value, lambda: shutil.disk_usage(directory), errors)
    return Measured(
        disk_free_bytes=None if disk is None else disk.free,
        disk_total_bytes=0 if disk is None else disk.total,
        resident_bytes=_ask(Resource.MEMORY.value, resident_bytes, errors),
        open_files=_ask(OPEN_FILES, open_files, errors),
        errors=errors,
    )


def _ask(resource: str, question: Callable[[], T], errors: dict[str, str]) -> T | None:
    try:
        return question()
    except OSError as error:
        errors[resource] = str(error)
        return None


class ResourceWatch:
    """Measures for ever."""

    def __init__(
        self,
        *,
        member: int,
        directory: Path,
        marks: Marks,
        pressure: Pressure,
        is_full: Callable[[], bool],
        tell_peers: Callable[[AbstractSet[Resource]], None],
    ) -> None:
        """`is_full`: whether the log could not reserve its next segment. `tell_peers` gets what this member lacks."""
        self._member = member
        self._directory = directory
        self._marks = marks
        self._pressure = pressure
        self._is_full = is_full
        self._tell_peers = tell_peers
        self._open_files_max = open_files_max()
        self._short_of: frozenset[Resource] = (
            frozenset()
        )  # also of a member whose disk does not count
        self._untold: frozenset[str] = frozenset()  # what the last look could not measure
        self._disk_free_bytes = 0  # as measured last
        self._disk_low_mark_bytes = 0
        self._memory_used_bytes = 0
        self._has_few_files_left = False

    def judge_by(self, marks: Marks) -> None:
        """Judge by other marks from the next look on."""
        self._marks = marks

    @property
    def use(self) -> ResourceUse:
        """Return what was measured last."""
        short_of = {resource.value for resource in self._short_of}
        if self._has_few_files_left:
            short_of.add(OPEN_FILES)
        return ResourceUse(
            disk_free_bytes=self._disk_free_bytes,
            disk_low_mark_bytes=self._disk_low_mark_bytes,
            memory_used_bytes=self._memory_used_bytes,
            memory_high_mark_bytes=self._marks.memory_high_bytes,
            short_of=frozenset(short_of),
        )

    async def run(self) -> None:
        """Measure and report until cancelled."""
        while True:
            await self.measure()
            await asyncio.sleep(limits.RESOURCES_INTERVAL_S)

    async def measure(self) -> None:
        """Measure and report once. A disk that cannot even be asked counts as full."""
        loop = asyncio.get_running_loop()
        before = self._short_of
        measured = await loop.run_in_executor(None, look, self._directory)
        self._note_untold(measured.errors)
        short = set()
        if self._is_disk_low(measured, was_low=Resource.DISK in before):
            short.add(Resource.DISK)
        if self._is_memory_high(measured.resident_bytes, was_high=Resource.MEMORY in before):
            short.add(Resource.MEMORY)
        self._short_of = frozenset(short)
        self._pressure.reported(self._member, self._short_of)
        self._note_changes(before, short)
        self._note_open_files(measured.open_files)
        self._tell_peers(short)
        if Resource.MEMORY in short:  # what settles freed lies in the heap, and would count as used
            await loop.run_in_executor(None, give_back_memory)

    def _is_disk_low(self, measured: Measured, *, was_low: bool) -> bool:
        if measured.disk_free_bytes is None:
            return True
        self._disk_free_bytes = measured.disk_free_bytes
        self._disk_low_mark_bytes = self._marks.disk_low_mark_bytes(measured.disk_total_bytes)
        return self._is_full() or self._marks.is_disk_low(
            free_bytes=measured.disk_free_bytes,
            total_bytes=measured.disk_total_bytes,
            was_low=was_low,
        )

    def _is_memory_high(self, measured: int | None, *, was_high: bool) -> bool:
        if measured is None:
            return was_high
        self._memory_used_bytes = measured
        return self._marks.is_memory_high(measured, was_high=was_high)

    def _note_untold(self, errors: Mapping[str, str]) -> None:
        untold = frozenset(errors)
        for resource in untold - self._untold:
            log.warning("resource_not_measured", resource=resource, error=errors[resource])
        self._untold = untold

    def _note_changes(self, before: AbstractSet[Resource], now: AbstractSet[Resource]) -> None:
        facts = {
            Resource.DISK: {
                "free_bytes": self._disk_free_bytes, "mark_bytes": self._disk_low_mark_bytes,
            },
            Resource.MEMORY: {
                "used_bytes": self._memory_used_bytes, "mark_bytes": self._marks.memory_high_bytes,
            },
        }  # fmt: skip
        for resource in now - before:
            log.warning("resource_short", resource=resource.value, **facts[resource])
        for resource in before - now:
            log.info("resource_recovered", resource=resource.value, **facts[resource])

    def _note_open_files(self, measured: int | None) -> None:
        if measured is None:
            return
        was_short, allowed = self._has_few_files_left, self._open_files_max
        ratio = limits.OPEN_FILES_RECOVERED_RATIO if was_short else limits.OPEN_FILES_HIGH_RATIO
        self._has_few_files_left = is_short = measured > allowed * ratio
        if is_short and not was_short:
            log.warning("resource_short", resource=OPEN_FILES, open=measured, allowed=allowed)
        elif was_short and not is_short:
            log.info("resource_recovered", resource=OPEN_FILES, open=measured, allowed=allowed)
