"""The queue regressions a client can reach, on real members; the state machine has the full set (REG-Q)."""

import pytest

from sybline.v1 import mq_pb2
from tests.support.client import Client
from tests.support.refusals import refused

pytestmark = pytest.mark.integration
UNKNOWN_ID = b"\xff" * 16
MEGABYTE = 1_000_000


async def filled(client: Client, queue: str, *bodies: bytes, **options: object) -> None:
    """Create a queue and publish bodies to it."""
    await client.create_queue(queue, **options)
    for body in bodies:
        await client.publish(queue, body)


async def fetch_bodies(client: Client, queue: str, amount: int = 100) -> list[bytes]:
    return [body for _, body in await client.fetch(queue, amount)]


async def test_reg_q1_a_nack_at_the_limit_without_dead_letters_removes_the_message(
    client: Client, other: Client
) -> None:
    await filled(client, "q1", b"a", retry_limit=1)
    [(message_id, _)] = await client.fetch("q1")
    await client.nack("q1", message_id)
    assert await fetch_bodies(other, "q1") == []
    await client.publish("q1", b"b")
    assert await other.drain("q1") == [b"b"]


async def test_reg_q2_batch_acks_give_room_back_exactly(client: Client) -> None:
    await client.create_queue("q2", size=5)
    for _ in range(3):
        for body in (b"1", b"2", b"3", b"4", b"5"):
            await client.publish("q2", body)
        with refused("RESOURCE_EXHAUSTED", "queue is full"):
            await client.publish("q2", b"6")
        fetched = await client.fetch("q2")
        await client.batch_ack("q2", [message_id for message_id, _ in fetched])


async def test_reg_q3a_a_batch_ack_with_an_unknown_id_settles_the_others(client: Client) -> None:
    await filled(client, "q3a", b"a", b"b", b"c")
    (one, _), (two, _), _ = await client.fetch("q3a")
    with refused("FAILED_PRECONDITION", "1 of 3 ids could not be settled"):
        await client.batch_ack("q3a", [one, UNKNOWN_ID, two])
    assert await client.drain("q3a") == [b"c"]


async def test_reg_q3b_a_partly_failed_batch_ack_keeps_the_order(client: Client) -> None:
    await filled(client, "q3b", b"a", b"b", b"c", b"d")
    fetched = await client.fetch("q3b")
    with refused("FAILED_PRECONDITION"):
        await client.batch_ack("q3b", [fetched[1][0], UNKNOWN_ID])
    assert await fetch_bodies(client, "q3b") == [b"a", b"c", b"d"]


async def test_reg_q4_a_batch_nack_returns_the_messages(client: Client) -> None:
    await filled(client, "q4", b"a", b"b", retry_limit=10)
    fetched = await client.fetch("q4")
    await client.batch_nack("q4", [message_id for message_id, _ in fetched])
    assert await client.drain("q4") == [b"a", b"b"]


async def test_reg_q5_unbinding_a_key_that_does_not_hold_the_queue_changes_nothing(
    client: Client,
) -> None:
    await filled(client, "q5", b"a")
    await client.create_queue("q5-other", key="q5-key")
    await client.call("DeleteRoutingKey", mq_pb2.DeleteRoute(queueName="q5", routeName="q5-key"))
    await client.publish("q5-key", b"b")
    assert await client.drain("q5-other") == [b"b"]
    assert await client.drain("q5") == [b"a"]


async def test_reg_q6a_only_the_message_at_its_limit_is_dead_lettered(client: Client) -> None:
    bodies = [b"1", b"2", b"3", b"4", b"5", b"6"]
    await filled(client, "q6a", *bodies, retry_limit=2, dead_letter=True)
    fourth = (await client.fetch("q6a"))[3][0]
    await client.batch_nack("q6a", [fourth])
    fetched = await client.fetch("q6a")
    assert [body for _, body in fetched] == [*bodies[:3], *bodies[4:], b"4"]  # held ones first
    await client.batch_nack("q6a", [fourth])
    assert await client.drain("q6a-dlq") == [b"4"]
    assert await client.drain("q6a") == [b"1", b"2", b"3", b"5", b"6"]


async def test_reg_q6b_a_session_that_holds_nothing_cannot_return(
    client: Client, other: Client
) -> None:
    await filled(client, "q6b", b"a", retry_limit=1)
    [(message_id, _)] = await client.fetch("q6b")
    with refused("FAILED_PRECONDITION"):
        await other.batch_nack("q6b", [message_id])
    await client.ack("q6b", message_id)


