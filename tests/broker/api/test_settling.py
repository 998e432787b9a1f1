"""Ack, Nack, BatchAck and BatchNack through the API (N-1, N-2, B-1 to B-4, G-4)."""

import uuid

import pytest

from sybline import limits
from sybline.api.convert import MessageIds
from sybline.state_machine.commands import PositionRange, Return, Settle
from sybline.v1 import mq_pb2
from tests.support.api_server import CLUSTER_ID, LEASE_S, Api
from tests.support.client import Client
from tests.support.error_details import details_of
from tests.support.refusals import refused

FOREIGN = b"\xff" * 16
NEVER = MessageIds(CLUSTER_ID).encode(1 << 40)
CALLS = ("ack", "nack", "batch_ack", "batch_nack")


@pytest.fixture
async def queue(client: Client) -> str:
    await client.create_queue("q", retry_limit=9)
    await client.publish_batch([("q", b"a"), ("q", b"b"), ("q", b"c")])
    return "q"


def text_of(message_id: bytes) -> str:
    return str(uuid.UUID(bytes=message_id))


async def ids_of(client: Client, queue: str) -> list[bytes]:
    return [message_id for message_id, _ in await client.fetch(queue)]


async def test_an_ack_removes_and_a_nack_returns(client: Client, other: Client, queue: str) -> None:
    one, two, three = await ids_of(client, queue)
    await client.ack(queue, one)
    await client.nack(queue, two)
    assert [body for _, body in await other.fetch(queue)] == [b"b"]
    await client.ack(queue, three)


async def test_a_batch_is_one_command_of_ranges(api: Api, client: Client, queue: str) -> None:
    ids = await ids_of(client, queue)
    await client.batch_nack(queue, ids)
    await client.fetch(queue)
    await client.batch_ack(queue, [ids[2], ids[0], ids[1], ids[0]])
    first = MessageIds(CLUSTER_ID).decode(ids[0])
    assert first is not None
    settled, returned = api.log.proposed[-1], api.log.proposed[-3]
    assert isinstance(settled, Settle)
    assert isinstance(returned, Return)
    assert settled.ranges == returned.ranges == (PositionRange(first, 3),)
    assert (settled.batch, returned.batch) == (True, True)


@pytest.mark.parametrize("message_id", [FOREIGN, NEVER, bytes(16)])
@pytest.mark.parametrize("method", ["ack", "nack"])
async def test_an_unknown_id_is_not_found_by_its_text(
    client: Client, queue: str, method: str, message_id: bytes
) -> None:
    with refused("NOT_FOUND") as info:
        await getattr(client, method)(queue, message_id)
    assert info.value.details() == f"could not find item with id: {text_of(message_id)}"


@pytest.mark.parametrize("method", ["ack", "nack"])
async def test_a_message_of_another_session_is_a_lost_lease(
    client: Client, other: Client, queue: str, method: str
) -> None:
    one = (await ids_of(client, queue))[0]
    with refused("FAILED_PRECONDITION") as info:
        await getattr(other, method)(queue, one)
    assert info.value.details() == f"could not find item with id: {text_of(one)}: lease lost"
    assert details_of(info.value)["ErrorInfo"].reason == "LEASE_LOST"
    await client.ack(queue, one)


@pytest.mark.parametrize("method", CALLS)
async def test_an_unknown_queue_is_not_found_whatever_the_id(client: Client, method: str) -> None:
    ids = [FOREIGN] if method.startswith("batch") else FOREIGN
    with refused("NOT_FOUND", "queue does not exist: 'no-such-queue'"):
        await getattr(client, method)("no-such-queue", ids)


@pytest.mark.parametrize("method", CALLS)
async def test_permission_comes_before_everything_that_exists(
    api: Api, client: Client, queue: str, method: str
) -> None:
    await api.add_user("ann", "PRODUCER")
    ids = [FOREIGN] if method.startswith("batch") else FOREIGN
    action = "BatchAck" if method.startswith("batch") else "Ack"
    async with api.client("ann") as ann:
        for name in (queue, "no-such-queue"):
            text = f"does not have permission to perform action {action} on '{name}'"
            with refused("PERMISSION_DENIED", text):
                await getattr(ann, method)(name, ids)


