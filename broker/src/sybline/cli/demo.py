"""A short show on a running cluster: publish, kill the leader, and find every message again.

It talks the original API like any client and leaves one message waiting, so that the next run can show that it is
still there.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import grpc

from sybline.cli.fleet import MEMBERS_TO_LOSE_ONE, Fleet, MemberPlan
from sybline.v1 import mq_pb2, mq_pb2_grpc

QUEUE = "demo"
MESSAGES = 5
STEP_S = 20.0
CALL_S = 5.0
RETRY_S = 0.05

Say = Callable[[str], None]
T = TypeVar("T")

_MAY_BE_REPEATED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
)
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)


class DemoFailed(Exception):
    """The show did not go as it must; the text says where."""


async def show(fleet: Fleet, username: str, password: str, *, say: Say) -> None:
    """Run the show.

    Raises:
        DemoFailed: a step was refused, took too long, or a message was missing.
        MemberEnded: a member ended that was not killed here.
    """
    async with AsyncExitStack() as stack:
        stubs = {}
        for number, member in fleet.members.items():
            channel = await stack.enter_async_context(_open_channel(member.plan))
            stubs[number] = mq_pb2_grpc.MQEndpointsStub(channel)  # type: ignore[no-untyped-call]  # generated
        await _Show(fleet, stubs, say).run(username, password)


def _open_channel(plan: MemberPlan) -> grpc.aio.Channel:
    if plan.ca_path is None:
        return grpc.aio.insecure_channel(plan.grpc_address, options=_CHANNEL_OPTIONS)
    trust = grpc.ssl_channel_credentials(plan.ca_path.read_bytes())
    return grpc.aio.secure_channel(plan.grpc_address, trust, options=_CHANNEL_OPTIONS)


class _Show:
    def __init__(
        self, fleet: Fleet, stubs: dict[int, mq_pb2_grpc.MQEndpointsStub], say: Say
    ) -> None:
        self._fleet = fleet
        self._stubs = stubs
        self._say = say
        self._session: tuple[tuple[str, str | bytes], ...] = ()

    async def run(self, username: str, password: str) -> None:
        leader = await self._find_leader()
        await self._log_in(leader, username, password)
        self._say(f"demo: logged in as {username} through member {leader}, the leader")
        await self._declare(leader)
        left = await self._consume(leader)
        self._say(f"demo: declared queue {QUEUE}; waiting from the last run: {_count(len(left))}")
        run = secrets.token_hex(4)
        bodies = [f"message {n} of run {run}".encode() for n in range(1, MESSAGES + 2)]
        for body in bodies[:-1]:
            await self._publish(leader, body)
        self._say(f"demo: published {_count(MESSAGES)}; OK means fsynced on a majority")
        await self._lose_leader(leader, bodies)
        await self._publish(leader, b"left waiting for the next run")
        self._say("demo: one message is left waiting; the next run will find it")

    async def _lose_leader(self, leader: int, bodies: list[bytes]) -> None:
        """Kill the leader, go on through others if they are a majority, and look for every message."""
        others = [number for number in self._stubs if number != leader]
        await self._fleet.kill(leader)
        self._say(f"demo: killed member {leader} (kill -9)")
        began_s = asyncio.get_running_loop().time()
        has_majority = len(self._stubs) >= MEMBERS_TO_LOSE_ONE
        if not has_majority:
            others = [leader, *others]
            await self._restart(leader)
        await self._publish(others[0], bodies[-1])
        gap_s = asyncio.get_running_loop().time() - began_s
        self._say(f"demo: published one more through member {others[0]}, OK {gap_s:.2f} s later")
        found = await self._consume(others[-1])
        missing = len(set(bodies) - set(found))
        if missing:
            raise DemoFailed(f"{_count(missing)} of {len(bodies)} not found again")
        self._say(
            f"demo: member {others[-1]} delivered all {len(bodies)}, settled; nothing is lost"
        )
        if has_majority:
            await self._restart(leader)

    async def _restart(self, member: int) -> None:
        await self._fleet.start(member)
        await self._fleet.wait_ready(member)
        self._say(f"demo: member {member} is back, pid {self._fleet.members[member].pid}")

    async def _find_leader(self) -> int:
        async def ask() -> int | None:
            for number, stub in self._stubs.items():
                answer = await stub.IsLeaderNode(mq_pb2.LeaderNodeRequest(), timeout=CALL_S)
                if answer.status:
                    return number
            return None

        return await _until(ask, "finding the leader")

    async def _log_in(self, member: int, username: str, password: str) -> None:
        async def log_in() -> bool:
            credentials = mq_pb2.Credentials(username=username, password=password)
            call = self._stubs[member].Login(credentials, timeout=CALL_S)
            await call
            self._session = tuple(await call.initial_metadata())
            return True

        await _until(log_in, "logging in")

    async def _declare(self, member: int) -> None:
        """Create the queue; an equal one that exists is the same to the broker."""

        async def declare() -> bool:
            queue = mq_pb2.QueueInfo(
                routingKey=QUEUE, name=QUEUE, size=1000, retryLimit=3, hasDLQueue=True
            )
            await self._stubs[member].CreateQueue(queue, metadata=self._session, timeout=CALL_S)
            return True

        await _until(declare, "declaring the queue")

    async def _publish(self, member: int, body: bytes) -> None:
        """Publish under one idempotency key, so that a repeat after an unknown outcome adds nothing."""
        metadata = (*self._session, ("syb-idempotency-key", secrets.token_hex(16)))

        async def publish() -> bool:
            message = mq_pb2.MessageInfo(routingKey=QUEUE, data=body)
            await self._stubs[member].SubmitMessage(message, metadata=metadata, timeout=CALL_S)
            return True

        await _until(publish, "publishing")

    async def _consume(self, member: int) -> list[bytes]:
        """Fetch and settle until nothing is ready; return the bodies."""
        stub, bodies = self._stubs[member], []

        async def consume() -> bool:
            request = mq_pb2.RequestMessageData(queueName=QUEUE, amount=100)
            batch = await stub.GetMessages(request, metadata=self._session, timeout=CALL_S)
            for message in batch.messages:
                ack = mq_pb2.AckUpdate(queueName=QUEUE, id=message.id)
                await stub.Ack(ack, metadata=self._session, timeout=CALL_S)
                bodies.append(message.data)
            return not batch.messages

        await _until(consume, "consuming")
        return bodies


async def _until(step: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Repeat a step until it returns something true; who is refused for good is not asked again."""
    last = "no answer"
    try:
        async with asyncio.timeout(STEP_S):
            while True:
                try:
                    if result := await step():
                        return result
                except grpc.aio.AioRpcError as error:
                    last = f"{error.code().name}: {error.details()}"
                    if error.code() not in _MAY_BE_REPEATED:
                        raise DemoFailed(f"{what} was refused: {last}") from error
                await asyncio.sleep(RETRY_S)
    except TimeoutError as error:
        raise DemoFailed(f"{what} was not possible within {STEP_S:g} s: {last}") from error


def _count(messages: int) -> str:
    return f"{messages} message" + ("" if messages == 1 else "s")
