"""`soak`: steady load through a short queue while one message in so many stays for ever; what the disks do over time.

A message that nobody settles must not keep more of the log than its own record: disk use follows the live bytes.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from sybline import limits
from sybline.v1 import mq_pb2
from tests.bench.calls import percentile
from tests.bench.curve import Sample, draw_chart, encode_csv, judge
from tests.bench.machine import require_free, resident_bytes, worst_disk_bytes
from tests.bench.own_cluster import OwnCluster, running_own_cluster
from tests.bench.report import MIB, mib, ratio
from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster

SECONDS, SECONDS_MIN = 600.0, 20.0
SAMPLE_S = 10.0
SHORT, STUCK = "soak-short", "soak-stuck"
STUCK_EVERY = 20  # so many messages, one of them is never settled
CALLS_PER_S = 40.0  # of one publisher, each a batch
BATCH = 16
BODY_BYTES = (100, 65_536)  # sizes in between, small ones as likely as large ones
FETCH_AMOUNT = 500
QUEUE_SIZE = 100_000_000
CHECKPOINT_ENTRIES = 1_000  # one every ten seconds or so
DISK_BYTES_MAX = 8 * 1024 * MIB  # three members, far more than the bound
SEED = 4


@dataclass
class _Traffic:
    """What publisher and consumer did."""

    client: Client
    times: list[float] = field(default_factory=list)  # of publishes, since the last sample
    published: int = 0
    settled: int = 0

    async def publish(self) -> None:
        """Publish batches at a steady rate, for ever."""
        rng = random.Random(SEED)
        due = time.perf_counter()
        while True:
            messages = [(self._next_queue(), _body(rng)) for _ in range(BATCH)]
            request = mq_pb2.BatchMessages(
                messages=[mq_pb2.MessageInfo(routingKey=k, data=body) for k, body in messages]
            )
            start = time.perf_counter()
            await self.client.call("SubmitBatchedMessages", request)
            now = time.perf_counter()
            self.times.append(now - start)
            due = max(due + 1 / CALLS_PER_S, now - 1.0)  # what is late is not caught up for ever
            await asyncio.sleep(max(0.0, due - now))

    def _next_queue(self) -> str:
        self.published += 1
        return SHORT if self.published % STUCK_EVERY else STUCK

    async def consume(self) -> None:
        """Settle whatever is in the short queue, for ever."""
        while True:
            got = await self.client.fetch(SHORT, FETCH_AMOUNT)
            if got:
                await self.client.batch_ack(SHORT, [message_id for message_id, _ in got])
                self.settled += len(got)
            else:
                await asyncio.sleep(1 / CALLS_PER_S)

    def take_p99_ms(self) -> float:
        """Return the 99th percentile of the publishes since the last call."""
        times, self.times = self.times, []
        return percentile(times, 99) * 1_000


def _body(rng: random.Random) -> bytes:
    low, high = BODY_BYTES
    return bytes(int(low * (high / low) ** rng.random()))


async def soak(own: OwnCluster) -> None:
    """Run, print a line every ten seconds, and end with the curve and the verdict."""
    report, seconds = own.report, max(SECONDS_MIN, SECONDS * own.scale)
    report.say(
        f"## Soak: {seconds:,.0f} s of {CALLS_PER_S * BATCH:,.0f} messages/s of {BODY_BYTES[0]} B to "
        f"{BODY_BYTES[1]:,} B, one in {STUCK_EVERY} never settled\n"
    )
    require_free(own.directory, DISK_BYTES_MAX)
    settings = {"SNAPSHOT_THRESHOLD": str(CHECKPOINT_ENTRIES)}
    async with running_own_cluster(own, settings) as cluster:
        leader = await cluster.wait_leader()
        async with await logged_in(cluster[leader].address, timeout_s=60.0) as client:
            for queue in (SHORT, STUCK):
                await client.create_queue(queue, size=QUEUE_SIZE)
            samples = await _run(own, cluster, leader, _Traffic(client), seconds)
    path = own.keep_at / "soak.csv"
    path.write_text(encode_csv(samples))
    constant_bytes = limits.DISK_OVERHEAD_BYTES
    report.say(f"\n```\n{draw_chart(samples, constant_bytes=constant_bytes)}\n```\n")
    report.say(f"{judge(samples, constant_bytes=constant_bytes)}; the curve is in {path}")


async def _run(
    own: OwnCluster, cluster: Cluster, leader: int, traffic: _Traffic, seconds: float
) -> list[Sample]:
    own.report.table(
        "s",
        "published",
        "live MiB",
        "disk of the worst member MiB",
        "disk / live",
        "RSS MiB",
        "p99 ms",
    )
    samples: list[Sample] = []
    async with _going_on(traffic):
        start = time.perf_counter()
        while (at_s := time.perf_counter() - start) < seconds:
            await asyncio.sleep(min(SAMPLE_S, seconds - at_s))
            sample = await _sample(cluster, leader, traffic, time.perf_counter() - start)
            samples.append(sample)
            own.report.row(
                f"{sample.at_s:.0f}", f"{traffic.published:,}", mib(sample.live_bytes),
                mib(sample.disk_bytes), ratio(sample.disk_bytes, sample.live_bytes),
                mib(sample.resident_bytes), f"{sample.publish_p99_ms:.1f}",
            )  # fmt: skip
    return samples


@contextlib.asynccontextmanager
async def _going_on(traffic: _Traffic) -> AsyncIterator[None]:
    """Publish and consume for the time of a block; an error of either ends it."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(traffic.publish()), tasks.create_task(traffic.consume())]
        yield
        for task in running:
            task.cancel()


async def _sample(cluster: Cluster, leader: int, traffic: _Traffic, at_s: float) -> Sample:
    metrics = await cluster.metrics(leader)
    live_bytes = sum(metrics[f'sybline_queue_bytes{{queue="{queue}"}}'] for queue in (SHORT, STUCK))
    return Sample(
        at_s=round(at_s, 1),
        live_bytes=int(live_bytes),
        disk_bytes=await asyncio.to_thread(worst_disk_bytes, cluster),
        resident_bytes=max(resident_bytes(cluster).values()),
        publish_p99_ms=round(traffic.take_p99_ms(), 2),
    )
