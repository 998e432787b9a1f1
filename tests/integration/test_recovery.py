"""A majority is gone for good: one survivor goes on with all it has, and the old members stay out for ever."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from sybline.v1 import admin_pb2 as admin
from tests.support.admin_cli import members, membership, run_members
from tests.support.client import logged_in
from tests.support.cluster import SYBLINE, Cluster

pytestmark = pytest.mark.integration

MESSAGES = 300
COMMAND = re.compile(r"^  sybline (recover .*--i-accept-data-loss \w+)$", re.MULTILINE)


def recover(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SYBLINE), "recover", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def publish(address: str) -> None:
    async with await logged_in(address) as client:
        await client.create_queue("orders")
        for first in range(0, MESSAGES, 20):
            numbers = range(first, first + 20)
            await asyncio.gather(
                *(client.publish("orders", f"order {number}".encode()) for number in numbers)
            )


async def test_one_survivor_of_three_goes_on_and_the_others_can_never_come_back(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path, settings={"SNAPSHOT_THRESHOLD": "100"}) as cluster:
        leader = await cluster.start_and_wait()
        await publish(cluster[leader].address)
        survivor = next(n for n in cluster.members if n != leader)
        gone = [cluster[n] for n in cluster.members if n != survivor]
        data = str(cluster[survivor].data_dir)

        in_use = recover(data)
        assert in_use.returncode == 1
        assert "is in use by another process" in in_use.stderr

        cluster.kill_all()
        everybody = recover(*(str(member.data_dir) for member in cluster.members.values()))
        assert everybody.returncode == 0
        assert "A majority is here, so nothing is lost" in everybody.stdout

        before = content(cluster[survivor].data_dir)
        seen = recover(data)
        assert seen.returncode == 0, seen.stderr
        assert content(cluster[survivor].data_dir) == before, "a dry run changes nothing"
        print(seen.stdout)
        [command] = COMMAND.findall(seen.stdout)
        wrong = recover(*command.split()[1:-1], "0" * 16)
        assert (wrong.returncode, content(cluster[survivor].data_dir)) == (1, before)
        done = recover(*command.split()[1:])
        assert done.returncode == 0, done.stderr
        print(done.stdout)

        cluster[survivor].start()
        await cluster.wait_serving(survivor)
        old = gone[0]
        old.start()
        joiner = cluster.add_joiner()
        joiner.start()
        server = cluster[survivor].address
        await members(server, "add", joiner.peer_address)
        await cluster.wait_serving(joiner.id)

        async with await logged_in(joiner.address) as client:
            bodies = await client.drain("orders")
        assert sorted(bodies) == sorted(f"order {n}".encode() for n in range(MESSAGES))
        refused = await run_members(server, "add", old.peer_address, "--timeout", "3")
        assert refused.status == 1
        print(refused.err)
        configured = (await membership(server)).configuration.members
        assert [each.role for each in configured] == [admin.MEMBER_ROLE_VOTER] * 2
        assert await cluster.says_leader(old.id, timeout_s=5.0) is False
        status, text = await cluster.http_get(old.id, "/readyz")
        assert status == 503
        assert "no leader is known" in text, "it is alone, in a cluster that is gone"


def content(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
