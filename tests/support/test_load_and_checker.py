"""The load and the checker together: silent on a right broker, loud on each seeded defect."""

import pytest

from tests.support.checker import KINDS, Report, check
from tests.support.load import Load, LoadSettings, running_load
from tests.support.memory_broker import DEFECTS, MemoryBroker
from tests.support.waiting import wait_for

SETTINGS = LoadSettings(
    queues=("one",),
    publishers=2,
    consumers=2,
    publish_every_s=0.002,
    fetch_every_s=0.004,
    pause_s=0.001,
    abandon_share=0.02,
    give_up_share=1.0,
    hold_s=0.1,
    lease_s=0.5,
)


async def run_load(defect: str) -> Report:
    async with MemoryBroker(defect=defect, lease_s=SETTINGS.lease_s).serving() as address:
        load = Load([address], SETTINGS, seed=5)
        async with running_load(load):
            await wait_for(lambda: load.confirmed >= 150, what="150 confirms", deadline_s=20)
            await load.stop_publishing()
            await load.stop()
            await load.log_out()
            drained = await load.drain(deadline_s=5.0, quiet_s=0.6)
    return check(load.history, drained=drained or defect == "lost", lease_s=SETTINGS.lease_s)


async def test_a_right_broker_is_found_clean() -> None:
    report = await run_load("")
    assert report.is_clean, str(report)
    assert report.counts["redeliveries"] > 0


@pytest.mark.parametrize("defect", DEFECTS)
async def test_each_defect_is_found_under_its_own_name(defect: str) -> None:
    report = await run_load(defect)
    assert defect in KINDS
    assert report.number(defect) > 0, str(report)
