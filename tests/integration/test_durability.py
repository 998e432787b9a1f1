"""Kills, pauses and restarts of real members (REG-R1, R2, R4, R6; C-6)."""

import asyncio
import time
from collections.abc import Callable

import grpc
import pytest

from tests.support.checker import check
from tests.support.client import Client, Metadata, outcome_of
from tests.support.cluster import Cluster
from tests.support.load import Load, LoadSettings, running_load
from tests.support.waiting import wait_for, wait_until

pytestmark = pytest.mark.integration
ELECTION_TIMEOUT_S = 1.0


async def assert_same_applied(cluster: Cluster) -> None:
    """Wait until every member applied the same index and counts the same messages."""

    async def agreed() -> bool:
        pages = [await cluster.metrics(member) for member in cluster.members]
        applied = {page.get("sybline_raft_applied_index") for page in pages}
        counts = {
            tuple(sorted((k, v) for k, v in page.items() if k.startswith("sybline_queue_messages")))
            for page in pages
        }
        return None not in applied and len(applied) == 1 and len(counts) == 1

    await wait_until(agreed, what="members that agree", deadline_s=15.0, poll_s=0.2)


async def test_reg_r1_everything_acknowledged_is_there_after_all_were_killed(
    cluster: Cluster, client: Client
) -> None:
    await client.create_queue("r1")
    bodies = [f"r1-{number}".encode() for number in range(1_000)]
    for start in range(0, 900, 100):
        await client.publish_batch([("r1", body) for body in bodies[start : start + 100]])
    for body in bodies[900:]:
        await client.publish("r1", body)
    cluster.kill_all()
    await cluster.restart()
    async with Client(cluster.addresses[2]) as elsewhere:
        elsewhere.metadata = client.metadata  # the session survived, too
        assert await elsewhere.drain("r1") == bodies
    await assert_same_applied(cluster)


async def test_a_clean_stop_of_all_keeps_everything_and_exits_with_zero(
    cluster: Cluster, client: Client
) -> None:
    await client.create_queue("clean-stop")
    await client.publish_batch([("clean-stop", b"a"), ("clean-stop", b"b")])
    [(held, _)] = await client.fetch("clean-stop", 1)
    assert await cluster.stop_all() == {1: 0, 2: 0, 3: 0}
    await cluster.restart()
    async with Client(cluster.addresses[1]) as elsewhere:
        elsewhere.metadata = client.metadata
        await elsewhere.ack("clean-stop", held)
        assert await elsewhere.drain("clean-stop") == [b"b"]


async def test_reg_r2_nothing_is_confirmed_while_both_followers_are_stopped(
    cluster: Cluster, metadata: Metadata
) -> None:
    leader = await cluster.wait_leader()
    async with Client(cluster[leader].address, timeout_s=3.0) as client:
        client.metadata = metadata
        await client.create_queue("r2")
        for follower in set(cluster.members) - {leader}:
            cluster[follower].pause()
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await client.publish("r2", b"unconfirmed")
        assert info.value.code() in (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.UNKNOWN,
        )
        with pytest.raises(grpc.aio.AioRpcError):
            await client.fetch("r2")
        for follower in set(cluster.members) - {leader}:
            cluster[follower].resume()
        await cluster.wait_leader()
        got = await client.drain("r2")
        assert got in ([], [b"unconfirmed"])
        if outcome_of(info.value) == "failed":
            assert got == []


async def test_reg_r4_a_stopped_leader_is_replaced_and_never_confirms_again(
    cluster: Cluster, metadata: Metadata
) -> None:
    old = await cluster.wait_leader()
    others = set(cluster.members) - {old}
    async with Client(cluster[old].address, timeout_s=8.0) as client:
        client.metadata = metadata
        await client.create_queue("r4")
        cluster[old].pause()
        began = time.monotonic()
        late = asyncio.ensure_future(client.publish("r4", b"sent to the stopped leader"))
        new = await cluster.wait_leader(among=others, deadline_s=10.0)
        assert time.monotonic() - began < 2 * ELECTION_TIMEOUT_S + 1.0
        async with Client(cluster[new].address) as elsewhere:
            elsewhere.metadata = metadata
            await elsewhere.publish("r4", b"under the new leader")
        cluster[old].resume()
        outcome = "ok"
        try:
            await late
        except grpc.aio.AioRpcError as error:
            outcome = outcome_of(error)
        got = await client.drain("r4")
    assert b"under the new leader" in got
    assert (b"sent to the stopped leader" in got) or outcome != "ok"
    assert await cluster.wait_leader() in cluster.members


