"""A member whose disk is damaged or empty: wiped, it comes back as a new one, and never as what it was (C-7, P2)."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support.admin_cli import id_at, members
from tests.support.client import logged_in
from tests.support.cluster import Cluster, Member
from tests.support.stored_member import START_STATUS, Refused, require_clear
from tests.support.waiting import WaitTimedOut, wait_for

pytestmark = pytest.mark.integration
QUEUE = "damaged"
DEADLINE_S = 30.0
NO_LEADER_S = 4.0  # several election time-outs: a majority would have formed


async def publish(cluster: Cluster, at: int, bodies: list[bytes]) -> None:
    async with await logged_in(cluster[at].address) as client:
        await client.create_queue(QUEUE)
        await client.publish_batch([(QUEUE, body) for body in bodies])


def damage(member: Member) -> Path:
    """Flip a bit in the middle of the member's log."""
    log = max(member.data_dir.rglob("log-*"))
    data = bytearray(log.read_bytes())
    data[len(data.rstrip(b"\0")) // 2] ^= 1
    log.write_bytes(data)
    return log


def become_new(member: Member) -> None:
    """Empty a directory, and let a new member start on it."""
    shutil.rmtree(member.data_dir)
    member.environment["SYBLINE_MEMBER__BOOTSTRAP"] = "false"
    del member.environment["RAFT_NODE_ID"]


async def test_p2_a_damaged_member_is_refused_wiped_and_added_again_and_has_everything(
    tmp_path: Path,
) -> None:
    bodies = [f"{number:03}".encode() for number in range(100)]
    with Cluster(tmp_path) as cluster:
        leader = await cluster.start_and_wait()
        broken, other = sorted({1, 2, 3} - {leader})
        await publish(cluster, leader, bodies)
        await asyncio.to_thread(cluster[broken].stop)
        log = damage(cluster[broken])
        cluster[broken].start()
        await wait_for(lambda: not cluster[broken].is_running, what="an end", deadline_s=DEADLINE_S)
        refused = Refused(cluster[broken].wait_stopped(), cluster[broken].log_text())
        assert refused.status == START_STATUS
        require_clear(refused, str(log), "a damaged log")

        server = cluster[leader].address
        before = await id_at(server, cluster[broken].peer_address)
        await members(server, "remove", str(before))
        become_new(cluster[broken])
        cluster[broken].start()
        await members(server, "add", cluster[broken].peer_address)
        await cluster.wait_serving(broken)
        assert await id_at(server, cluster[broken].peer_address) != before

        await asyncio.to_thread(cluster[other].kill)  # now the new one is needed for every commit
        await cluster.wait_leader(among={leader, broken}, deadline_s=DEADLINE_S)
        async with await logged_in(cluster[broken].address) as client:
            assert await client.drain(QUEUE) == bodies


async def test_an_emptied_member_that_was_not_removed_does_not_vote_as_what_it_was(
    tmp_path: Path,
) -> None:
    """Its settings still say that it forms the cluster; with its vote, a member that lacks entries could lead."""
    with Cluster(tmp_path) as cluster:
        leader = await cluster.start_and_wait()
        emptied, behind = sorted({1, 2, 3} - {leader})
        await asyncio.to_thread(cluster[behind].kill)
        await publish(cluster, leader, [b"only on two"])
        await asyncio.to_thread(cluster[emptied].kill)
        await asyncio.to_thread(cluster[leader].kill)
        shutil.rmtree(cluster[emptied].data_dir)
        for number in (emptied, behind):
            cluster[number].start()
        for number in (emptied, behind):
            await wait_for(
                lambda n=number: cluster[n].log_text().count('"member_started"') == 2,
                what=f"member {number} at work",
                deadline_s=DEADLINE_S,
            )
        with pytest.raises(WaitTimedOut):
            await cluster.wait_leader(among={emptied, behind}, deadline_s=NO_LEADER_S)
        await cluster.restart(leader, deadline_s=DEADLINE_S)
        async with await logged_in(cluster[leader].address) as client:
            assert await client.drain(QUEUE) == [b"only on two"]
