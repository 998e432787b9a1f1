"""Backlogs: many waiting messages, in order or with every second one settled, and what they cost.

Batches are encoded once and sent as bytes, so that the client is not what is measured.
"""

import asyncio
import time
from dataclasses import dataclass

from sybline.v1 import mq_pb2
from tests.bench.calls import Metadata, RawCalls
from tests.support.client import Client, logged_in

SUBMIT_BATCH = "/MQ.MQEndpoints/SubmitBatchedMessages"
BATCH_BYTES_MAX = 4_000_000
IN_FLIGHT = 2
QUEUE_SIZE = 2_000_000_000
FETCH_AMOUNT = 10_000  # the most one fetch brings


@dataclass(frozen=True)
class Backlog:
    """So many messages of one size."""

    queue: str
    messages: int
    body_bytes: int

    @property
    def total_bytes(self) -> int:
        """Return the bytes of all bodies."""
        return self.messages * self.body_bytes

    @property
    def per_batch(self) -> int:
        """Return how many messages one call carries."""
        one = len(self.encode(1))
        return max(1, min(BATCH_BYTES_MAX // one, self.messages))

    def encode(self, count: int) -> bytes:
        """Return the request that publishes so many of them."""
        message = mq_pb2.MessageInfo(routingKey=self.queue, data=b"x" * self.body_bytes)
        return mq_pb2.BatchMessages(messages=[message] * count).SerializeToString()

    def calls(self, address: str, metadata: Metadata) -> RawCalls:
        """Return connections for such requests."""
        return RawCalls(address, SUBMIT_BATCH, metadata, IN_FLIGHT)

    async def fill(self, address: str, metadata: Metadata) -> float:
        """Publish all of it and return the seconds this took."""
        full, rest = divmod(self.messages, self.per_batch)
        requests = [self.encode(self.per_batch)] * full
        requests += [self.encode(rest)] if rest else []
        pending = iter(requests)

        async def work(calls: RawCalls, worker: int) -> None:
            for request in pending:
                await calls.one(worker, request)

        start = time.perf_counter()
        async with self.calls(address, metadata) as calls:
            await asyncio.gather(*(work(calls, worker) for worker in range(IN_FLIGHT)))
        return time.perf_counter() - start


async def settle_every_second(address: str, backlog: Backlog) -> float:
    """Settle every second message of a backlog, the worst case for whoever keeps runs; return the seconds.

    The others are held until all are seen, each session one fetch of them: a further one would bring the same again.
    Then the sessions end, which returns what they hold.
    """
    start = time.perf_counter()
    sessions: list[Client] = []
    for _ in range(-(-backlog.messages // FETCH_AMOUNT)):
        session = await logged_in(address, timeout_s=60.0)
        sessions.append(session)
        got = await session.fetch(backlog.queue, FETCH_AMOUNT)
        await session.batch_ack(backlog.queue, [message_id for message_id, _ in got[::2]])
    for session in sessions:
        await session.logout()
        await session.close()
    return time.perf_counter() - start
