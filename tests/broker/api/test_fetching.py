"""GetMessages through the API (L-1, L-2, Q-8, N-6, A-5, Z-3)."""

import pytest

from sybline import limits
from sybline.api.convert import MessageIds
from sybline.api.polls import is_yes, polled_note, question_note
from sybline.errors import NoLeader
from sybline.state_machine.commands import (
    AssignRole,
    Checkout,
    DeclareQueue,
    DeleteQueue,
    SetQueueAccess,
    UnassignRole,
)
from sybline.v1 import mq_pb2
from tests.support.api_server import CLUSTER_ID, Api
from tests.support.client import Client
from tests.support.raw_grpc import raw_unary
from tests.support.refusals import refused
from tests.support.replicas import batch

ECHO = ("grpc-accept-encoding", "identity, deflate, gzip")


@pytest.fixture
async def queue(client: Client) -> str:
    await client.create_queue("q")
    return "q"


def checkouts(api: Api) -> list[Checkout]:
    return [command for command in api.log.proposed if isinstance(command, Checkout)]


async def test_messages_come_in_order_with_ids_that_name_their_positions(
    client: Client, queue: str
) -> None:
    await client.publish(queue, b"a")
    await client.publish_batch([(queue, b"bb"), (queue, b"c")])
    got = await client.fetch(queue)
    assert [body for _, body in got] == [b"a", b"bb", b"c"]
    positions = [MessageIds(CLUSTER_ID).decode(message_id) for message_id, _ in got]
    assert None not in positions
    assert positions == sorted(positions)


async def test_the_amount_bounds_the_answer_and_a_repeat_brings_the_same_first(
    client: Client, queue: str
) -> None:
    await client.publish_batch([(queue, b"a"), (queue, b"b"), (queue, b"c")])
    first = await client.fetch(queue, 2)
    assert [body for _, body in first] == [b"a", b"b"]
    assert await client.fetch(queue, 3) == [*first, (await client.fetch(queue, 3))[2]]


async def test_a_large_amount_means_ten_thousand(api: Api, client: Client, queue: str) -> None:
    await client.publish(queue, b"a")
    await client.fetch(queue, (1 << 32) - 1)
    assert checkouts(api)[0].amount == limits.FETCH_AMOUNT_MAX


# --- nothing to fetch ---
async def test_an_empty_queue_is_answered_without_a_log_entry(
    api: Api, client: Client, queue: str
) -> None:
    before, barriers = len(api.log.proposed), api.log.barriers
    for _ in range(3):
        assert await client.fetch(queue) == []
    assert len(api.log.proposed) == before
    assert api.log.barriers == barriers + 3, "but each time the leader said so"


async def test_a_message_that_was_published_elsewhere_a_moment_ago_is_found(
    api: Api, client: Client, queue: str
) -> None:
    api.log.commit_elsewhere(batch(api.admin, (queue, b"a")))
    assert [body for _, body in await client.fetch(queue)] == [b"a"]


async def test_a_queue_created_or_deleted_elsewhere_a_moment_ago_is_known(
    api: Api, client: Client, queue: str
) -> None:
    with refused("NOT_FOUND", "queue does not exist: 'new'"):
        await client.fetch("new")
    api.log.commit_elsewhere(DeclareQueue(api.admin, "new", "new", 10, 1, False))
    assert await client.fetch("new") == []
    api.log.commit_elsewhere(DeleteQueue(api.admin, queue))
    with refused("NOT_FOUND", f"queue does not exist: '{queue}'"):
        await client.fetch(queue)


async def test_an_empty_queue_without_a_leader_is_no_answer(
    api: Api, client: Client, queue: str
) -> None:
    api.log.error = NoLeader("none")
    with refused("UNAVAILABLE", "cannot communicate with non-leader nodes"):
        await client.fetch(queue)


# --- rights ---
async def test_a_right_taken_away_elsewhere_a_moment_ago_is_gone(
    api: Api, client: Client, queue: str
) -> None:
    await api.add_user("ann", "CONSUMER")
    async with api.client("ann") as ann:
        assert await ann.fetch(queue) == []
        api.log.commit_elsewhere(UnassignRole(api.admin, "ann", "CONSUMER"))
        with refused("PERMISSION_DENIED", "perform action GetMessages on 'q'"):
            await ann.fetch(queue)
        api.log.commit_elsewhere(AssignRole(api.admin, "ann", "CONSUMER"))
        assert await ann.fetch(queue) == []


async def test_who_may_not_fetch_learns_nothing_about_names(api: Api, queue: str) -> None:
    await api.add_user("ann")
    async with api.client("ann") as ann:
        texts = []
        for name in (queue, "no-such-queue"):
            with refused("PERMISSION_DENIED") as info:
                await ann.fetch(name)
            texts.append((info.value.details() or "").replace(name, "…"))
        assert texts[0] == texts[1]


@pytest.mark.parametrize("bodies", [[], [b"a"]])
async def test_an_access_list_holds_for_an_empty_queue_too(
    api: Api, client: Client, queue: str, bodies: list[bytes]
) -> None:
    await api.add_user("ann", "CONSUMER")
    for body in bodies:
        await client.publish(queue, body)
    async with api.client("ann") as ann:
        api.log.apply(SetQueueAccess(api.admin, queue, (), ("bob",)))
        with refused("PERMISSION_DENIED", "perform action GetMessages on 'q'"):
            await ann.fetch(queue)
        api.log.apply(SetQueueAccess(api.admin, queue, (), ("ann",)))
        assert [body for _, body in await ann.fetch(queue)] == bodies


