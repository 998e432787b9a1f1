"""Limits that an operator chooses, on real members: memory, open files, the size of a body (Z-4, Z-5)."""

import asyncio
from pathlib import Path

import grpc
import pytest

from sybline import limits
from sybline.v1 import mq_pb2
from tests.support.client import Client, logged_in
from tests.support.cluster import CHANNEL_OPTIONS, Cluster
from tests.support.refusals import refused
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration
QUEUE = "limits"
DEADLINE_S = 15.0
LARGE_OPTIONS = (
    *(option for option in CHANNEL_OPTIONS if option[0] != "grpc.max_receive_message_length"),
    ("grpc.max_receive_message_length", limits.BODY_BYTES_MAX + limits.MESSAGE_OVERHEAD_BYTES),
)


async def test_z5_above_its_memory_mark_a_member_refuses_publishes_and_nothing_else(
    tmp_path: Path,
) -> None:
    mark = {"SYBLINE_LIMITS__MEMORY_HIGH_MARK_BYTES": "64MiB"}  # less than an idle member takes
    with Cluster(tmp_path, members=1, settings=mark) as cluster:
        await cluster.start_and_wait()
        member = cluster[1]
        async with await logged_in(member.address) as client:
            await client.create_queue(QUEUE)
            await _until_short(cluster)
            with refused("RESOURCE_EXHAUSTED", "memory is almost full on member 1"):
                await client.publish(QUEUE, b"not taken")
            assert await client.fetch(QUEUE) == []
        assert await asyncio.to_thread(member.stop) == 0
        assert '"event": "resource_short"' in member.log_text()

        member.environment["SYBLINE_LIMITS__MEMORY_HIGH_MARK_BYTES"] = "8GiB"
        await cluster.restart()
        async with await logged_in(member.address) as client:
            await client.publish(QUEUE, b"taken")
            assert [body for _, body in await client.fetch(QUEUE)] == [b"taken"]
        metrics = await cluster.metrics(1)
        assert metrics["sybline_memory_high_mark_bytes"] == 8 << 30
        assert metrics["sybline_publishes_blocked"] == 0
        assert metrics["process_max_fds"] >= metrics["process_open_fds"] > 0


async def _until_short(cluster: Cluster) -> None:
    async def is_short() -> bool:
        metrics = await cluster.metrics(1)
        return metrics.get('sybline_resource_short{resource="memory"}') == 1

    await wait_until(is_short, what="memory above its mark", deadline_s=DEADLINE_S)


async def test_z4_a_raised_limit_holds_for_bodies_through_any_member_and_over_a_restart(
    tmp_path: Path,
) -> None:
    settings = {"SYBLINE_LIMITS__BODY_BYTES_MAX": "32MiB", "ELECTION_TIMEOUT": "3"}
    body = bytes(range(256)) * (limits.BODY_BYTES_MAX // 256)
    with Cluster(tmp_path, settings=settings) as cluster:
        leader = await cluster.start_and_wait()
        others = sorted({1, 2, 3} - {leader})
        async with await _large_client(cluster[others[0]].address) as client:
            await client.create_queue(QUEUE)
            await client.publish(QUEUE, b"before")
            await client.publish(QUEUE, body)
            await client.publish(QUEUE, b"behind")
            largest = limits.BODY_BYTES_MAX
            text = f"message of {largest + 1} bytes exceeds the limit of {largest} bytes"
            with refused("INVALID_ARGUMENT", text):
                await client.publish(QUEUE, body + b"x")
            await _drain_one_by_one(cluster[others[1]].address, [b"before"])
        cluster.kill_all()
        await cluster.start_and_wait()
        await _drain_one_by_one(cluster[others[0]].address, [body, b"behind"])


async def _drain_one_by_one(address: str, expected: list[bytes]) -> None:
    """Require that fetches bring these bodies, the large one alone, and settle them."""
    async with await _large_client(address) as client:
        for body in expected:
            [(message_id, found), *_] = await client.fetch(QUEUE, 1)
            assert found == body
            await client.ack(QUEUE, message_id)


async def _large_client(address: str) -> Client:
    """Return a client with a session that takes answers of any size a member sends."""
    client = await logged_in(address, timeout_s=30.0)
    await client.channel.close()
    client.channel = grpc.aio.insecure_channel(address, options=LARGE_OPTIONS)
    client.stub = type(client.stub)(client.channel)
    return client


async def test_z3_a_raised_limit_does_not_raise_answers_of_small_messages(tmp_path: Path) -> None:
    settings = {"SYBLINE_LIMITS__BODY_BYTES_MAX": "16MiB", "ELECTION_TIMEOUT": "3"}
    with Cluster(tmp_path, members=1, settings=settings) as cluster:
        await cluster.start_and_wait()
        async with await logged_in(cluster[1].address) as client:  # receives 4 MiB, as old clients
            await client.create_queue(QUEUE)
            bodies = [bytes([number]) * 1_000_000 for number in range(12)]
            request = mq_pb2.BatchMessages(
                messages=[mq_pb2.MessageInfo(routingKey=QUEUE, data=body) for body in bodies]
            )
            assert request.ByteSize() > limits.MESSAGE_BYTES_MAX
            await client.call("SubmitBatchedMessages", request)
            assert await client.drain(QUEUE) == bodies
