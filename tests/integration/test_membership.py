"""Members come and go under load, by the commands an operator has: nothing acknowledged is lost, nothing settled
comes back."""

import asyncio
from pathlib import Path

import pytest

from sybline.v1 import admin_pb2 as admin
from tests.support.admin_cli import id_at, members, membership
from tests.support.checker import check
from tests.support.cluster import Cluster, Member
from tests.support.digests import digests_of
from tests.support.load import Load, LoadSettings, running_load
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration

LEASE_S = 3.0
CONFIRMS = 20  # between two steps, so that each meets a cluster at work
LIGHT = LoadSettings(
    publishers=3, consumers=2, publish_every_s=0.05, fetch_every_s=0.1, lease_s=LEASE_S
)


class Growing:
    """A cluster under load whose members change."""

    def __init__(self, cluster: Cluster, load: Load) -> None:
        self.cluster = cluster
        self.load = load

    async def confirms(self) -> None:
        wanted = self.load.confirmed + CONFIRMS
        await wait_for(
            lambda: self.load.confirmed >= wanted,
            what=f"{CONFIRMS} more confirms; errors so far: {dict(self.load.refusals)}",
            deadline_s=30.0,
        )

    async def add(self) -> Member:
        """Start an empty member, add it, and use it."""
        joiner = self.cluster.add_joiner()
        joiner.start()
        await members(self._server(), "add", joiner.peer_address)
        await self.cluster.wait_serving(joiner.id)
        self.load.move_to(self.cluster.addresses)
        await self.confirms()
        return joiner

    async def remove(self, number: int) -> None:
        """Remove a member and stop it."""
        leaving = self.cluster[number]
        member = await id_at(self._server(), leaving.peer_address)
        self.cluster.forget(number)
        self.load.move_to(self.cluster.addresses)
        await members(self._server(), "remove", str(member))
        assert await asyncio.to_thread(leaving.stop) == 0
        await self.confirms()

    async def lose(self, number: int) -> None:
        """Kill a member for good and remove it."""
        lost = self.cluster.forget(number)
        await asyncio.to_thread(lost.kill)
        self.load.move_to(self.cluster.addresses)
        member = await id_at(self._server(), lost.peer_address)
        await members(self._server(), "remove", str(member))
        await self.confirms()

    async def voters(self) -> int:
        configured = (await membership(self._server())).configuration.members
        return sum(each.role == admin.MEMBER_ROLE_VOTER for each in configured)

    def _server(self) -> str:
        return self.cluster.addresses[0]


async def finish(growing: Growing) -> None:
    """End the load, empty the queues, and judge."""
    load = growing.load
    await load.stop_publishing()
    await load.stop()
    drained = await load.drain(deadline_s=60.0)
    digests = await digests_of(growing.cluster)
    report = check(load.history, drained=drained, lease_s=LEASE_S, digests=digests)
    print(report)
    assert report.is_clean, str(report)
    assert report.counts["confirmed"] > 200


async def test_all_three_members_are_replaced_by_new_disks_under_load(tmp_path: Path) -> None:
    with Cluster(tmp_path, settings={"NODE_TTL": f"{LEASE_S:g}"}) as cluster:
        leader = await cluster.start_and_wait()
        followers = [number for number in cluster.members if number != leader]
        load = Load(cluster.addresses, LIGHT, seed=31)
        async with running_load(load):
            growing = Growing(cluster, load)
            await growing.confirms()
            await growing.add()  # a follower that goes in good order
            await growing.remove(followers[0])
            await growing.lose(followers[1])  # one whose disk is gone
            await growing.add()
            await growing.add()  # the leader hands over and goes
            await growing.remove(leader)
            assert await growing.voters() == 3
            assert not {1, 2, 3} & set(cluster.members)
            await finish(growing)


async def test_a_cluster_grows_from_one_to_five_and_shrinks_to_another_one_under_load(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path, members=1, settings={"NODE_TTL": f"{LEASE_S:g}"}) as cluster:
        await cluster.start_and_wait()
        load = Load(cluster.addresses, LIGHT, seed=32)
        async with running_load(load):
            growing = Growing(cluster, load)
            await growing.confirms()
            for _ in range(4):
                await growing.add()
            assert await growing.voters() == 5
            await growing.remove(await cluster.wait_leader())
            for number in sorted(cluster.members)[:3]:
                await growing.remove(number)
            assert await growing.voters() == 1
            assert 1 not in cluster.members
            await finish(growing)
