"""Disks that fail under real members: who cannot trust its disk stops and says so, the others go on (F6, C-8)."""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.client import Client, Metadata, logged_in
from tests.support.cluster import Cluster
from tests.support.disk_shim import DiskShim
from tests.support.small_disks import SmallDisks
from tests.support.stored_member import FAIL_STOP_STATUS, START_STATUS, Refused, require_clear
from tests.support.waiting import wait_for, wait_until

pytestmark = pytest.mark.integration
QUEUE = "faults"
DEADLINE_S = 30.0
LOG, VOTE, CHECKPOINT = "/log-", "/VOTE", "/checkpoint-"


class FaultyCluster:
    """Three members on disks that can fail, and what was acknowledged so far."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.shims = {
            number: DiskShim(member.data_dir, is_recording=False)
            for number, member in cluster.members.items()
        }
        for number, member in cluster.members.items():
            member.environment |= self.shims[number].environment()
        self.session: Metadata = ()
        self.acknowledged: list[bytes] = []
        self._sent = 0

    async def publish(self, count: int, *, at: int) -> None:
        """Publish through a member, and go on whatever becomes of it; what is acknowledged is noted."""
        async with self._client(at) as client:
            for _ in range(count):
                await self._publish_one(client)

    def _client(self, member: int) -> Client:
        """Return a client with the one session of these tests: a login costs more than many publishes."""
        client = Client(self.cluster[member].address, timeout_s=5.0)
        client.metadata = self.session
        return client

    async def _publish_one(self, client: Client) -> None:
        self._sent += 1
        body = f"{self._sent:06}".encode()
        try:
            await client.publish(QUEUE, body)
        except grpc.aio.AioRpcError:
            return
        self.acknowledged.append(body)

    async def ends(self, member: int) -> Refused:
        """Publish until the member ends by itself, and return how it did."""

        async def has_ended() -> bool:
            if self.cluster[member].is_running:
                await self.publish(30, at=member % 3 + 1)
            return not self.cluster[member].is_running

        await wait_until(has_ended, what=f"the end of member {member}", deadline_s=DEADLINE_S)
        return Refused(self.cluster[member].wait_stopped(), self.cluster[member].log_text())

    async def mend(self) -> None:
        for shim in self.shims.values():
            shim.heal()
            shim.control.faults = 0
        await self.cluster.restart()
        await self.cluster.wait_leader()

    async def require_all(self) -> None:
        """Require every acknowledged message once, in order, and settle them; others may be there, too."""
        async with self._client(1) as client:
            found = await client.drain(QUEUE)
        assert len(set(found)) == len(found)
        acknowledged = set(self.acknowledged)
        assert [body for body in found if body in acknowledged] == self.acknowledged
        self.acknowledged = []


@pytest.fixture(scope="module")
def all_faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    settings = {"SNAPSHOT_THRESHOLD": "100"}
    with Cluster(tmp_path_factory.mktemp("faulty"), settings=settings) as cluster:
        yield FaultyCluster(cluster)


@pytest.fixture
async def faulty(all_faulty: FaultyCluster) -> AsyncIterator[FaultyCluster]:
    await all_faulty.mend()
    if not all_faulty.session:
        async with await logged_in(all_faulty.cluster[1].address) as client:
            await client.create_queue(QUEUE)
            all_faulty.session = client.metadata
    yield all_faulty
    await all_faulty.mend()


@pytest.mark.parametrize(
    ("role", "operation", "only"),
    [
        ("leader", "sync_error", LOG),
        ("follower", "write_error", LOG),
        ("leader", "sync_error", CHECKPOINT),
        ("follower", "open_error", CHECKPOINT),
    ],
)
async def test_a_disk_error_ends_the_member_by_name_and_nothing_acknowledged_is_lost(
    faulty: FaultyCluster, role: str, operation: str, only: str
) -> None:
    cluster = faulty.cluster
    leader = await cluster.wait_leader()
    member = leader if role == "leader" else leader % 3 + 1
    await faulty.publish(10, at=leader % 3 + 1)
    number = errno.EMFILE if operation == "open_error" else errno.EIO
    faulty.shims[member].fail(only=only, **{operation: number})
    ended = await faulty.ends(member)
    assert ended.status == FAIL_STOP_STATUS
    require_clear(ended, only.strip("/"), f"{operation} of {only}")
    await cluster.wait_leader(among={1, 2, 3} - {member})
    await faulty.publish(10, at=member % 3 + 1)
    await faulty.mend()
    await faulty.require_all()


async def test_a_vote_that_cannot_be_stored_ends_the_member_before_it_counts(
    faulty: FaultyCluster,
) -> None:
    cluster = faulty.cluster
    leader = await cluster.wait_leader()
    voter, other = sorted({1, 2, 3} - {leader})
    await faulty.publish(10, at=voter)
    faulty.shims[voter].fail(only=VOTE, sync_error=errno.EIO)
    await asyncio.to_thread(cluster[leader].kill)
    await wait_for(
        lambda: not cluster[voter].is_running, what="the voter ends", deadline_s=DEADLINE_S
    )
    ended = Refused(cluster[voter].wait_stopped(), cluster[voter].log_text())
    assert ended.status == FAIL_STOP_STATUS
    require_clear(ended, "VOTE", "a vote")
    assert not await cluster.says_leader(other), "one of three has no majority"
    await faulty.mend()
    await faulty.require_all()


async def test_a_checkpoint_that_finds_the_disk_full_costs_nothing(faulty: FaultyCluster) -> None:
    leader = await faulty.cluster.wait_leader()
    faulty.shims[leader].fail(only=CHECKPOINT, write_error=errno.ENOSPC)
    await wait_until(
        lambda: _published_until_fault(faulty, leader), what="a failed write", deadline_s=DEADLINE_S
    )
    await faulty.publish(30, at=leader)
    assert await faulty.cluster.wait_leader() == leader
    await faulty.require_all()


async def _published_until_fault(faulty: FaultyCluster, member: int) -> bool:
    await faulty.publish(20, at=member)
    return faulty.shims[member].control.faults > 0


@pytest.mark.parametrize("only", [LOG, VOTE])
async def test_a_file_that_cannot_be_read_stops_the_start_and_is_named(
    faulty: FaultyCluster, only: str
) -> None:
    cluster = faulty.cluster
    follower = await cluster.wait_leader() % 3 + 1
    await faulty.publish(120, at=follower)
    await asyncio.to_thread(cluster[follower].kill)
    faulty.shims[follower].fail(only=only, read_error=errno.EIO)
    cluster[follower].start()
    await wait_for(
        lambda: not cluster[follower].is_running, what="a refused start", deadline_s=DEADLINE_S
    )
    refused = Refused(cluster[follower].wait_stopped(), cluster[follower].log_text())
    assert refused.status == START_STATUS
    require_clear(refused, only.strip("/"), f"reading {only}")
    await faulty.mend()
    await faulty.require_all()


async def test_a_read_only_file_system_stops_the_start_and_is_named(tmp_path: Path) -> None:
    with SmallDisks(tmp_path / "disks", 1) as disks, Cluster(tmp_path, members=1) as cluster:
        cluster[1].environment["DATA_DIR"] = str(disks.data_dir(1))
        await cluster.start_and_wait()
        assert cluster[1].stop() == 0
        disks.set_read_only(1, read_only=True)
        cluster[1].start()
        await wait_for(lambda: not cluster[1].is_running, what="an end", deadline_s=DEADLINE_S)
        refused = Refused(cluster[1].wait_stopped(), cluster[1].log_text())
        assert refused.status == START_STATUS
        require_clear(refused, "disk-1/data", "a read-only file system")
        disks.set_read_only(1, read_only=False)
        await cluster.start_and_wait()


async def test_a_new_member_on_a_full_disk_is_refused_and_begins_once_there_is_room(
    tmp_path: Path,
) -> None:
    with SmallDisks(tmp_path / "disks", 1) as disks, Cluster(tmp_path, members=1) as cluster:
        cluster[1].environment["DATA_DIR"] = str(disks.data_dir(1))
        disks.fill(1)
        cluster[1].start()
        await wait_for(lambda: not cluster[1].is_running, what="an end", deadline_s=DEADLINE_S)
        refused = Refused(cluster[1].wait_stopped(), cluster[1].log_text())
        assert refused.status == START_STATUS
        require_clear(refused, "disk-1/data", "a full disk")
        disks.free(1)
        await cluster.start_and_wait()
