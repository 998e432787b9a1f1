"""The machine stops before and inside every single file operation of the journal; nothing promised is lost."""

import contextlib
import random

import pytest

from tests.simulation.disk import Crashed, SimulatedDisk
from tests.support.journal_model import JournalModel, journal_on


def leader_with_image(entries: int, seed: int) -> JournalModel:
    """Return another member with a checkpoint, cold files, and some log behind it."""
    source = JournalModel(SimulatedDisk(random.Random(seed)), random.Random(seed))
    source.journal = journal_on(source.disk, member=2)
    for _ in range(3):
        source.vote()
    while source.journal.last < entries:
        source.append(5)
        source.sync()
        if source.journal.last > entries // 2:
            source.checkpoint()
            source.look_after_files()
    return source


def run_scenario(seed: int, crash_at: int | None, *, power: bool) -> int:
    """Run operations until the crash, recover, go on a little, recover again; return the steps it took."""
    disk = SimulatedDisk(random.Random(seed), crash_at=crash_at)
    model = JournalModel(disk, random.Random(seed))
    source = leader_with_image(120, seed)
    try:
        model.open()
        for number in range(60):
            model.step()
            if number == 30:
                source_needs = source.saved_needs[source.journal.checkpoint_index]
                installed = model.install(source.journal, source_needs)
                assert installed
        model.journal.close()
    except Crashed:
        pass
    disk.crash(power=power)
    steps = disk.steps
    recover(model)
    for _ in range(6):
        model.step()
    model.restart(power=True)
    return steps


def recover(model: JournalModel) -> None:
    """Open again, this time without a crash."""
    model.disk.crash_at = None
    model.open()
    model.check_now()


@pytest.mark.parametrize("power", [False, True], ids=["process crash", "power loss"])
@pytest.mark.parametrize("seed", range(3))
def test_a_crash_at_any_file_operation_loses_nothing_promised(seed: int, power: bool) -> None:
    steps = run_scenario(seed, None, power=power)
    assert steps > 100
    for crash_at in range(1, steps + 1):
        run_scenario(seed, crash_at, power=power)


@pytest.mark.parametrize("seed", range(2))
def test_a_crash_while_recovering_from_a_crash_loses_nothing_promised(seed: int) -> None:
    for first in range(40, 240, 23):
        for second in range(1, 15):
            disk = SimulatedDisk(random.Random(seed * 1000 + first), crash_at=first)
            model = JournalModel(disk, random.Random(seed))
            try:
                model.open()
                for _ in range(80):
                    model.step()
            except Crashed:
                pass
            disk.crash(power=True)
            disk.crash_at = disk.steps + second
            with contextlib.suppress(Crashed):
                model.open()
            disk.crash(power=True)
            recover(model)
