"""Wall clocks that jump by an hour on every member: leases and sessions keep their length (L-8, F7)."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster
from tests.support.disk_shim import DiskShim
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration
HOUR_S = 3600
LEASE_S = 2.0
LATE_S = 6.0  # a busy machine; an hour is far from it
QUEUE = "clock"


class Clocks:
    """The wall clock of each member of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._shims = {
            number: DiskShim(member.data_dir, is_recording=False)
            for number, member in cluster.members.items()
        }
        for number, member in cluster.members.items():
            member.environment |= self._shims[number].environment()

    def jump(self, member: int, seconds: int) -> None:
        self._shims[member].control.wall_clock_s += seconds


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    with Cluster(tmp_path, settings={"NODE_TTL": f"{LEASE_S:g}"}) as cluster:
        yield cluster


async def lease_lasts(holder: Client, other: Client, jump: list[tuple[Clocks, int, int]]) -> float:
    """Lease a message, let clocks jump, and return how long another session had to wait for it."""
    await holder.publish(QUEUE, b"leased")
    [_] = await holder.fetch(QUEUE, 1)
    began = time.monotonic()
    for clocks, member, seconds in jump:
        clocks.jump(member, seconds)

    async def is_returned() -> float | None:
        got = await other.fetch(QUEUE, 1)
        if not got:
            return None
        await other.ack(QUEUE, got[0][0])
        return time.monotonic() - began

    return await wait_until(is_returned, what="the end of the lease", deadline_s=LEASE_S + LATE_S)


async def test_l8_leases_and_sessions_keep_their_length_when_wall_clocks_jump_by_an_hour(
    cluster: Cluster,
) -> None:
    clocks = Clocks(cluster)
    leader = await cluster.start_and_wait()
    back, ahead = sorted({1, 2, 3} - {leader})
    async with (
        await logged_in(cluster[back].address) as holder,
        await logged_in(cluster[back].address) as other,
    ):
        await holder.create_queue(QUEUE)
        for jump in (
            [(clocks, leader, HOUR_S), (clocks, back, -HOUR_S)],
            [(clocks, leader, -2 * HOUR_S), (clocks, ahead, HOUR_S)],
        ):
            assert await lease_lasts(holder, other, jump) > LEASE_S - 0.5

        await asyncio.to_thread(cluster[leader].kill)  # whoever leads now, its clock is an hour off
        await cluster.wait_leader(among={back, ahead})
        lasted_s = await lease_lasts(holder, other, [(clocks, back, HOUR_S)])
        assert lasted_s > LEASE_S - 0.5

        await cluster.restart(leader)
        await holder.publish(QUEUE, b"after")  # the sessions are from before every jump
        async with Client(cluster[leader].address) as elsewhere:
            elsewhere.metadata = other.metadata
            assert await elsewhere.drain(QUEUE) == [b"after"]