# --- who polls ---
async def test_the_leader_remembers_its_own_pollers(api: Api, client: Client, queue: str) -> None:
    await client.fetch(queue)
    assert api.polls.others_poll(queue, b"another session.")
    assert api.log.notes == []


async def test_a_follower_tells_the_leader_of_a_poller_once_in_a_while(
    api: Api, client: Client, queue: str
) -> None:
    api.log.is_leader = False
    consumer = api.log.proposed[-1].caller.consumer
    note = polled_note(queue, consumer)
    await client.publish(queue, b"a")
    for _ in range(3):
        await client.fetch(queue)
    assert api.log.notes == [note]
    api.clock.now_s += limits.POLL_REPORT_MS / 1000
    await client.fetch(queue)
    assert api.log.notes == [note, note]


async def test_a_poll_of_an_unknown_queue_is_not_remembered(api: Api, client: Client) -> None:
    with refused("NOT_FOUND"):
        await client.fetch("no-such-queue")
    assert len(api.polls) == 0


async def test_reg_w9_a_nack_goes_to_another_poller_and_back_to_a_lone_one(
    client: Client, other: Client, queue: str
) -> None:
    await client.publish(queue, b"a")
    [(message_id, _)] = await client.fetch(queue)
    await client.nack(queue, message_id)
    assert await client.fetch(queue) == [(message_id, b"a")]
    assert await other.fetch(queue) == []
    await client.nack(queue, message_id)
    assert await client.fetch(queue) == []
    assert await other.fetch(queue) == [(message_id, b"a")]


async def test_reg_w9_a_follower_asks_the_leader_who_polls(
    api: Api, client: Client, queue: str
) -> None:
    await client.publish(queue, b"a")
    [(message_id, _)] = await client.fetch(queue)
    consumer = api.log.proposed[-1].caller.consumer
    api.log.is_leader = False
    api.log.leaders_answer = api.polls.on_note
    api.polls.note(queue, b"another session.")
    assert is_yes(api.polls.on_note(question_note(queue, consumer)))
    await client.nack(queue, message_id)
    assert api.log.notes[-1] == question_note(queue, consumer)
    assert await client.fetch(queue) == []


# --- answers ---
async def test_reg_w1_answers_are_not_compressed_for_who_echoes_the_servers_offer(
    client: Client, queue: str
) -> None:
    await client.publish(queue, bytes(20_000))
    request = mq_pb2.RequestMessageData(queueName=queue, amount=1).SerializeToString()
    answer = await raw_unary(
        client.address, "/MQ.MQEndpoints/GetMessages", request, [*client.metadata, ECHO, ECHO]
    )
    assert not answer.is_compressed
    assert mq_pb2.MessageCollection.FromString(answer.message).messages[0].data == bytes(20_000)


async def test_reg_w6_an_answer_of_exactly_the_limit_passes_and_one_more_byte_waits(
    client: Client, queue: str
) -> None:
    """Two messages that fill 4,194,304 encoded bytes; a third of one byte finds no room."""
    answer = mq_pb2.MessageCollection()
    size = 2_000_000
    answer.messages.add(id=bytes(16), data=bytes(size))
    rest = limits.MESSAGE_BYTES_MAX - answer.ByteSize()
    second = mq_pb2.MessageCollection()
    second.messages.add(id=bytes(16), data=bytes(rest))
    bodies = [bytes(size), bytes(rest - (second.ByteSize() - rest)), b"x"]
    for body in bodies:
        await client.publish(queue, body)
    request = mq_pb2.RequestMessageData(queueName=queue, amount=10).SerializeToString()
    call = client.channel.unary_unary("/MQ.MQEndpoints/GetMessages")
    raw = await call(request, metadata=client.metadata, timeout=10)
    assert len(raw) == limits.MESSAGE_BYTES_MAX
    fetched = mq_pb2.MessageCollection.FromString(raw).messages
    assert [message.data for message in fetched] == bodies[:2]
    await client.batch_ack(queue, [message.id for message in fetched])
    assert [body for _, body in await client.fetch(queue)] == [b"x"]


async def test_reg_q21_large_messages_come_in_answers_that_fit(client: Client, queue: str) -> None:
    for number in range(6):
        await client.publish(queue, bytes([number]) * 1_000_000)
    seen: list[int] = []
    while got := await client.fetch(queue, 6):
        assert len(got) >= min(3, 6 - len(seen))
        assert await client.fetch(queue, 6) == got
        await client.batch_ack(queue, [message_id for message_id, _ in got])
        seen += [body[0] for _, body in got]
    assert seen == list(range(6))


async def test_a_body_that_was_settled_while_the_answer_was_built_is_left_out(
    api: Api, client: Client, queue: str
) -> None:
    for body in (b"a", b"b"):
        await client.publish(queue, body)
    api.log.drop(api.log.status().applied_index)
    assert [body for _, body in await client.fetch(queue)] == [b"a"]
