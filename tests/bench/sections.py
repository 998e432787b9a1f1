"""The measurements, each a section of markdown. Loads are bounded in time and in number."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from sybline.v1 import mq_pb2
from tests.bench.calls import Metadata, RawCalls, Timed, closed_loop, percentile
from tests.bench.echo import EchoServer, measure_fdatasync_s
from tests.bench.report import Report, Say
from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster
from tests.support.load import Load, LoadSettings, running_load

SUBMIT = "/MQ.MQEndpoints/SubmitMessage"
SUBMIT_BATCH = "/MQ.MQEndpoints/SubmitBatchedMessages"
SIZES = {"100 B": 100, "1 KiB": 1024, "64 KiB": 65_536}
BATCH = 256
QUEUE_SIZE = 2_000_000_000
# From shared measurements of other brokers on such a machine; measure again before claiming a ratio.
BEST_PEER_ASYNC_1K = 27_987
BEST_PEER_CONSUME = 20_800


@dataclass
class Bench(Report):
    """What every section needs."""

    cluster: Cluster
    directory: Path
    seconds: float
    messages: int
    say: Say
    metadata: Metadata = ()
    leader: str = ""

    async def prepare(self) -> None:
        """Find the leader and log in there."""
        leader = await self.cluster.wait_leader()
        self.leader = self.cluster[leader].address
        async with await logged_in(self.leader) as client:
            self.metadata = client.metadata

    def client(self, address: str = "") -> Client:
        """Return a client with the session."""
        client = Client(address or self.leader, timeout_s=30.0)
        client.metadata = self.metadata
        return client

    def cpu_s(self) -> float:
        """Return the CPU seconds that the members used so far."""
        return sum(_cpu_s(m.process.pid) for m in self.cluster.members.values() if m.process)

    @contextlib.asynccontextmanager
    async def queue(self, name: str):
        """Create a queue for the block and delete it afterwards."""
        async with self.client() as client:
            await client.create_queue(name, size=QUEUE_SIZE)
            try:
                yield client
            finally:
                await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName=name))


async def submit(bench: Bench) -> None:
    """SubmitMessage beside the bare echo."""
    syncs = await asyncio.to_thread(measure_fdatasync_s, bench.directory)
    bench.say("## SubmitMessage, one message per call\n")
    bench.say(
        f"fdatasync of 4 KiB: p50 {percentile(syncs, 50) * 1000:.2f} ms, "
        f"p99 {percentile(syncs, 99) * 1000:.2f} ms\n"
    )
    bench.table(
        "body", "in flight", "OKs/s", "p50 ms", "p99 ms", "echo/s", "echo p50 ms", "share of echo"
    )
    with EchoServer() as echo:
        for size_name, size in SIZES.items():
            async with bench.queue("bench-submit"):
                for in_flight in (1, 16, 64):
                    request = _submit_request("bench-submit", size)
                    raw = await _unary(bench, echo.address, SUBMIT, request, in_flight)
                    own = await _unary(bench, bench.leader, SUBMIT, request, in_flight)
                    _submit_row(bench, size_name, in_flight, own, raw)
        followers = [a for a in bench.cluster.addresses if a != bench.leader]
        if followers:
            async with bench.queue("bench-submit"):
                request = _submit_request("bench-submit", 1024)
                raw = await _unary(bench, echo.address, SUBMIT, request, 64)
                own = await _unary(bench, followers[0], SUBMIT, request, 64)
                _submit_row(bench, "1 KiB, through a follower", 64, own, raw)


def _submit_row(bench: Bench, size: str, in_flight: int, own: Timed, raw: Timed) -> None:
    bench.row(
        size,
        in_flight,
        f"{own.rate:,.0f}",
        f"{own.percentile_ms(50):.2f}",
        f"{own.percentile_ms(99):.2f}",
        f"{raw.rate:,.0f}",
        f"{raw.percentile_ms(50):.2f}",
        f"{own.rate / raw.rate:.0%}",
    )


async def batches(bench: Bench) -> None:
    """SubmitBatchedMessages of 256 x 1 KiB."""
    bench.say(f"## SubmitBatchedMessages, {BATCH} x 1 KiB per call\n")
    bench.table(
        "in flight",
        "messages/s",
        "MB/s",
        "p50 ms",
        "p99 ms",
        "echo messages/s",
        "share of echo",
        f"of the best peer's {BEST_PEER_ASYNC_1K:,}/s",
        "broker CPU s per million",
    )
    message = mq_pb2.MessageInfo(routingKey="bench-batch", data=b"x" * 1024)
    request = mq_pb2.BatchMessages(messages=[message] * BATCH).SerializeToString()
    with EchoServer() as echo:
        for in_flight in (1, 4):
            async with bench.queue("bench-batch"):
                raw = await _unary(bench, echo.address, SUBMIT_BATCH, request, in_flight)
                cpu = bench.cpu_s()
                own = await _unary(bench, bench.leader, SUBMIT_BATCH, request, in_flight)
                cpu = (bench.cpu_s() - cpu) / (len(own.times) * 1.25 * BATCH / 1e6)
                bench.row(
                    in_flight,
                    f"{own.rate * BATCH:,.0f}",
                    f"{own.rate * len(request) / 1e6:,.0f}",
                    f"{own.percentile_ms(50):.1f}",
                    f"{own.percentile_ms(99):.1f}",
                    f"{raw.rate * BATCH:,.0f}",
                    f"{own.rate / raw.rate:.0%}",
                    f"{own.rate * BATCH / BEST_PEER_ASYNC_1K:.1f} x",
                    f"{cpu:.1f}",
                )


async def consume(bench: Bench) -> None:
    """GetMessages + BatchAck of 1 KiB messages."""
    bench.say("## GetMessages + BatchAck, 1 KiB, 256 per fetch\n")
    bench.table(
        "consumers", "messages/s", "fetch p50 ms", "ack p50 ms", "of the best peer's 20,800/s"
    )
    for consumers in (1, 4):
        async with bench.queue("bench-consume") as client:
            await _fill(client, "bench-consume", min(200_000, int(bench.seconds * 60_000)))
            fetches, acks = Timed(), Timed()
            start = time.perf_counter()
            sessions = [await logged_in(bench.leader) for _ in range(consumers)]
            start = time.perf_counter()
            until = start + bench.seconds
            await asyncio.gather(*(_consume(s, until, fetches, acks) for s in sessions))
            seconds = time.perf_counter() - start
            for session in sessions:
                await session.close()
            rate = len(acks.times) * BATCH / seconds
            bench.row(
                consumers,
                f"{rate:,.0f}",
                f"{fetches.percentile_ms(50):.1f}",
                f"{acks.percentile_ms(50):.1f}",
                f"{rate / BEST_PEER_CONSUME:.1f} x",
            )


async def _consume(client: Client, until: float, fetches: Timed, acks: Timed) -> None:
    while (start := time.perf_counter()) < until:
        got = await client.fetch("bench-consume", BATCH)
        if len(got) < BATCH:
            return
        fetched = time.perf_counter()
        fetches.times.append(fetched - start)
        await client.batch_ack("bench-consume", [message_id for message_id, _ in got])
        acks.times.append(time.perf_counter() - fetched)


async def latency(bench: Bench) -> None:
    """Publish to fetch at 500 messages a second."""
    bench.say("## Publish to fetch, 500 messages/s, 1 KiB, a polling consumer\n")
    bench.table("publish through", "consume through", "messages", "p50 ms", "p99 ms", "max ms")
    addresses = bench.cluster.addresses
    other = next((a for a in addresses if a != bench.leader), bench.leader)
    pairs = (("leader", bench.leader, bench.leader), ("follower", other, other))
    for name, publish_at, consume_at in pairs:
        async with bench.queue("bench-latency"):
            times = await _publish_to_fetch(bench, publish_at, consume_at)
        bench.row(
            name,
            name,
            len(times),
            f"{percentile(times, 50) * 1000:.1f}",
            f"{percentile(times, 99) * 1000:.1f}",
            f"{max(times, default=0) * 1000:.1f}",
        )


async def _publish_to_fetch(bench: Bench, publish_at: str, consume_at: str) -> list[float]:
    count = int(500 * bench.seconds)
    times: list[float] = []

    async def publish(client: Client, number: int, start: float) -> None:
        await asyncio.sleep(max(0.0, start + number / 500 - time.perf_counter()))
        head = f"{time.perf_counter():.6f} ".encode()
        await client.publish("bench-latency", head.ljust(1024, b"x"))

    async def consume_all(client: Client) -> None:
        while len(times) < count:
            got = await client.fetch("bench-latency", 200)
            now = time.perf_counter()
            times.extend(now - float(body.split(b" ", 1)[0]) for _, body in got)
            if got:
                ids = [message_id for message_id, _ in got]
                await client.batch_ack("bench-latency", ids)

    publisher, consumer = bench.client(publish_at), bench.client(consume_at)
    try:
        async with asyncio.timeout(bench.seconds + 30):
            start = time.perf_counter() + 0.2
            await asyncio.gather(
                consume_all(consumer), *(publish(publisher, n, start) for n in range(count))
            )
    finally:
        await publisher.close()
        await consumer.close()
    return times


async def failover(bench: Bench) -> None:
    """The longest gap between two OKs when the leader is killed."""
    bench.say("## Failover: SIGKILL of the leader under 6 publishers on all members\n")
    bench.table("time", "longest gap between two OKs, s", "OKs")
    settings = LoadSettings(queues=("bench-failover",), consumers=0, publish_every_s=0.01)
    load = Load(bench.cluster.addresses, settings)
    gaps = []
    async with running_load(load):
        for number in range(1, 6):
            await asyncio.sleep(1.0)
            leader = await bench.cluster.wait_leader()
            start, before = time.monotonic(), load.confirmed
            await asyncio.to_thread(bench.cluster[leader].kill)
            await asyncio.sleep(3.0)
            gaps.append(load.history.longest_gap_s(start, time.monotonic()))
            bench.row(number, f"{gaps[-1]:.2f}", load.confirmed - before)
            await bench.cluster.restart(leader)
        await load.stop()
    bench.say(f"\nmedian {percentile(gaps, 50):.2f} s, max {max(gaps):.2f} s")
    async with bench.client(bench.cluster.addresses[0]) as client:
        await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="bench-failover"))
    await bench.prepare()


async def memory(bench: Bench) -> None:
    """RSS and restart with many waiting messages."""
    bench.say(f"## {bench.messages:,} waiting messages of 1 KiB\n")
    empty = _resident_mib(bench.cluster)
    async with bench.queue("bench-memory") as client:
        start = time.perf_counter()
        await _fill(client, "bench-memory", bench.messages)
        filled_s = time.perf_counter() - start
        full = _resident_mib(bench.cluster)
        start = time.perf_counter()
        await asyncio.to_thread(bench.cluster.kill_all)
        await bench.cluster.start_and_wait(deadline_s=120.0)
        await bench.prepare()
        restart_s = time.perf_counter() - start
        async with bench.client() as reader:
            got = await reader.fetch("bench-memory", 100)
        first_fetch_s = time.perf_counter() - start
        restarted = _resident_mib(bench.cluster)
    bench.table("member", "RSS at the start, MiB", "filled, MiB", "after the restart, MiB")
    for member in bench.cluster.members:
        bench.row(member, *(f"{mib[member]:.0f}" for mib in (empty, full, restarted)))
    bench.say(
        f"\nfilled in {filled_s:.1f} s ({bench.messages / filled_s:,.0f} messages/s); all members "
        f"killed and serving again in {restart_s:.1f} s; first fetch ({len(got)} messages) after "
        f"{first_fetch_s:.1f} s"
    )


SECTIONS = {
    "submit": submit,
    "batches": batches,
    "consume": consume,
    "latency": latency,
    "failover": failover,
    "memory": memory,
}


async def _unary(bench: Bench, address: str, method: str, request: bytes, in_flight: int) -> Timed:
    async with RawCalls(address, method, bench.metadata, in_flight) as calls:
        return await closed_loop(
            lambda worker: calls.one(worker, request), in_flight=in_flight, seconds=bench.seconds
        )


def _submit_request(key: str, size: int) -> bytes:
    return mq_pb2.MessageInfo(routingKey=key, data=b"x" * size).SerializeToString()


async def _fill(client: Client, queue: str, messages: int) -> None:
    """Publish 1 KiB messages in batches, two in flight."""
    per_call = 3_500
    body = b"x" * 1024
    left = messages

    async def work() -> None:
        nonlocal left
        while left > 0:
            count = min(per_call, left)
            left -= count
            await client.publish_batch([(queue, body)] * count)

    await asyncio.gather(work(), work())


def _resident_mib(cluster: Cluster) -> dict[int, float]:
    return {number: m.resident_bytes() / 2**20 for number, m in cluster.members.items()}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