async def test_reg_r6_a_stopped_follower_slows_nobody_and_catches_up(
    cluster: Cluster, metadata: Metadata
) -> None:
    leader = await cluster.wait_leader()
    follower = min(set(cluster.members) - {leader})
    async with Client(cluster[leader].address) as client:
        client.metadata = metadata
        await client.create_queue("r6")
        cluster[follower].pause()
        times = []
        for number in range(300):
            start = time.monotonic()
            await client.publish("r6", str(number).encode())
            times.append(time.monotonic() - start)
        assert sorted(times)[150] < 0.1
        assert max(times) < 1.0
        cluster[follower].resume()
        await assert_same_applied(cluster)
        async with Client(cluster[follower].address) as behind:
            behind.metadata = metadata
            assert len(await behind.drain("r6")) == 300


async def test_each_member_killed_in_turn_under_load_loses_nothing(cluster: Cluster) -> None:
    settings = LoadSettings(queues=("turn-1", "turn-2"), lease_s=300.0, abandon_share=0.0)
    load = Load(cluster.addresses, settings, seed=11)
    async with running_load(load):
        for member in cluster.members:
            await confirms(load, 30)
            await asyncio.to_thread(cluster[member].kill)
            await confirms(load, 30)
            await cluster.restart(member)
        await load.stop()
        await load.log_out()
        drained = await load.drain(deadline_s=30.0, quiet_s=1.0)
    report = check(load.history, drained=drained, lease_s=settings.lease_s)
    assert report.is_clean, f"{report}\n{load.refusals}"
    assert report.counts["confirmed"] > 180
    await assert_same_applied(cluster)


async def test_sigterm_drains_without_a_failed_call(cluster: Cluster, client: Client) -> None:
    await client.create_queue("drain")
    leader = await cluster.wait_leader()
    confirmed = 0
    async with Client(cluster[leader].address) as through_it:
        through_it.metadata = client.metadata
        await through_it.publish("drain", b"before")
        stopping = asyncio.create_task(asyncio.to_thread(cluster[leader].stop))
        await wait_until(
            lambda: _is_not_ready(cluster, leader), what="not ready", deadline_s=5.0, poll_s=0.01
        )
        until = time.monotonic() + 2.0  # a balancer has taken note by then; 3 s are promised
        while time.monotonic() < until:
            await through_it.publish("drain", b"while draining")
            confirmed += 1
        assert await cluster.wait_leader(among=set(cluster.members) - {leader}) != leader
    assert await stopping == 0
    assert confirmed > 10
    async with Client(cluster[leader % 3 + 1].address) as elsewhere:
        elsewhere.metadata = client.metadata
        assert len(await elsewhere.drain("drain")) == confirmed + 1


async def test_reg_r5b_and_w10_a_leader_with_a_minority_confirms_nothing(
    own_cluster: Callable[..., Cluster],
) -> None:
    cluster = own_cluster()
    await cluster.start_and_wait()
    cluster.kill_all()
    cluster.route_through_proxies()
    assert cluster.network is not None
    old = await cluster.start_and_wait()
    others = set(cluster.members) - {old}
    async with Client(cluster[old].address, timeout_s=12.0) as inside:
        metadata = await inside.login()
        await inside.create_queue("split")
        cluster.network.isolate(old)
        new = await cluster.wait_leader(among=others, deadline_s=6.0)
        async with Client(cluster[new].address) as majority:
            majority.metadata = metadata
            await majority.publish("split", b"majority")
        await wait_until(
            lambda: _says_no(cluster, old), what="the old leader steps down", deadline_s=5.0
        )
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await inside.publish("split", b"minority")
        assert info.value.code() == grpc.StatusCode.UNAVAILABLE
        assert info.value.details() == "cannot communicate with non-leader nodes"
        assert time.monotonic() - began < 7.0
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await inside.fetch("split")
        assert info.value.code() == grpc.StatusCode.UNAVAILABLE
        cluster.network.heal()
        await cluster.wait_leader()
        await assert_same_applied(cluster)
        assert await inside.drain("split") == [b"majority"]


async def test_reg_w7_at_most_one_member_says_it_leads_during_an_election(
    cluster: Cluster,
) -> None:
    old = await cluster.wait_leader()
    await asyncio.to_thread(cluster[old].kill)
    others = sorted(set(cluster.members) - {old})
    new = None
    until = time.monotonic() + 5.0
    while new is None and time.monotonic() < until:
        answers = await asyncio.gather(*(cluster.says_leader(m, timeout_s=4.0) for m in others))
        assert None not in answers, "IsLeaderNode is always answered"
        assert sum(1 for answer in answers if answer) <= 1
        new = next((m for m, answer in zip(others, answers, strict=True) if answer), None)
    assert new is not None


async def _is_not_ready(cluster: Cluster, member: int) -> bool:
    status, _ = await cluster.http_get(member, "/readyz")
    return status != 200


async def _says_no(cluster: Cluster, member: int) -> bool:
    return await cluster.says_leader(member, timeout_s=4.0) is False


async def confirms(load: Load, number: int) -> None:
    """Wait for so many more confirmed publishes."""
    wanted = load.confirmed + number
    await wait_for(
        lambda: load.confirmed >= wanted,
        what=f"{number} confirms ({load.refusals})",
        deadline_s=20.0,
        poll_s=0.1,
    )
