"""What programs on the earlier Go client live through (wire contract §5; REG-W3, W4, W9)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from tests.support.client import Client, Metadata, logged_in
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, Cluster
from tests.support.old_client import (
    NO_AUTH,
    NON_LEADER,
    REDIRECTS,
    ArgumentRefused,
    OldClient,
    OldClientError,
    OldConsumer,
)
from tests.support.waiting import wait_for, wait_until

pytestmark = pytest.mark.integration


def build_client(cluster: Cluster, *, login_rule_s: float = 30.0) -> OldClient:
    return OldClient(
        cluster.addresses,
        ADMIN,
        ADMIN_PASSWORD,
        timeout_s=0.2,
        reconnect_sleep_s=1.5,
        login_rule_s=login_rule_s,
    )


@pytest.fixture
async def old_client(cluster: Cluster) -> AsyncIterator[OldClient]:
    client = build_client(cluster)
    yield client
    await client.close()


async def test_the_whole_api_works_for_an_old_client(old_client: OldClient) -> None:
    async with asyncio.timeout(30):
        await old_client.connect()
        await old_client.create_queue("key", "old-all", 100, 3, has_dl_queue=True)
        await old_client.submit_message("key", b"a")
        await old_client.submit_batch([("key", b"b"), ("key", b"c")])
        one, two, three = await old_client.get_messages("old-all", 10)
        await old_client.ack("old-all", one[0])
        await old_client.nack("old-all", two[0])
        await old_client.batch_nack("old-all", [three[0]])
        again = await old_client.get_messages("old-all", 10)
        assert [data for _, data in again] == [b"b", b"c"]
        await old_client.batch_ack("old-all", [message_id for message_id, _ in again])
        await old_client.add_routing_key("key-2", "old-all")
        await old_client.delete_routing_key("key-2", "old-all")
        await old_client.delete_oueue("old-all")
        await old_client.create_user("old-user", "password")
        await old_client.create_role('{"role": "old-role", "actions": {"Ack": "allow:*"}}')
        await old_client.assign_role("old-role", "old-user")
        await old_client.unassign_role("old-role", "old-user")
        await old_client.delete_user("old-user")
        await old_client.logout()
    assert old_client.seen_texts == []
    with pytest.raises(ArgumentRefused, match="must request more than zero"):
        await old_client.get_messages("old-all", 0)


async def test_the_leader_killed_between_login_and_publish(
    cluster: Cluster, old_client: OldClient
) -> None:
    await old_client.connect()
    await old_client.create_queue("between", "between", 100, 3, has_dl_queue=False)
    leader = await cluster.wait_leader()
    cluster[leader].kill()
    async with asyncio.timeout(30):
        await old_client.submit_message("between", b"a")  # no call to Login: rule 2
        assert [data for _, data in await old_client.get_messages("between", 1)] == [b"a"]
    assert old_client.reconnects >= 1
    assert not any(NO_AUTH in text for text in old_client.seen_texts)


async def test_a_broken_connection_is_retried_blindly_without_an_error(
    cluster: Cluster, old_client: OldClient
) -> None:
    await old_client.connect()
    await old_client.create_queue("broken", "broken", 1000, 3, has_dl_queue=False)
    [*_] = await old_client.get_messages("broken", 1)
    leader = await cluster.wait_leader()
    confirmed = 0

    async def publish() -> None:
        nonlocal confirmed
        for number in range(100):
            await old_client.submit_message("broken", f"{number}".encode())
            confirmed += 1
            if confirmed == 30:
                cluster[leader].kill()
            got = await old_client.get_messages("broken", 5)
            await old_client.batch_ack("broken", [message_id for message_id, _ in got])
            await old_client.create_queue("broken", "broken", 1000, 3, has_dl_queue=False)

    async with asyncio.timeout(60):
        await publish()
    assert confirmed == 100
    assert old_client.reconnects >= 1
    assert all(any(r in text for r in REDIRECTS) for text in old_client.seen_texts), (
        old_client.seen_texts
    )


async def test_reg_w4_a_client_on_a_follower_does_not_notice_a_killed_leader(
    cluster: Cluster, old_client: OldClient
) -> None:
    leader = await cluster.wait_leader()
    follower = min(set(cluster.members) - {leader})
    await old_client.connect(prefer=follower - 1)
    await old_client.create_queue("w4", "w4", 1000, 3, has_dl_queue=False)
    consumer = OldConsumer(old_client, "w4", capacity=10, period_s=0.02)
    consumer.start()
    longest = 0.0
    for number in range(60):
        if number == 20:
            cluster[leader].kill()
        start = time.monotonic()
        async with asyncio.timeout(10):
            await old_client.submit_message("w4", str(number).encode())
            message_id, data = await consumer.received.get()
            await consumer.ack(message_id)
        assert data == str(number).encode()
        longest = max(longest, time.monotonic() - start)
    await consumer.stop()
    assert old_client.reconnects == 0
    assert not any(NON_LEADER in text for text in old_client.seen_texts)
    assert longest < 3.0  # P8


async def test_reg_w9_a_nack_goes_to_the_other_consumer_or_back_to_a_lone_one(
    cluster: Cluster,
) -> None:
    one, two = build_client(cluster), build_client(cluster)
    await one.connect()
    await two.connect(prefer=1)
    await one.create_queue("w9", "w9", 100, 5, has_dl_queue=False)
    await one.submit_message("w9", b"lone")
    [(message_id, _)] = await one.get_messages("w9", 1)
    await one.nack("w9", message_id)
    assert await one.get_messages("w9", 1) == [(message_id, b"lone")]
    await one.ack("w9", message_id)
    first = OldConsumer(one, "w9", capacity=1, period_s=0.05)
    second = OldConsumer(two, "w9", capacity=1, period_s=0.05)
    first.start()
    await one.submit_message("w9", b"shared")
    async with asyncio.timeout(10):
        message_id, _ = await first.received.get()
        second.start()
        await wait_for(lambda: second.polls >= 2, what="a second poller", deadline_s=5)
        await first.nack(message_id)
        assert await second.received.get() == (message_id, b"shared")
        await second.ack(message_id)
    await first.stop()
    await second.stop()
    await one.close()
    await two.close()


async def test_short_lived_tokens_and_leases(own_cluster: Callable[..., Cluster]) -> None:
    """One cluster with short times for all that needs them: REG-W3, REG-A6 (expiry), REG-Q10."""
    cluster = own_cluster(settings={"TOKEN_DURATION": "4", "NODE_TTL": "1"})
    await cluster.start_and_wait()
    await asyncio.gather(
        _old_token_after_expiry(cluster), _leases_end_and_count(cluster), _poison(cluster)
    )


async def _old_token_after_expiry(cluster: Cluster) -> None:
    """REG-W3: every stale-header method works with the old token after a resume."""
    client = build_client(cluster, login_rule_s=0.3)
    await client.connect()
    for name in ("w3", "w3-gone"):
        await client.create_queue(name, name, 100, 50, has_dl_queue=False)
    old_headers = client.headers
    await wait_until(
        lambda: _is_refused(cluster, old_headers),
        what="the token's end",
        deadline_s=8.0,
        poll_s=0.2,
    )
    await client.submit_batch([("w3", b"a"), ("w3", b"b")])
    assert client.headers != old_headers
    assert NO_AUTH in client.seen_texts[0]
    held = await client.get_messages("w3", 10)
    client.headers = old_headers
    await client.nack("w3", held[0][0])
    await client.batch_nack("w3", [held[1][0]])
    await client.add_routing_key("w3-key", "w3")
    await client.delete_routing_key("w3-key", "w3")
    await client.delete_oueue("w3-gone")
    await client.create_user("w3-user", "password")
    await client.delete_user("w3-user")
    assert len(client.seen_texts) == 1
    await client.close()


async def _is_refused(cluster: Cluster, headers: Metadata) -> bool:
    async with Client(cluster.addresses[2]) as client:
        client.metadata = headers
        try:
            await client.fetch("w3", 1)
        except grpc.aio.AioRpcError as error:
            return error.code() == grpc.StatusCode.UNAUTHENTICATED
    return False


async def _leases_end_and_count(cluster: Cluster) -> None:
    """A lease ends after its second, never before, and the message keeps its place."""
    async with await logged_in(cluster.addresses[0]) as one:
        await one.create_queue("leases")
        await one.publish_batch([("leases", b"a"), ("leases", b"b")])
        async with await logged_in(cluster.addresses[1]) as two:
            start = time.monotonic()
            assert [body for _, body in await one.fetch("leases", 1)] == [b"a"]
            assert [body for _, body in await two.fetch("leases", 1)] == [b"b"]
            third = await logged_in(cluster.addresses[2])
            got = await _fetch_some(third, "leases")
            assert 1.0 <= time.monotonic() - start < 3.5
            assert got[0][1] in (b"a", b"b")
            await third.close()


async def _poison(cluster: Cluster) -> None:
    """REG-Q10: consumers that die with a message dead-letter it at its limit; others flow."""
    async with await logged_in(cluster.addresses[1]) as admin:
        await admin.create_queue("poison", retry_limit=2, dead_letter=True)
        await admin.publish("poison", b"poison")
    for _ in range(2):
        dying = await logged_in(cluster.addresses[2])
        assert [body for _, body in await _fetch_some(dying, "poison")] == [b"poison"]
        await dying.close()
    async with await logged_in(cluster.addresses[0]) as client:
        assert [body for _, body in await _fetch_some(client, "poison-dlq")] == [b"poison"]


async def _fetch_some(client: Client, queue: str) -> list[tuple[bytes, bytes]]:
    async with asyncio.timeout(6):
        while not (got := await client.fetch(queue)):
            await asyncio.sleep(0.05)
    return got


async def test_wrong_credentials_are_an_error_and_not_a_loop(cluster: Cluster) -> None:
    client = OldClient(cluster.addresses, "old-nobody", "wrong", timeout_attempts=1, timeout_s=0.1)
    with pytest.raises(OldClientError, match="invalid login details"):
        await client.connect()
    assert len(client.seen_texts) == 2
    await client.close()
