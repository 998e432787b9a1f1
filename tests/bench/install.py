"""`install`: a new, empty member receives a 2 GiB backlog while somebody publishes through the leader.

The publisher's latency during the install stands beside what it was before; the speed beside a raw copy of the files.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.bench.calls import percentile
from tests.bench.filling import QUEUE_SIZE, Backlog
from tests.bench.machine import copy_bytes_per_s, require_free, stored_bytes
from tests.bench.own_cluster import OwnCluster, running_own_cluster
from tests.bench.report import MIB, mib
from tests.support.admin_cli import members
from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster, Member
from tests.support.waiting import wait_until

MESSAGES, BODY_BYTES = 32_768, 65_536  # 2 GiB
DISK_PER_BODY_BYTE = 10.0  # four members, twice the live bytes at most
PUBLISHED_BYTES = 1_024
PUBLISH_EVERY_S = 0.01
BEFORE_S = 10.0
INSTALL_S_MAX = 900.0
BACKLOG, STEADY = "install-backlog", "install-steady"


@dataclass
class _Publisher:
    """Publishes at a steady rate and remembers how long each took, by phase."""

    client: Client
    phase: str = "before"
    times: dict[str, list[float]] = field(default_factory=dict)

    async def run(self) -> None:
        """Publish for ever."""
        while True:
            start = time.perf_counter()
            await self.client.publish(STEADY, b"x" * PUBLISHED_BYTES)
            took = time.perf_counter() - start
            self.times.setdefault(self.phase, []).append(took)
            await asyncio.sleep(max(0.0, PUBLISH_EVERY_S - took))


async def install(own: OwnCluster) -> None:
    """Fill, publish for a while, let a new member in, and compare."""
    backlog = Backlog(BACKLOG, max(64, int(MESSAGES * own.scale)), BODY_BYTES)
    own.report.say(f"## Install of {mib(backlog.total_bytes)} MiB at a new member, under load\n")
    require_free(own.directory, int(backlog.total_bytes * DISK_PER_BODY_BYTE))
    async with running_own_cluster(own) as cluster:
        leader = await cluster.wait_leader()
        async with await logged_in(cluster[leader].address, timeout_s=60.0) as client:
            for queue in (BACKLOG, STEADY):
                await client.create_queue(queue, size=QUEUE_SIZE)
            await backlog.fill(cluster[leader].address, client.metadata)
            publisher = _Publisher(client)
            async with _publishing(publisher):
                await asyncio.sleep(max(2.0, BEFORE_S * own.scale))
                joiner = cluster.add_joiner()
                publisher.phase = "during"
                seconds = await _let_in(cluster, leader, joiner)
                publisher.phase = "after"
                await asyncio.sleep(max(2.0, BEFORE_S * own.scale))
        await _print(own, cluster, leader, joiner, publisher, seconds)


@contextlib.asynccontextmanager
async def _publishing(publisher: _Publisher) -> AsyncIterator[None]:
    """Publish for the time of a block; an error of it ends the block."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        yield
        running.cancel()


async def _let_in(cluster: Cluster, leader: int, joiner: Member) -> float:
    """Start the new member, add it, and return the seconds until it votes with everything it needs."""
    joiner.start()

    async def listens() -> bool:
        status, _ = await cluster.http_get(joiner.id, "/livez")
        return status == 200

    await wait_until(listens, what="the new member listens", deadline_s=30.0)
    start = time.perf_counter()
    address = cluster[leader].address
    timeout = f"{INSTALL_S_MAX:.0f}"
    await members(
        address, "add", joiner.peer_address, "--timeout", timeout, deadline_s=INSTALL_S_MAX + 10
    )
    return time.perf_counter() - start


async def _print(
    own: OwnCluster,
    cluster: Cluster,
    leader: int,
    joiner: Member,
    publisher: _Publisher,
    seconds: float,
) -> None:
    report = own.report
    received = await asyncio.to_thread(stored_bytes, joiner.data_dir)
    metrics = await cluster.metrics(joiner.id)
    source = cluster[leader].data_dir
    raw = await asyncio.to_thread(copy_bytes_per_s, source, own.directory, bytes_max=512 * MIB)
    report.table("publishes", "number", "p50 ms", "p99 ms", "max ms")
    for phase, times in publisher.times.items():
        p50, p99 = (percentile(times, percent) * 1_000 for percent in (50, 99))
        report.row(phase, len(times), f"{p50:.1f}", f"{p99:.1f}", f"{max(times) * 1000:.1f}")
    installs = metrics.get("sybline_raft_checkpoints_installed_total", 0)
    report.say(
        f"\na voter after {seconds:.1f} s with {mib(received)} MiB on its disk: "
        f"{received / seconds / 1e6:,.0f} MB/s, {received / seconds / raw:.0%} of a raw copy "
        f"({raw / 1e6:,.0f} MB/s); checkpoints received: {installs:.0f}"
    )
