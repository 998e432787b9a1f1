"""Power losses of real members on real files (P3): nothing acknowledged is lost. `make power` is the long run."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.chaos.power import Power
from tests.chaos.rounds import POWER_QUICK
from tests.chaos.run import run_chaos
from tests.support.checker import check
from tests.support.cluster import Cluster
from tests.support.load import Load, LoadSettings, running_load
from tests.support.power_loss import NOTHING, lose_power
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration
SEED = 4


async def test_a_short_run_with_power_losses_is_clean(tmp_path: Path) -> None:
    outcome = await run_chaos(tmp_path, POWER_QUICK, SEED, power=True)
    assert outcome.is_good, outcome.summary()


async def test_a_log_whose_syncs_do_nothing_loses_messages_and_the_checker_finds_it(
    tmp_path: Path,
) -> None:
    """What the run above would miss if the broker did not sync: without this, a clean run says little."""
    settings = LoadSettings(queues=("power",), consumers=0)
    with Cluster(tmp_path) as cluster:
        power = Power(cluster, random.Random(SEED))
        await cluster.start_and_wait()
        load = Load(cluster.addresses, settings, seed=SEED)
        async with running_load(load):
            for shim in power.shims.values():
                shim.fail(only="/log-", lose_syncs=1)
            await wait_for(lambda: load.confirmed >= 50, what="confirms", deadline_s=20.0)
            await asyncio.to_thread(cluster.kill_all)
            for shim in power.shims.values():
                shim.heal()
                lose_power(shim, power.rng, kept=(NOTHING,))
            await cluster.restart()
            await load.stop()
            drained = await load.drain(deadline_s=30.0, quiet_s=1.0)
    report = check(load.history, drained=drained, lease_s=settings.lease_s)
    assert report.number("lost") >= 25, report
