"""A real member that is far behind on a full disk: it stays up, says so, and installs the image once there is room."""

import asyncio
from pathlib import Path

import pytest

from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster
from tests.support.small_disks import SmallDisks
from tests.support.waiting import wait_for, wait_until

pytestmark = pytest.mark.integration
QUEUE = "behind"
MIB = 1024 * 1024
HISTORY_BYTES = 220 * MIB  # more than what a leader keeps for members that were away
DISK_BYTES = 768 * MIB
DEADLINE_S = 60.0


async def pass_messages(client: Client, total_bytes: int) -> None:
    """Publish and settle so much."""
    body = bytes(range(1, 251)) * (MIB // 250)
    for _ in range(total_bytes // (4 * len(body))):
        await client.publish_batch([(QUEUE, body[:-500]) for _ in range(4)])
        while got := await client.fetch(QUEUE, 4):
            await client.batch_ack(QUEUE, [message for message, _ in got])


async def test_an_image_waits_for_room_on_a_full_disk_and_the_member_lives_on(
    tmp_path: Path,
) -> None:
    settings = {"SNAPSHOT_THRESHOLD": "100"}
    with (
        SmallDisks(tmp_path / "disks", 1, disk_bytes=DISK_BYTES) as disks,
        Cluster(tmp_path / "members", settings=settings) as cluster,
    ):
        cluster[3].environment["DATA_DIR"] = str(disks.data_dir(1))
        await cluster.start_and_wait()
        async with await logged_in(cluster[1].address) as client:
            await client.create_queue(QUEUE)
            await asyncio.to_thread(cluster[3].kill)
            await pass_messages(client, HISTORY_BYTES)
            for number in range(150):  # a checkpoint behind all of it
                await client.publish(QUEUE, f"{number:04}".encode())
            disks.fill_without_reserve(1)
            said = len(cluster[3].log_text())
            cluster[3].start()
            await wait_for(
                lambda: '"resource": "disk"' in cluster[3].log_text()[said:],
                what="a member that says that its disk is full",
                deadline_s=DEADLINE_S,
            )
            await wait_until(
                lambda: follows(cluster, 3), what="a member that follows", deadline_s=DEADLINE_S
            )
            await client.publish(QUEUE, b"meanwhile")
            assert cluster[3].is_running
            assert "checkpoint_installed" not in cluster[3].log_text()[said:]

            disks.free(1)
            await cluster.wait_serving(3, deadline_s=DEADLINE_S)
            assert "checkpoint_installed" in cluster[3].log_text()[said:]
        assert cluster[3].exit_codes == [-9], "it never ended by itself"
        async with await logged_in(cluster[3].address) as client:
            assert len(await client.drain(QUEUE)) == 151


async def follows(cluster: Cluster, member: int) -> bool:
    status, text = await cluster.http_get(member, "/readyz")
    return status == 503 and "leader" in text
