"""What a member measures of itself, says in its log, and tells the others (Z-5)."""

import shutil
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sybline.replication import resource_watch
from sybline.replication.pressure import Marks, Pressure, Resource, Shortage
from sybline.replication.resource_watch import OPEN_FILES, ResourceUse, ResourceWatch

MEMBER = 1
MARKS = Marks(disk_low_bytes=100, disk_low_ratio=0.5, memory_high_bytes=1_000)


class Machine:
    """A machine whose figures the test sets; what is an error is raised."""

    def __init__(self) -> None:
        self.free_bytes: int | OSError = 500
        self.resident_bytes: int | OSError = 500
        self.open_files: int | OSError = 10
        self.log_is_full = False
        self.trims = 0

    def disk_usage(self, _directory: Path) -> SimpleNamespace:
        return SimpleNamespace(free=_told(self.free_bytes), total=1_000)

    def give_back(self) -> None:
        self.trims += 1


def _told(value: int | OSError) -> int:
    if isinstance(value, OSError):
        raise value
    return value


class Bench:
    """One watch over that machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.pressure = Pressure(frozenset({MEMBER}))
        self.told: list[AbstractSet[Resource]] = []
        self.watch = ResourceWatch(
            member=MEMBER, directory=Path("/data"), marks=MARKS, pressure=self.pressure,
            is_full=lambda: machine.log_is_full, tell_peers=self.told.append,
        )  # fmt: skip

    async def events(self) -> list[tuple[str, str]]:
        """Measure, and return the log's events with the resource each is about."""
        with capture_logs() as logs:
            await self.watch.measure()
        return [(entry["event"], entry["resource"]) for entry in logs]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    machine = Machine()
    monkeypatch.setattr(shutil, "disk_usage", machine.disk_usage)
    monkeypatch.setattr(resource_watch, "resident_bytes", lambda: _told(machine.resident_bytes))
    monkeypatch.setattr(resource_watch, "open_files", lambda: _told(machine.open_files))
    monkeypatch.setattr(resource_watch, "open_files_max", lambda: 100)
    monkeypatch.setattr(resource_watch, "give_back_memory", machine.give_back)
    return Bench(machine)


async def test_a_member_with_enough_of_everything_says_nothing_and_tells_so(bench: Bench) -> None:
    assert await bench.events() == []
    assert bench.told == [set()]
    assert bench.watch.use == ResourceUse(500, 100, 500, 1_000, frozenset())
    assert bench.machine.trims == 0


async def test_a_full_disk_is_logged_when_it_begins_and_when_it_ends(bench: Bench) -> None:
    bench.machine.free_bytes = 99
    assert await bench.events() == [("resource_short", "disk")]
    assert await bench.events() == []
    assert bench.told[-1] == {Resource.DISK}
    assert bench.pressure.shortage(MEMBER) == Shortage(MEMBER, Resource.DISK)
    bench.machine.free_bytes = 105
    assert await bench.events() == []
    bench.machine.free_bytes = 111
    assert await bench.events() == [("resource_recovered", "disk")]
    assert bench.pressure.shortage(MEMBER) is None


async def test_a_log_without_a_reserve_counts_as_a_full_disk_whatever_is_free(bench: Bench) -> None:
    bench.machine.log_is_full = True
    assert await bench.events() == [("resource_short", "disk")]
    assert bench.watch.use.short_of == {"disk"}


async def test_a_disk_that_cannot_be_asked_counts_as_full(bench: Bench) -> None:
    bench.machine.free_bytes = OSError("no such disk")
    events = [("resource_not_measured", "disk"), ("resource_short", "disk")]
    assert await bench.events() == events
    assert await bench.events() == []


async def test_memory_above_its_mark_is_told_and_what_was_freed_is_given_back(bench: Bench) -> None:
    bench.machine.resident_bytes = 1_001
    assert await bench.events() == [("resource_short", "memory")]
    assert bench.told[-1] == {Resource.MEMORY}
    assert bench.machine.trims == 1
    bench.machine.resident_bytes = OSError("no /proc")
    assert await bench.events() == [("resource_not_measured", "memory")]
    assert bench.told[-1] == {Resource.MEMORY}, "what is not known has not changed"
    bench.machine.resident_bytes = 950
    assert await bench.events() == [("resource_recovered", "memory")]
    assert bench.told[-1] == set()


async def test_few_files_left_are_warned_about_and_refuse_nothing(bench: Bench) -> None:
    bench.machine.open_files = 91
    assert await bench.events() == [("resource_short", OPEN_FILES)]
    assert bench.watch.use.short_of == {OPEN_FILES}
    assert bench.pressure.shortage(MEMBER) is None
    bench.machine.open_files = 86
    assert await bench.events() == []
    bench.machine.open_files = 85
    assert await bench.events() == [("resource_recovered", OPEN_FILES)]


async def test_other_marks_count_from_the_next_look_on(bench: Bench) -> None:
    await bench.watch.measure()
    bench.watch.judge_by(Marks(disk_low_bytes=600, disk_low_ratio=0.9, memory_high_bytes=400))
    assert sorted(await bench.events()) == [
        ("resource_short", "disk"),
        ("resource_short", "memory"),
    ]
    assert bench.watch.use.disk_low_mark_bytes == 600
