"""Real file systems that are full: publishes are refused, all else goes on, and nothing acknowledged is lost (Z-5)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster
from tests.support.refusals import refused
from tests.support.small_disks import SmallDisks
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration
QUEUE = "full-disk"
DEADLINE_S = 15.0
PASSING = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[SmallDisks]:
    with SmallDisks(tmp_path / "disks", 3) as disks:
        yield disks


@pytest.fixture
async def cluster(tmp_path: Path, disks: SmallDisks) -> AsyncIterator[Cluster]:
    """Three members, each on a small disk of its own."""
    with Cluster(tmp_path / "members") as cluster:
        for number, member in cluster.members.items():
            member.environment["DATA_DIR"] = str(disks.data_dir(number))
        await cluster.start_and_wait()
        yield cluster


class Publisher:
    """Publishes numbered messages and remembers which were acknowledged."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.acknowledged: list[bytes] = []
        self._sent = 0

    async def publish(self) -> None:
        """Publish one message, and count it only if it is acknowledged."""
        self._sent += 1
        body = f"{self._sent:06}".encode()
        await self.client.publish(QUEUE, body)
        self.acknowledged.append(body)

    async def until_refused_for(self, *members: int) -> None:
        """Publish until that is refused because the disk of one of these members is almost full."""
        texts = {f"disk is almost full on member {member}" for member in members}

        async def is_refused() -> bool:
            error = await self._error_of_one()
            if error is None:
                return False
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert error.details() in texts
            return True

        await wait_until(is_refused, what=f"a refused publish: {texts}", deadline_s=DEADLINE_S)

    async def until_accepted(self) -> None:
        """Publish until one is acknowledged; a full disk and a missing leader are refusals until then."""

        async def is_accepted() -> bool:
            error = await self._error_of_one()
            assert error is None or error.code() in PASSING, error
            return error is None

        await wait_until(is_accepted, what="an acknowledged publish", deadline_s=DEADLINE_S)

    async def _error_of_one(self) -> grpc.aio.AioRpcError | None:
        try:
            await self.publish()
        except grpc.aio.AioRpcError as error:
            return error
        return None

    def require_all(self, found: list[bytes]) -> None:
        """Require each acknowledged message once, in order; one of unknown outcome may be there, too."""
        assert len(set(found)) == len(found)
        acknowledged = set(self.acknowledged)
        assert [body for body in found if body in acknowledged] == self.acknowledged


async def test_z5_a_full_disk_of_the_leader_refuses_publishes_and_nothing_else(
    cluster: Cluster, disks: SmallDisks
) -> None:
    leader = await cluster.wait_leader()
    follower = leader % 3 + 1
    async with await logged_in(cluster[follower].address) as client:
        await client.create_queue(QUEUE)
        publisher = Publisher(client)
        for _ in range(50):
            await publisher.publish()
        disks.fill(leader)
        await publisher.until_refused_for(leader)

        taken = await client.fetch(QUEUE, 20)
        assert [body for _, body in taken] == publisher.acknowledged[:20]
        await client.batch_ack(QUEUE, [message for message, _ in taken])
        await client.create_queue("made-on-a-full-disk")
        async with await logged_in(cluster[leader].address) as other:
            [(message, _)] = await other.fetch(QUEUE, 1)
            await other.nack(QUEUE, message)
            with refused("RESOURCE_EXHAUSTED", f"disk is almost full on member {leader}"):
                await other.publish(QUEUE, b"not taken")
        assert await cluster.wait_leader() == leader

        disks.free(leader)
        await publisher.until_accepted()
        assert sorted(await client.drain(QUEUE)) == publisher.acknowledged[20:]
    assert await cluster.stop_all() == {1: 0, 2: 0, 3: 0}


async def test_a_member_killed_on_a_full_disk_starts_on_it_and_nothing_acknowledged_is_lost(
    cluster: Cluster, disks: SmallDisks
) -> None:
    full = await cluster.wait_leader()
    others = {1, 2, 3} - {full}
    async with await logged_in(cluster[min(others)].address) as client:
        await client.create_queue(QUEUE)
        publisher = Publisher(client)
        await publisher.publish()
        disks.fill(full)
        await publisher.until_refused_for(full)

        cluster[full].kill()
        disks.fill_without_reserve(full)
        await cluster.restart(full)
        assert not disks.has_reserve(full)
        await cluster.wait_leader()
        await publisher.until_accepted()

        low = max(others)
        disks.fill(low)  # a second one: a majority could soon not write any more
        await publisher.until_refused_for(full, low)
        assert await cluster.stop_all() == {1: 0, 2: 0, 3: 0}
        cluster.start()
        await cluster.wait_serving()
        await publisher.until_refused_for(full, low)
        taken = await client.fetch(QUEUE, 1)
        await client.batch_ack(QUEUE, [message for message, _ in taken])

        disks.free(full)
        disks.free(low)
        await publisher.until_accepted()
        settled = [body for _, body in taken]
        publisher.require_all(settled + await client.drain(QUEUE))