async def test_reg_q20_a_repeated_ack_or_nack_is_ok(client: Client, queue: str) -> None:
    one, two, _ = await ids_of(client, queue)
    for _ in range(2):
        await client.ack(queue, one)
        await client.nack(queue, two)
    await client.batch_ack(queue, [one])


async def test_the_former_holder_may_answer_after_its_lease(
    api: Api, client: Client, queue: str
) -> None:
    one, two, _ = await ids_of(client, queue)
    api.log.advance(LEASE_S)
    await client.ack(queue, one)
    await client.nack(queue, two)
    assert [body for _, body in await client.fetch(queue)] == [b"b", b"c"]


# --- batches with failures ---
async def test_reg_q3a_what_can_be_settled_is_and_the_rest_is_named(
    client: Client, other: Client, queue: str
) -> None:
    ids = await ids_of(client, queue)
    await client.publish(queue, b"d")
    [held_by_other] = await ids_of(other, queue)
    with refused("FAILED_PRECONDITION") as info:
        await client.batch_ack(queue, [ids[0], FOREIGN, ids[1], held_by_other, NEVER])
    assert info.value.details() == (
        "3 of 5 ids could not be settled: "
        f"{text_of(FOREIGN)}, {text_of(held_by_other)}, {text_of(NEVER)}"
    )
    info_detail = details_of(info.value)["ErrorInfo"]
    assert info_detail.reason == "IDS_NOT_SETTLED"
    assert dict(info_detail.metadata) == {"MESSAGE_NOT_FOUND": "2", "LEASE_LOST": "1"}
    assert await client.drain(queue) == [b"c"]
    await other.ack(queue, held_by_other)


async def test_reg_q6b_a_session_that_holds_nothing_returns_nothing(
    client: Client, other: Client, queue: str
) -> None:
    ids = await ids_of(client, queue)
    with refused("FAILED_PRECONDITION", "3 of 3 ids could not be settled"):
        await other.batch_nack(queue, ids)
    await client.batch_ack(queue, ids)


async def test_duplicates_count_once(client: Client, queue: str) -> None:
    with refused("FAILED_PRECONDITION", "2 of 2 ids could not be settled"):
        await client.batch_ack(queue, [FOREIGN, NEVER, FOREIGN, NEVER])


async def test_reg_w11_many_bad_ids_give_a_short_text_and_the_true_status(
    client: Client, queue: str
) -> None:
    ids = [number.to_bytes(16, "big") for number in range(limits.BATCH_IDS_MAX)]
    with refused("FAILED_PRECONDITION", "10000 of 10000 ids could not be settled: ") as info:
        await client.batch_ack(queue, ids)
    assert (info.value.details() or "").count("00000000-0000-0000-0000-") == 10


async def test_a_malformed_id_refuses_the_whole_batch(client: Client, queue: str) -> None:
    ids = await ids_of(client, queue)
    with refused("INVALID_ARGUMENT", "invalid UUID (got 3 bytes) at 3") as info:
        await client.batch_ack(queue, [*ids, b"abc"])
    [violation] = details_of(info.value)["BadRequest"].field_violations
    assert violation.field == "id[3]"
    with refused("INVALID_ARGUMENT", "id must not be empty"):
        await client.batch_nack(queue, [])
    assert await ids_of(client, queue) == ids


async def test_an_id_of_one_queue_is_unknown_in_another(client: Client, queue: str) -> None:
    await client.create_queue("r")
    one = (await ids_of(client, queue))[0]
    with refused("NOT_FOUND", "could not find item with id: "):
        await client.ack("r", one)


async def test_old_clients_send_these_fields(client: Client, queue: str) -> None:
    """BatchAck names its ids `id`, BatchNack `ids` (wire contract §2)."""
    ids = await ids_of(client, queue)
    await client.call("BatchNack", mq_pb2.BatchNackUpdate(queueName=queue, ids=ids[:1]))
    await client.call("BatchAck", mq_pb2.BatchAckUpdate(queueName=queue, id=ids[1:]))
    assert [body for _, body in await client.fetch(queue)] == [b"a"]