async def test_reg_q7a_a_full_queue_refuses(client: Client) -> None:
    await filled(client, "q7a", b"a", size=1)
    with refused("RESOURCE_EXHAUSTED", "queue is full: 'q7a'"):
        await client.publish("q7a", b"b")
    assert await client.drain("q7a") == [b"a"]


async def test_reg_q7b_a_batch_larger_than_the_queue_stores_nothing(client: Client) -> None:
    await filled(client, "q7b", b"1", b"2", b"3", b"4", size=5)
    with refused("FAILED_PRECONDITION"):
        await client.publish_batch([("q7b", b"x")] * 100)
    with refused("RESOURCE_EXHAUSTED", "queue is full"):
        await client.publish_batch([("q7b", b"x")] * 2)
    assert len(await client.drain("q7b")) == 4


async def test_reg_q8a_a_deleted_queue_leaves_no_binding(clients: list[Client]) -> None:
    client = clients[0]
    await client.create_queue("q8a", key="q8a-1")
    await client.call("AddRoutingKey", mq_pb2.AddRoute(queueName="q8a", routeName="q8a-2"))
    await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="q8a"))
    for each in clients:
        for key in ("q8a-1", "q8a-2"):
            with refused("NOT_FOUND", "routing key does not exist"):
                await each.publish(key, b"a")


async def test_reg_q8b_a_queue_created_again_has_no_old_binding(client: Client) -> None:
    await filled(client, "q8b", b"old")
    await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="q8b"))
    await client.create_queue("q8b", key="q8b-new")
    with refused("NOT_FOUND"):
        await client.publish("q8b", b"a")
    assert await fetch_bodies(client, "q8b") == []


async def test_reg_q8c_a_dead_letter_queue_without_owner_can_be_deleted(client: Client) -> None:
    await filled(client, "q8c", b"a", retry_limit=1, dead_letter=True)
    [(message_id, _)] = await client.fetch("q8c")
    await client.nack("q8c", message_id)
    with refused("FAILED_PRECONDITION"):
        await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="q8c-dlq"))
    await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="q8c"))
    await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="q8c-dlq"))
    with refused("NOT_FOUND", "queue does not exist"):
        await client.fetch("q8c-dlq")


async def test_reg_q9_a_left_dead_letter_queue_is_adopted_with_its_messages(client: Client) -> None:
    await filled(client, "q9", b"a", retry_limit=1, dead_letter=True)
    [(message_id, _)] = await client.fetch("q9")
    await client.nack("q9", message_id)
    await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="q9"))
    await client.create_queue("q9", dead_letter=True)
    assert await client.drain("q9-dlq") == [b"a"]
    await client.create_queue("q9-taken-dlq")
    with refused("ALREADY_EXISTS", "failed to create new queue"):
        await client.create_queue("q9-taken", dead_letter=True)


async def test_reg_q11_a_pair_bound_twice_gives_one_copy(client: Client) -> None:
    await client.create_queue("q11")
    await client.call("AddRoutingKey", mq_pb2.AddRoute(queueName="q11", routeName="q11"))
    await client.publish("q11", b"a")
    assert await client.drain("q11") == [b"a"]


async def test_reg_q13_a_key_without_queues_does_not_exist(client: Client) -> None:
    await client.create_queue("q13")
    await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="q13"))
    with refused("NOT_FOUND", "routing key does not exist: 'q13'"):
        await client.publish("q13", b"a")


async def test_reg_q14_a_batch_with_an_unknown_key_stores_nothing(client: Client) -> None:
    await client.create_queue("q14")
    with refused("NOT_FOUND", "routing key does not exist: 'q14-nowhere'"):
        await client.publish_batch([("q14", b"a"), ("q14-nowhere", b"b"), ("q14", b"c")])
    assert await fetch_bodies(client, "q14") == []


async def test_reg_q15_a_batch_over_several_keys_keeps_the_request_order(client: Client) -> None:
    await client.create_queue("q15", key="q15-0")
    for number in (1, 2):
        request = mq_pb2.AddRoute(queueName="q15", routeName=f"q15-{number}")
        await client.call("AddRoutingKey", request)
    bodies = [str(number).encode() for number in range(30)]
    await client.publish_batch([(f"q15-{n * 7 % 3}", body) for n, body in enumerate(bodies)])
    assert await client.drain("q15") == bodies


