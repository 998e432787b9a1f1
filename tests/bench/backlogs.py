"""Memory, disk and restart with a large backlog: `backlog-small` (10 million x 100 B) and `backlog-large` (2 GiB)."""

import asyncio
from dataclasses import dataclass

from tests.bench.calls import closed_loop
from tests.bench.echo import EchoServer
from tests.bench.filling import IN_FLIGHT, QUEUE_SIZE, Backlog, settle_every_second
from tests.bench.machine import (
    copy_bytes_per_s,
    read_seconds,
    require_free,
    resident_bytes,
    worst_disk_bytes,
)
from tests.bench.own_cluster import OwnCluster, running_own_cluster
from tests.bench.report import MIB, mib, ratio
from tests.bench.restarts import drop_page_cache, restart_all, restart_one
from tests.support.client import logged_in

SMALL_MESSAGES, SMALL_BYTES = 10_000_000, 100
SETTLED_MESSAGES = (
    1_000_000  # a settle of its own for each takes minutes; what one costs does not depend on it
)
LARGE_MESSAGES, LARGE_BYTES = 32_768, 65_536  # 2 GiB
DISK_PER_BODY_BYTE = 8.0  # three members, twice the live bytes, and what surrounds a small body
MEASURE_S = 2.0
COPY_BYTES_MAX = 512 * MIB


async def backlog_small(own: OwnCluster) -> None:
    """Many small messages: in order, then fewer, of which every second one is settled."""
    for messages, worst_case in ((SMALL_MESSAGES, False), (SETTLED_MESSAGES, True)):
        count = max(1_000, int(messages * own.scale))
        await _run(own, Backlog("bench-small", count, SMALL_BYTES), worst_case=worst_case)


async def backlog_large(own: OwnCluster) -> None:
    """2 GiB in messages of 64 KiB."""
    backlog = Backlog("bench-large", max(64, int(LARGE_MESSAGES * own.scale)), LARGE_BYTES)
    await _run(own, backlog, worst_case=False)


@dataclass(frozen=True)
class _Held:
    """What the members take at one moment."""

    waiting: int
    live_bytes: int
    disk_bytes: int
    resident: dict[int, int]


async def _run(own: OwnCluster, backlog: Backlog, *, worst_case: bool) -> None:
    report = own.report
    report.say(f"## {backlog.messages:,} waiting messages of {backlog.body_bytes:,} B\n")
    require_free(own.directory, int(backlog.total_bytes * DISK_PER_BODY_BYTE))
    async with running_own_cluster(own) as cluster:
        leader = await cluster.wait_leader()
        async with await logged_in(cluster[leader].address) as client:
            await client.create_queue(backlog.queue, size=QUEUE_SIZE)
            metadata = client.metadata
        empty = resident_bytes(cluster)
        echo_rate = await _echo_messages_per_s(backlog)
        seconds = await backlog.fill(cluster[leader].address, metadata)
        rate = backlog.messages / seconds
        report.say(
            f"filled in {seconds:.1f} s: {rate:,.0f} messages/s, "
            f"{backlog.total_bytes / seconds / 1e6:,.0f} MB/s, {rate / echo_rate:.0%} of a bare echo\n"
        )
        cases = {"in order": await _look(own, leader, backlog)}
        if worst_case:
            seconds = await settle_every_second(cluster[leader].address, backlog)
            report.say(f"every second message settled in {seconds:.1f} s\n")
            cases["every second settled"] = await _look(own, leader, backlog)
        _print_cases(own, leader, empty, cases)
        await _print_restarts(own, leader)


async def _echo_messages_per_s(backlog: Backlog) -> float:
    with EchoServer() as echo:
        async with backlog.calls(echo.address, ()) as calls:
            request = backlog.encode(backlog.per_batch)
            timed = await closed_loop(
                lambda worker: calls.one(worker, request), in_flight=IN_FLIGHT, seconds=MEASURE_S
            )
    return timed.rate * backlog.per_batch


async def _look(own: OwnCluster, leader: int, backlog: Backlog) -> _Held:
    cluster = own.cluster
    metrics = await cluster.metrics(leader)
    labels = f'queue="{backlog.queue}"'
    states = ("ready", "leased", "delayed", "parked")
    waiting = sum(metrics[f'sybline_queue_messages{{{labels},state="{s}"}}'] for s in states)
    disk_bytes = await asyncio.to_thread(worst_disk_bytes, cluster)
    live_bytes = metrics[f"sybline_queue_bytes{{{labels}}}"]
    return _Held(int(waiting), int(live_bytes), disk_bytes, resident_bytes(cluster))


def _print_cases(
    own: OwnCluster, leader: int, empty: dict[int, int], cases: dict[str, _Held]
) -> None:
    own.report.table(
        "case", "waiting", "live MiB", "RSS of the leader MiB", "of the followers MiB",
        "RSS / live", "leader's bytes per waiting message", "disk of the worst member MiB", "disk / live",
    )  # fmt: skip
    for name, held in cases.items():
        own_bytes = held.resident[leader]
        followers = [mib(size) for number, size in held.resident.items() if number != leader]
        own.report.row(
            name, f"{held.waiting:,}", mib(held.live_bytes), mib(own_bytes), ", ".join(followers),
            ratio(own_bytes, held.live_bytes), ratio(own_bytes - empty[leader], held.waiting),
            mib(held.disk_bytes), ratio(held.disk_bytes, held.live_bytes),
        )  # fmt: skip
    own.report.say(f"\nRSS of the leader before: {mib(empty[leader])} MiB\n")


async def _print_restarts(own: OwnCluster, leader: int) -> None:
    """Restart a follower, with its files in memory and without, then all; beside reading its files once."""
    cluster, report = own.cluster, own.report
    follower = next(number for number in cluster.members if number != leader)
    directory = cluster[follower].data_dir
    report.table("restart", "votes after s", "serves after s", "reading all its files once s")
    warm = await restart_one(cluster, follower)
    raw = await asyncio.to_thread(read_seconds, directory)
    report.row("one, files in memory", f"{warm.votes_s:.2f}", f"{warm.serves_s:.2f}", f"{raw:.2f}")
    cluster[follower].kill()
    await asyncio.to_thread(drop_page_cache, directory)
    raw = await asyncio.to_thread(read_seconds, directory)
    await asyncio.to_thread(drop_page_cache, directory)
    cold = await restart_one(cluster, follower)
    report.row("one, files on disk", f"{cold.votes_s:.2f}", f"{cold.serves_s:.2f}", f"{raw:.2f}")
    slowest = max((await restart_all(cluster)).values(), key=lambda each: each.serves_s)
    report.row("all at once, the slowest", f"{slowest.votes_s:.2f}", f"{slowest.serves_s:.2f}", "-")
    after = ", ".join(mib(size) for size in resident_bytes(cluster).values())
    speed = await asyncio.to_thread(
        copy_bytes_per_s, directory, own.directory, bytes_max=COPY_BYTES_MAX
    )
    report.say(f"\nRSS after it: {after} MiB; a raw copy runs at {speed / 1e6:,.0f} MB/s\n")
