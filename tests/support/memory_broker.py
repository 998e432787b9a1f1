"""A broker of one process and no durability, with defects to switch on.

It exists to show that the load and the checker together find what they must: each defect does to a few messages what
the promise of its name forbids.
"""

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial

import grpc

from sybline.v1 import mq_pb2, mq_pb2_grpc
from tests.support.checker import build_body
from tests.support.grpc_server import serving

DEFECTS = (
    "lost",
    "resurrected",
    "phantom",
    "double-held",
    "duplicated",
    "reordered",
    "corrupted",
    "unexpected",
)
SHARE = 0.15  # of messages that meet the defect


@dataclass
class _Queue:
    ready: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    leased: dict[bytes, tuple[str, float, bytes]] = field(default_factory=dict)


class MemoryBroker(mq_pb2_grpc.MQEndpointsServicer):
    """Serves what the load needs; `defect` names what it does wrong."""

    def __init__(self, *, defect: str = "", lease_s: float = 5.0) -> None:
        self.defect, self.lease_s = defect, lease_s
        self._queues: dict[str, _Queue] = {}
        self._ids = itertools.count(1)
        self._random = random.Random(1)

    def serving(self) -> contextlib.AbstractAsyncContextManager[str]:
        """Serve for the time of a block, which gets the address."""
        return serving(partial(mq_pb2_grpc.add_MQEndpointsServicer_to_server, self))

    async def Login(self, request: mq_pb2.Credentials, context: grpc.aio.ServicerContext):
        """Give out a token."""
        pair = (("username", request.username), ("syb-token", secrets.token_hex(16)))
        await context.send_initial_metadata(pair)
        return mq_pb2.Status(status=True)

    async def LogOut(self, _: mq_pb2.LogOutRequest, context: grpc.aio.ServicerContext):
        """Give the session's leases back."""
        session = self._session(context)
        for queue in self._queues.values():
            for message_id, (holder, _, body) in list(queue.leased.items()):
                if holder == session:
                    self._give_back(queue, message_id, body)
        return mq_pb2.LogOutResponse(status=True)

    async def CreateQueue(self, request: mq_pb2.QueueInfo, _: grpc.aio.ServicerContext):
        """Create it, bound to its own name."""
        self._queues.setdefault(request.name, _Queue())
        return mq_pb2.Status(status=True)

    async def SubmitMessage(self, request: mq_pb2.MessageInfo, context: grpc.aio.ServicerContext):
        """Store one message, or fail to in the chosen way."""
        queue = self._queues[request.routingKey]
        body, is_turn = request.data, self._is_turn()
        if is_turn and self.defect == "corrupted":
            body = body[:-1] + bytes([body[-1] ^ 1])
        if is_turn and self.defect == "unexpected":
            queue.ready.append((self._next_id(), build_body("nobody-sent-this")))
        if is_turn and self.defect == "reordered" and queue.ready:
            queue.ready.appendleft((self._next_id(), body))
        elif not (is_turn and self.defect == "lost"):
            queue.ready.append((self._next_id(), body))
        if is_turn and self.defect == "duplicated":
            queue.ready.append((self._next_id(), body))
        if is_turn and self.defect == "phantom":
            await _fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "queue is full")
        return mq_pb2.Status(status=True)

    async def GetMessages(
        self, request: mq_pb2.RequestMessageData, context: grpc.aio.ServicerContext
    ):
        """Lease what is ready."""
        queue, now = self._queues[request.queueName], time.monotonic()
        for message_id, (_, until, body) in list(queue.leased.items()):
            if until <= now:
                self._give_back(queue, message_id, body)
        again: list[tuple[bytes, bytes]] = []
        answer = mq_pb2.MessageCollection()
        while queue.ready and len(answer.messages) < request.amount:
            message_id, body = queue.ready.popleft()
            answer.messages.add(id=message_id, data=body)
            if self._is_turn() and self.defect == "double-held":
                again.append((message_id, body))
            queue.leased[message_id] = (self._session(context), now + self.lease_s, body)
        queue.ready.extend(again)
        return answer

    async def BatchAck(self, request: mq_pb2.BatchAckUpdate, _: grpc.aio.ServicerContext):
        """Settle."""
        queue = self._queues[request.queueName]
        for message_id in request.id:
            lease = queue.leased.pop(message_id, None)
            if lease is not None and self._is_turn() and self.defect == "resurrected":
                queue.ready.append((message_id, lease[2]))
        return mq_pb2.Status(status=True)

    async def BatchNack(self, request: mq_pb2.BatchNackUpdate, _: grpc.aio.ServicerContext):
        """Return."""
        queue = self._queues[request.queueName]
        for message_id in request.ids:
            if message_id in queue.leased:
                self._give_back(queue, message_id, queue.leased[message_id][2])
        return mq_pb2.Status(status=True)

    def _give_back(self, queue: _Queue, message_id: bytes, body: bytes) -> None:
        del queue.leased[message_id]
        queue.ready.append((message_id, body))
        queue.ready = deque(sorted(queue.ready)) if self.defect != "reordered" else queue.ready

    def _next_id(self) -> bytes:
        return next(self._ids).to_bytes(16, "big")

    def _is_turn(self) -> bool:
        return self._random.random() < SHARE

    @staticmethod
    def _session(context: grpc.aio.ServicerContext) -> str:
        return str(dict(context.invocation_metadata() or ())["syb-token"])


async def _fail(context: grpc.aio.ServicerContext, code: grpc.StatusCode, text: str) -> None:
    await asyncio.sleep(0)
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x0a"),))
    await context.abort(code, text)
