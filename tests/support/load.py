"""Steady tagged load against a cluster: publishers and consumers that behave as the documentation asks.

Every call is recorded for the checker. A publisher repeats what definitely failed; what has an unknown outcome it
repeats only under its idempotency key, else it goes on to the next tag. Consumers settle most messages, return some,
and now and then leave their session behind with messages in hand, so that leases end by time.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field

import grpc

from sybline.v1 import mq_pb2, mq_pb2_grpc
from tests.support.channels import Trust, open_channel
from tests.support.checker import (
    FAILED,
    OK,
    RETURN,
    SETTLE,
    UNKNOWN,
    Answer,
    Delivery,
    Fetch,
    History,
    Publish,
    build_body,
    read_body,
)
from tests.support.client import Client, outcome_of
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, CHANNEL_OPTIONS
from tests.support.waiting import WaitTimedOut

Metadata = tuple[tuple[str, str], ...]
_STATE_CODES = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)


@dataclass(frozen=True)
class LoadSettings:
    """How much load, and how clients behave."""

    queues: tuple[str, ...] = ("load-1", "load-2")
    publishers: int = 6
    consumers: int = 4
    publish_every_s: float = 0.03  # of one publisher
    fetch_every_s: float = 0.05
    body_bytes: int = 200
    lease_s: float = 5.0
    call_timeout_s: float = 3.0
    log_in_s: float = 60.0  # a busy machine starts all members anew within this
    pause_s: float = 0.05  # after a failed call, before the next member is asked
    return_share: float = 0.06
    abandon_share: float = 0.01
    give_up_share: float = 0.3  # of definite failures, by publishers without keys
    hold_share: float = 0.3  # of fetches that are worked on for a while, up to `hold_s`
    hold_s: float = 0.3
    fetch_amount: int = 20


@dataclass
class Load:
    """The load and its history. `start`, then `stop`, then `drain`."""

    addresses: list[str]
    settings: LoadSettings = field(default_factory=LoadSettings)
    seed: int = 1
    history: History = field(default_factory=History)
    refusals: Counter[str] = field(default_factory=Counter)  # texts of definite failures
    trust: Trust | None = None  # None: plain text

    def __post_init__(self) -> None:
        self.confirmed = 0
        self.failed_attempts = 0  # to publish; most are repeated
        self._channels: list[grpc.aio.Channel] = []
        self._stubs: list[mq_pb2_grpc.MQEndpointsStub] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._consumers: list[_Consumer] = []
        self._publishing = True
        self._consuming = True

    async def start(self) -> None:
        """Create the queues and begin."""
        async with Client(self.addresses[0], trust=self.trust) as client:
            await client.login()
            for queue in self.settings.queues:
                await client.create_queue(queue)
        self._open_channels()
        settings = self.settings
        for number in range(settings.publishers):
            self._begin(_Publisher(self, number).run(), "publish-")
        for number in range(settings.consumers):
            self._consumers.append(_Consumer(self, number))
            self._begin(self._consumers[-1].run(), "consume-")

    async def stop_publishing(self) -> None:
        """Let the publishers end their current message; consumers go on."""
        self._publishing = False
        await self._settle_tasks("publish-")

    async def stop(self) -> None:
        """End all workers."""
        self._publishing = self._consuming = False
        await self._settle_tasks("")

    async def log_out(self) -> None:
        """End every session the consumers ever had: their leases return at once (S-5)."""
        for worker in self._consumers:
            await worker.log_out()

    async def drain(self, *, deadline_s: float = 60.0, quiet_s: float | None = None) -> bool:
        """Empty the queues after the faults healed; return whether that was reached in time.

        A queue counts as empty when nothing came for `quiet_s`: by default longer than any lease may last.
        """
        quiet_s = self.settings.lease_s + 3.0 if quiet_s is None else quiet_s
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.gather(*(self._drain_queue(q, quiet_s) for q in self.settings.queues))
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End what may still run and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()

    def stub(self, member: int) -> mq_pb2_grpc.MQEndpointsStub:
        """Return the stub of the n-th address, counted round."""
        return self._stubs[member % len(self._stubs)]

    def move_to(self, addresses: list[str]) -> None:
        """Use these members from the next call on; calls under way end where they are."""
        self.addresses = list(addresses)
        self._stubs = []
        self._open_channels()

    def is_publishing(self) -> bool:
        """Return whether publishers go on."""
        return self._publishing

    def is_consuming(self) -> bool:
        """Return whether consumers go on."""
        return self._consuming

    def note(self, error: grpc.aio.AioRpcError) -> str:
        """Count an error and return its outcome."""
        outcome = outcome_of(error)
        self.refusals[f"{outcome} {error.code().name}: {(error.details() or '')[:90]}"] += 1
        return outcome

    async def log_in(self, member: int) -> tuple[Metadata, int]:
        """Log in somewhere, beginning with one member; return the pair and where it was."""
        ends = time.monotonic() + self.settings.log_in_s
        while time.monotonic() < ends:
            call = self.stub(member).Login(
                mq_pb2.Credentials(username=ADMIN, password=ADMIN_PASSWORD),
                timeout=self.settings.call_timeout_s,
            )
            try:
                await call
            except grpc.aio.AioRpcError as error:
                self.note(error)
                member += 1
                await asyncio.sleep(self.settings.pause_s)
                continue
            headers = await call.initial_metadata()
            return tuple((k, str(v)) for k, v in headers), member
        raise WaitTimedOut(f"no member let a worker log in within {self.settings.log_in_s:g} s")

    def _open_channels(self) -> None:
        for address in self.addresses:
            channel = open_channel(address, CHANNEL_OPTIONS, self.trust)
            self._channels.append(channel)
            self._stubs.append(mq_pb2_grpc.MQEndpointsStub(channel))

    def _begin(self, work: Coroutine[None, None, None], label: str) -> None:
        name = f"{label}{len(self._tasks)}"
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _settle_tasks(self, prefix: str) -> None:
        tasks = [task for task in self._tasks if task.get_name().startswith(prefix)]
        if not tasks:
            return
        done, pending = await asyncio.wait(tasks, timeout=40.0)
        assert not pending, f"{len(pending)} workers do not end"
        for task in done:
            task.result()

    async def _drain_queue(self, queue: str, quiet_s: float) -> None:
        worker = _Consumer(self, 1_000 + self.settings.queues.index(queue))
        worker.queue = queue
        await worker.open_session()
        last_seen = time.monotonic()
        while time.monotonic() - last_seen < quiet_s:
            fetched = await worker.fetch(500)
            if fetched is None:
                last_seen = time.monotonic()
            elif fetched:
                last_seen = time.monotonic()
                await worker.answer(SETTLE, [d.message_id for d in fetched])
            if not fetched:
                await asyncio.sleep(0.2)


class _Publisher:
    """Publishes one message after the other; even numbers use idempotency keys."""

    def __init__(self, load: Load, number: int) -> None:
        self.load, self.name, self.keyed = load, f"p{number}", number % 2 == 0
        queues = load.settings.queues
        self.queue = queues[number % len(queues)]
        self.rng = random.Random(f"{load.seed}/{self.name}")
        self.member = number
        self.metadata: Metadata = ()

    async def run(self) -> None:
        self.metadata, self.member = await self.load.log_in(self.member)
        number = 0
        while self.load.is_publishing():
            began = time.monotonic()
            await self._publish(f"{self.name}-{self.load.seed}-{number}")
            number += 1
            rest = self.load.settings.publish_every_s - (time.monotonic() - began)
            await asyncio.sleep(max(0.0, rest))

    async def _publish(self, tag: str) -> None:
        """Try until it is confirmed, or until an unknown outcome may not be repeated."""
        start, outcome, worst = time.monotonic(), FAILED, FAILED
        while self.load.is_publishing() or outcome == UNKNOWN:
            outcome = await self._attempt(tag)
            if outcome == UNKNOWN:
                worst = UNKNOWN
            if outcome == OK or (outcome == UNKNOWN and not self.keyed):
                break
            if not self.keyed and self.rng.random() < self.load.settings.give_up_share:
                break  # so that it shows when a failure was none
            if time.monotonic() - start > 30.0:
                break
            self.member += 1
            await asyncio.sleep(self.load.settings.pause_s)
        final = OK if outcome == OK else worst
        self.load.confirmed += final == OK
        record = Publish(tag, self.queue, self.name, start, time.monotonic(), final)
        self.load.history.publishes.append(record)

    async def _attempt(self, tag: str) -> str:
        extra = (("syb-idempotency-key", tag),) if self.keyed else ()
        body = build_body(tag, self.load.settings.body_bytes)
        try:
            await self.load.stub(self.member).SubmitMessage(
                mq_pb2.MessageInfo(routingKey=self.queue, data=body),
                metadata=self.metadata + extra,
                timeout=self.load.settings.call_timeout_s,
            )
        except grpc.aio.AioRpcError as error:
            self.load.failed_attempts += 1
            return self.load.note(error)
        return OK


class _Consumer:
    """Fetches, and settles, returns or abandons what it got."""

    def __init__(self, load: Load, number: int) -> None:
        self.load, self.number = load, number
        queues = load.settings.queues
        self.queue = queues[number % len(queues)]
        self.rng = random.Random(f"{load.seed}/{number}")
        self.member = number
        self.sessions = 0
        self.metadata: Metadata = ()
        self._past: list[tuple[str, Metadata]] = []

    @property
    def name(self) -> str:
        return f"c{self.number}/{self.sessions}"

    async def run(self) -> None:
        await self.open_session()
        while self.load.is_consuming():
            fetched = await self.fetch(self.load.settings.fetch_amount)
            if fetched:
                await self._deal_with(fetched)
            await asyncio.sleep(self.load.settings.fetch_every_s)

    async def open_session(self) -> None:
        self.metadata, self.member = await self.load.log_in(self.member)
        self.sessions += 1
        self._past.append((self.name, self.metadata))

    async def log_out(self) -> None:
        """End all sessions of this worker."""
        for name, metadata in self._past:
            self.load.history.session_ends.append((name, time.monotonic()))
            await self._log_out_once(metadata)

    async def _log_out_once(self, metadata: Metadata) -> None:
        for attempt in range(20):
            try:
                await self.load.stub(self.member + attempt).LogOut(
                    mq_pb2.LogOutRequest(), metadata=metadata, timeout=5.0
                )
                return
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                    return
                self.load.note(error)
                await asyncio.sleep(self.load.settings.pause_s)
        raise WaitTimedOut("a session could not be ended")

    async def fetch(self, amount: int) -> list[Delivery] | None:
        """Return what was delivered; None: the call failed."""
        history, start = self.load.history, time.monotonic()
        try:
            answer = await self.load.stub(self.member).GetMessages(
                mq_pb2.RequestMessageData(queueName=self.queue, amount=amount),
                metadata=self.metadata,
                timeout=self.load.settings.call_timeout_s,
            )
        except grpc.aio.AioRpcError as error:
            outcome = self.load.note(error)
            history.fetches.append(Fetch(self.queue, self.name, start, time.monotonic(), outcome))
            self.member += 1
            await asyncio.sleep(self.load.settings.pause_s)
            return None
        end = time.monotonic()
        history.fetches.append(Fetch(self.queue, self.name, start, end, OK))
        fetched = [
            Delivery(self.queue, m.id, self.name, start, end, place, *read_body(m.data))
            for place, m in enumerate(answer.messages)
        ]
        history.deliveries.extend(fetched)
        return fetched

    async def answer(self, kind: str, ids: list[bytes]) -> None:
        """Settle or return messages; an unknown outcome is repeated, which is safe (G-4)."""
        for _ in range(4):
            outcome = await self._attempt(kind, ids)
            if outcome == OK or not self.load.is_consuming():
                return
            self.member += 1
            await asyncio.sleep(self.load.settings.pause_s)

    async def _deal_with(self, fetched: list[Delivery]) -> None:
        settings = self.load.settings
        if self.rng.random() < settings.abandon_share:
            await self.open_session()  # the old session's leases run out by themselves
            return
        if self.rng.random() < settings.hold_share:
            await asyncio.sleep(self.rng.uniform(0.0, settings.hold_s))
        returned = [d for d in fetched if self.rng.random() < settings.return_share]
        settled = [d for d in fetched if d not in returned]
        if settled:
            await self.answer(SETTLE, [d.message_id for d in settled])
        if returned:
            await self.answer(RETURN, [d.message_id for d in returned])

    async def _attempt(self, kind: str, ids: list[bytes]) -> str:
        stub, start = self.load.stub(self.member), time.monotonic()
        timeout = self.load.settings.call_timeout_s
        try:
            if kind == SETTLE:
                await stub.BatchAck(
                    mq_pb2.BatchAckUpdate(queueName=self.queue, id=ids),
                    metadata=self.metadata,
                    timeout=timeout,
                )
            else:
                await stub.BatchNack(
                    mq_pb2.BatchNackUpdate(queueName=self.queue, ids=ids),
                    metadata=self.metadata,
                    timeout=timeout,
                )
            outcome = OK
        except grpc.aio.AioRpcError as error:
            outcome = self.load.note(error)
            if error.code() in _STATE_CODES:
                outcome = UNKNOWN  # B-4: some of them may be settled
        end = time.monotonic()
        self.load.history.answers.extend(
            Answer(kind, self.queue, message_id, self.name, start, end, outcome)
            for message_id in ids
        )
        return outcome


@contextlib.asynccontextmanager
async def running_load(load: Load) -> AsyncIterator[Load]:
    """Run the load for the time of the block, and close it in any case."""
    try:
        await load.start()
        yield load
    finally:
        await load.close()
