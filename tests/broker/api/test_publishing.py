"""SubmitMessage and SubmitBatchedMessages through the API (P-1 to P-8, Z-4, Z-5)."""

import pytest

from sybline import limits
from sybline.replication.pressure import Resource, Shortage
from sybline.state_machine.commands import AssignRole, Enqueue, EnqueueRun
from sybline.v1 import mq_pb2
from tests.support.api_server import Api
from tests.support.client import Client
from tests.support.refusals import refused

BODY_MAX = limits.BODY_BYTES_DEFAULT


def published(api: Api) -> list[Enqueue]:
    """Return the publishes that were proposed."""
    return [command for command in api.log.proposed if isinstance(command, Enqueue)]


@pytest.fixture
async def queue(client: Client) -> str:
    await client.create_queue("q")
    return "q"


async def test_a_message_is_one_command_with_its_body(api: Api, client: Client, queue: str) -> None:
    await client.publish(queue, b"abc")
    [command] = published(api)
    assert (command.routing_keys, command.runs, command.bodies, command.batch) == (
        ("q",),
        (EnqueueRun(0, 1, 3),),
        b"abc",
        False,
    )


async def test_a_batch_is_one_command(api: Api, client: Client, queue: str) -> None:
    await client.publish_batch([(queue, b"x" * 1024)] * 256)
    [command] = published(api)
    assert (command.runs, command.batch) == ((EnqueueRun(0, 256, 1024),), True)
    assert len(await client.drain(queue)) == 256


async def test_an_empty_batch_is_ok_and_writes_nothing(api: Api, client: Client) -> None:
    before = len(api.log.proposed)
    await client.publish_batch([])
    assert len(api.log.proposed) == before


async def test_reg_w6_the_largest_body_passes_there_and_back(client: Client, queue: str) -> None:
    body = b"x" * BODY_MAX
    await client.publish(queue, body)
    assert await client.drain(queue) == [body]


async def test_a_body_above_the_limit_is_named_and_the_connection_goes_on(
    client: Client, queue: str
) -> None:
    text = f"message of {BODY_MAX + 1} bytes exceeds the limit of {BODY_MAX} bytes"
    with refused("INVALID_ARGUMENT", text):
        await client.publish(queue, bytes(BODY_MAX + 1))
    with refused("INVALID_ARGUMENT", text + " in message 1"):
        await client.publish_batch([(queue, b"a"), (queue, bytes(BODY_MAX + 1))])
    assert await client.fetch(queue) == []


async def test_permission_comes_before_existence_and_a_batch_is_refused_whole(
    api: Api, client: Client, queue: str
) -> None:
    await api.add_user("ann", "CONSUMER")
    async with api.client("ann") as ann:
        for key in (queue, "no-such-key"):
            text = f"does not have permission to perform action SubmitMessage on '{key}'"
            with refused("PERMISSION_DENIED", text):
                await ann.publish(key, b"a")
        with refused("PERMISSION_DENIED", "SubmitBatchedMessages on 'q'"):
            await ann.publish_batch([(queue, b"a"), ("no-such-key", b"b")])
    assert published(api) == []


async def test_shape_comes_before_permission(api: Api) -> None:
    await api.add_user("ann")
    async with api.client("ann") as ann:
        with refused("INVALID_ARGUMENT", "data must contain some information"):
            await ann.publish("q", b"")


async def test_a_right_granted_elsewhere_a_moment_ago_counts_here(
    api: Api, client: Client, queue: str
) -> None:
    await api.add_user("ann")
    async with api.client("ann") as ann:
        with refused("PERMISSION_DENIED"):
            await ann.publish(queue, b"a")
        api.log.commit_elsewhere(AssignRole(api.admin, "ann", "PRODUCER"))
        await ann.publish(queue, b"a")


async def test_reg_q14_an_unknown_key_refuses_the_batch_and_up_to_ten_are_named(
    client: Client, queue: str
) -> None:
    with refused("NOT_FOUND", "routing key does not exist: 'k0', 'k1'") as info:
        await client.publish_batch([(queue, b"a"), *((f"k{n}", b"b") for n in range(12))])
    assert "'k9'" in (info.value.details() or "")
    assert "'k10'" not in (info.value.details() or "")
    assert await client.fetch(queue) == []


# --- idempotency keys ---
async def test_a_repeat_with_the_same_key_is_stored_once(client: Client, queue: str) -> None:
    for _ in range(3):
        await client.publish(queue, b"a", idempotency_key="one")
    await client.publish(queue, b"a", idempotency_key="two")
    assert await client.drain(queue) == [b"a", b"a"]


async def test_a_key_with_other_content_is_refused(client: Client, queue: str) -> None:
    await client.publish(queue, b"a", idempotency_key="one")
    with refused("ALREADY_EXISTS", "idempotency key 'one' was used for other content"):
        await client.publish(queue, b"b", idempotency_key="one")


async def test_a_batch_takes_a_key_too(client: Client, queue: str) -> None:
    batch = mq_pb2.BatchMessages(messages=[mq_pb2.MessageInfo(routingKey=queue, data=b"a")] * 2)
    client.metadata = (*client.metadata, ("syb-idempotency-key", "one"))
    for _ in range(2):
        await client.call("SubmitBatchedMessages", batch)
    assert await client.drain(queue) == [b"a", b"a"]


@pytest.mark.parametrize("key", ["", "a b", "k" * 129])
async def test_a_malformed_key_is_refused(client: Client, queue: str, key: str) -> None:
    client.metadata = (*client.metadata, ("syb-idempotency-key", key))
    with refused("INVALID_ARGUMENT", "syb-idempotency-key must be 1 to 128 bytes"):
        await client.publish(queue, b"a")


# --- shortages ---
@pytest.mark.parametrize(
    ("resource", "text"),
    [
        (Resource.DISK, "disk is almost full on member 2"),
        (Resource.MEMORY, "memory is almost full on member 2"),
    ],
)
async def test_z5_a_shortage_refuses_publishes_and_nothing_else(
    api: Api, client: Client, queue: str, resource: Resource, text: str
) -> None:
    await client.publish(queue, b"a")
    api.log.short = Shortage(2, resource)
    for publish in (
        lambda: client.publish(queue, b"b"),
        lambda: client.publish_batch([(queue, b"b")]),
    ):
        with refused("RESOURCE_EXHAUSTED", text):
            await publish()
    [(message_id, _)] = await client.fetch(queue)
    await client.ack(queue, message_id)
    await client.create_queue("another")
    await client.login()
    api.log.short = None
    await client.publish(queue, b"b")


async def test_who_may_not_publish_is_told_nothing_of_shortages(api: Api, queue: str) -> None:
    await api.add_user("ann")
    api.log.short = Shortage(2, Resource.DISK)
    async with api.client("ann") as ann:
        with refused("PERMISSION_DENIED"):
            await ann.publish(queue, b"a")
