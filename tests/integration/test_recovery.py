"""A majority is gone for good: one survivor goes on with all it has, and the old members stay out for ever."""

import asyncio
import base64
import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

from sybline.v1 import admin_pb2 as admin
from sybline.v1 import admin_pb2_grpc
from tests.support.admin_cli import members, membership, run_members
from tests.support.channels import open_channel
from tests.support.client import logged_in
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, CHANNEL_OPTIONS, SYBLINE, Cluster
from tests.support.waiting import wait_until

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


async def test_an_order_read_at_start_lets_the_one_survivor_go_on_without_a_word_on_its_console(
    tmp_path: Path,
) -> None:
    order = tmp_path / "order"
    settings = {"SNAPSHOT_THRESHOLD": "100", "SYBLINE_MEMBER__RECOVERY_FILE": str(order)}
    with Cluster(tmp_path, settings=settings) as cluster:
        await publish(cluster[await cluster.start_and_wait()].address)
        survivor, *gone = (cluster[n] for n in (2, 1, 3))
        for member in gone:
            member.kill()
            shutil.rmtree(member.data_dir)
            cluster.forget(member.id)
        survivor.kill()
        survivor.start()
        seen = await wait_until(
            lambda: own_status(survivor.address), what="an answer without a leader", deadline_s=30.0
        )
        assert [each.id for each in seen.configured] == [1, 2, 3]
        assert not seen.ready

        order.write_text(
            json.dumps(
                {
                    "member": seen.member.id,
                    "configuration_version": seen.configuration_version,
                    "cluster_uid": seen.cluster_uid,
                    "last_term": seen.last_log_term,
                    "last_index": seen.last_index,
                    "request": "two of three are gone",
                }
            )
        )
        survivor.kill()
        survivor.start()
        await cluster.wait_serving(survivor.id)
        first = (await membership(survivor.address)).configuration
        survivor.kill()
        survivor.start()
        await cluster.wait_serving(survivor.id)
        assert (await membership(survivor.address)).configuration == first, "carried out once"
        assert survivor.log_text().count("recovery_order_carried_out") == 1
        assert "recovery_order_ignored" in survivor.log_text()

        for _ in range(2):
            joiner = cluster.add_joiner()
            joiner.start()
            await members(survivor.address, "add", joiner.peer_address)
            await cluster.wait_serving(joiner.id)
        async with await logged_in(joiner.address) as client:
            bodies = await client.drain("orders")
        assert sorted(bodies) == sorted(f"order {n}".encode() for n in range(MESSAGES))


async def own_status(address: str) -> admin.MemberStatusResponse | None:
    """Return what a member says of itself to who knows its settings; None: no answer."""
    password = base64.b64encode(f"{ADMIN}:{ADMIN_PASSWORD}".encode()).decode()
    async with open_channel(address, CHANNEL_OPTIONS, None) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        with contextlib.suppress(grpc.aio.AioRpcError):
            answer: admin.MemberStatusResponse = await stub.MemberStatus(
                admin.MemberStatusRequest(),
                metadata=(("authorization", f"Basic {password}"),), timeout=2,
            )  # fmt: skip
            return answer
    return None


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
