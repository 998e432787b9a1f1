"""Closed loops of unary calls: so many in flight, for so long, with their times."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc

from tests.support.cluster import CHANNEL_OPTIONS

CHANNELS_MAX = 8
CALLS_MAX = 2_000_000
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Timed:
    """What a loop did."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return calls per second."""
        return len(self.times) / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the call times, in milliseconds."""
        return percentile(self.times, percent) * 1_000


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile, by nearest rank; 0 without values."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


class RawCalls:
    """Calls of one method with ready-made bytes, spread over a few connections."""

    def __init__(self, address: str, method: str, metadata: Metadata, in_flight: int) -> None:
        self.metadata = metadata
        self._channels = [
            grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
            for _ in range(min(in_flight, CHANNELS_MAX))
        ]
        self._calls = [channel.unary_unary(method) for channel in self._channels]

    async def __aenter__(self) -> "RawCalls":
        for call in self._calls:
            assert call is not None
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close()

    def one(self, worker: int, request: bytes) -> Awaitable[bytes]:
        """Make one call on the worker's connection."""
        return self._calls[worker % len(self._calls)](request, metadata=self.metadata, timeout=30)


async def closed_loop(
    call: Callable[[int], Awaitable[object]], *, in_flight: int, seconds: float
) -> Timed:
    """Keep `in_flight` calls going for `seconds`, after a short warm-up that is not counted."""
    await _loop(call, in_flight, min(0.5, seconds / 4))
    return await _loop(call, in_flight, seconds)


async def _loop(call: Callable[[int], Awaitable[object]], in_flight: int, seconds: float) -> Timed:
    result = Timed()
    start = time.perf_counter()
    until = start + seconds

    async def work(worker: int) -> None:
        while (began := time.perf_counter()) < until and len(result.times) < CALLS_MAX:
            await call(worker)
            result.times.append(time.perf_counter() - began)

    await asyncio.gather(*(work(worker) for worker in range(in_flight)))
    result.seconds = time.perf_counter() - start
    return result