async def test_reg_q16_a_message_waits_for_room_in_the_dead_letter_queue(client: Client) -> None:
    await filled(client, "q16", b"first", size=1, retry_limit=1, dead_letter=True)
    [(first, _)] = await client.fetch("q16")
    await client.nack("q16", first)
    await client.publish("q16", b"second")
    [(second, _)] = await client.fetch("q16")
    await client.nack("q16", second)
    assert await fetch_bodies(client, "q16") == []
    with refused("RESOURCE_EXHAUSTED", "queue is full"):
        await client.publish("q16", b"third")
    assert await client.drain("q16-dlq") == [b"first", b"second"]


async def test_reg_q17_a_nack_in_a_dead_letter_queue_keeps_the_message(client: Client) -> None:
    await filled(client, "q17", b"a", retry_limit=1, dead_letter=True)
    [(message_id, _)] = await client.fetch("q17")
    await client.nack("q17", message_id)
    for _ in range(3):
        [(dead, _)] = await client.fetch("q17-dlq")
        await client.nack("q17-dlq", dead)
    assert await client.drain("q17-dlq") == [b"a"]


async def test_reg_q18_a_fan_out_with_one_full_queue_stores_nowhere(client: Client) -> None:
    await client.create_queue("q18-small", key="q18", size=1)
    await client.create_queue("q18-large", key="q18")
    await client.publish("q18", b"a")
    with refused("RESOURCE_EXHAUSTED", "queue is full: 'q18-small'"):
        await client.publish("q18", b"b")
    assert await client.drain("q18-large") == [b"a"]


async def test_reg_q19_a_repeated_creation_is_ok(clients: list[Client]) -> None:
    for each in clients:
        await each.create_queue("q19", size=7, retry_limit=2, dead_letter=True)
    with refused("ALREADY_EXISTS", "failed to create new queue: "):
        await clients[0].create_queue("q19", size=8, retry_limit=2, dead_letter=True)


async def test_reg_q20_a_repeated_ack_is_ok(client: Client) -> None:
    await filled(client, "q20", b"a")
    [(message_id, _)] = await client.fetch("q20")
    await client.ack("q20", message_id)
    await client.ack("q20", message_id)
    await client.batch_ack("q20", [message_id])


async def test_reg_q21_large_messages_come_in_answers_that_fit(client: Client) -> None:
    await client.create_queue("q21")
    for number in range(6):
        await client.publish("q21", bytes([number]) * MEGABYTE)
    seen: list[int] = []
    while len(seen) < 6:
        fetched = await client.fetch("q21", 6)
        repeated = await client.fetch("q21", 6)
        assert [body[0] for _, body in repeated] == [body[0] for _, body in fetched]
        assert len(fetched) >= min(3, 6 - len(seen))
        await client.batch_ack("q21", [message_id for message_id, _ in fetched])
        seen += [body[0] for _, body in fetched]
    assert seen == [0, 1, 2, 3, 4, 5]
    assert await client.fetch("q21", 6) == []


async def test_reg_q22_a_retry_limit_of_zero_means_one(client: Client) -> None:
    await filled(client, "q22", b"a", retry_limit=0, dead_letter=True)
    [(message_id, _)] = await client.fetch("q22")
    await client.nack("q22", message_id)
    assert await client.drain("q22-dlq") == [b"a"]


async def test_an_idempotency_key_stores_once(clients: list[Client]) -> None:
    await clients[0].create_queue("keyed")
    for each in clients[:1] * 2:
        await each.publish("keyed", b"a", idempotency_key="k1")
    await clients[1].publish("keyed", b"a", idempotency_key="k1")
    with refused("ALREADY_EXISTS"):
        await clients[2].publish("keyed", b"b", idempotency_key="k1")
    assert await clients[0].drain("keyed") == [b"a"]


async def test_every_member_serves_every_call(clients: list[Client]) -> None:
    for number, each in enumerate(clients):
        queue = f"served-{number}"
        await each.create_queue(queue, retry_limit=9)
        await each.publish(queue, b"a")
        await each.publish_batch([(queue, b"b"), (queue, b"c")])
        one, two, three = await each.fetch(queue)
        await each.nack(queue, one[0])
        await each.batch_nack(queue, [two[0], three[0]])
        assert await each.drain(queue) == [b"a", b"b", b"c"]
        await each.call("AddRoutingKey", mq_pb2.AddRoute(queueName=queue, routeName=queue + "x"))
        await each.call(
            "DeleteRoutingKey", mq_pb2.DeleteRoute(queueName=queue, routeName=queue + "x")
        )
        await each.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName=queue))
