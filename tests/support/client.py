"""A client of the original API that does what the documentation asks of new programs.

It knows three outcomes of a call: applied, definitely not applied, unknown. A status that the server sent carries
`google.rpc` details; what the transport made up (a broken connection) does not, and says nothing about the outcome
unless the connection was never made (G-2).
"""

from types import TracebackType
from typing import Any

import grpc

from sybline.v1 import mq_pb2, mq_pb2_grpc
from tests.support.channels import Trust, open_channel
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, CHANNEL_OPTIONS

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
NO_LEADER_TEXT = "cannot communicate with non-leader nodes"
NO_AUTH_TEXT = "no valid auth token provided"
_NEVER_SENT = ("failed to connect to all addresses", "Connection refused")
_UNKNOWN_CODES = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
)


def outcome_of(error: grpc.aio.AioRpcError) -> str:
    """Return FAILED when the call definitely had no effect, else UNKNOWN."""
    if error.code() in _UNKNOWN_CODES:
        return UNKNOWN
    if is_from_server(error):
        return FAILED
    return FAILED if is_never_sent(error) else UNKNOWN


def is_from_server(error: grpc.aio.AioRpcError) -> bool:
    """Return whether the broker itself sent this status."""
    return any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


def is_never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Return whether no connection could be made."""
    return error.code() == grpc.StatusCode.UNAVAILABLE and any(
        text in (error.details() or "") for text in _NEVER_SENT
    )


Metadata = tuple[tuple[str, str], ...]


class Client:
    """One connection to one member, and at most one session."""

    def __init__(
        self, address: str, *, timeout_s: float = 10.0, trust: Trust | None = None
    ) -> None:
        """Without `trust`, in plain text."""
        self.address = address
        self.timeout_s = timeout_s
        self.channel = open_channel(address, CHANNEL_OPTIONS, trust)
        self.stub = mq_pb2_grpc.MQEndpointsStub(self.channel)
        self.metadata: tuple[tuple[str, str], ...] = ()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; the session lives on."""
        await self.channel.close()

    async def call(self, method: str, request: Any, *, timeout_s: float | None = None) -> Any:
        """Call a method with the session's metadata."""
        return await getattr(self.stub, method)(
            request, metadata=self.metadata, timeout=timeout_s or self.timeout_s
        )

    async def login(
        self, username: str = ADMIN, password: str = ADMIN_PASSWORD, *, resume: bool = False
    ) -> tuple[tuple[str, str], ...]:
        """Log in and keep the token; with `resume`, send the older pair (S-6)."""
        call = self.stub.Login(
            mq_pb2.Credentials(username=username, password=password),
            metadata=self.metadata if resume else (),
            timeout=self.timeout_s,
        )
        await call
        headers = await call.initial_metadata()
        self.metadata = tuple((key, str(value)) for key, value in headers)
        return self.metadata

    async def is_leader(self) -> bool:
        """Ask IsLeaderNode, without metadata."""
        answer = await self.stub.IsLeaderNode(mq_pb2.LeaderNodeRequest(), timeout=self.timeout_s)
        return bool(answer.status)

    async def create_queue(
        self,
        name: str,
        *,
        key: str | None = None,
        size: int = 1_000_000,
        retry_limit: int = 1_000_000,
        dead_letter: bool = False,
    ) -> None:
        """Create a queue; its routing key is its name unless told."""
        await self.call(
            "CreateQueue",
            mq_pb2.QueueInfo(
                routingKey=key or name,
                name=name,
                size=size,
                retryLimit=retry_limit,
                hasDLQueue=dead_letter,
            ),
        )

    async def publish(
        self, key: str, body: bytes, *, idempotency_key: str = "", timeout_s: float | None = None
    ) -> None:
        """Publish one message."""
        extra = (("syb-idempotency-key", idempotency_key),) if idempotency_key else ()
        await self.stub.SubmitMessage(
            mq_pb2.MessageInfo(routingKey=key, data=body),
            metadata=self.metadata + extra,
            timeout=timeout_s or self.timeout_s,
        )

    async def publish_batch(self, messages: list[tuple[str, bytes]]) -> None:
        """Publish (routing key, body) pairs, all or nothing."""
        await self.call(
            "SubmitBatchedMessages",
            mq_pb2.BatchMessages(
                messages=[mq_pb2.MessageInfo(routingKey=k, data=b) for k, b in messages]
            ),
        )

    async def fetch(
        self, queue: str, amount: int = 100, *, timeout_s: float | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Return (id, body) pairs, leased to this session."""
        answer = await self.call(
            "GetMessages",
            mq_pb2.RequestMessageData(queueName=queue, amount=amount),
            timeout_s=timeout_s,
        )
        return [(message.id, message.data) for message in answer.messages]

    async def ack(self, queue: str, message_id: bytes) -> None:
        """Settle one message."""
        await self.call("Ack", mq_pb2.AckUpdate(queueName=queue, id=message_id))

    async def nack(self, queue: str, message_id: bytes) -> None:
        """Return one message."""
        await self.call("Nack", mq_pb2.AckUpdate(queueName=queue, id=message_id))

    async def batch_ack(self, queue: str, ids: list[bytes]) -> None:
        """Settle several messages."""
        await self.call("BatchAck", mq_pb2.BatchAckUpdate(queueName=queue, id=ids))

    async def batch_nack(self, queue: str, ids: list[bytes]) -> None:
        """Return several messages."""
        await self.call("BatchNack", mq_pb2.BatchNackUpdate(queueName=queue, ids=ids))

    async def logout(self) -> None:
        """End the session."""
        await self.call("LogOut", mq_pb2.LogOutRequest())

    async def drain(self, queue: str, *, amount: int = 5_000) -> list[bytes]:
        """Fetch and settle until the queue has nothing ready; return the bodies."""
        bodies: list[bytes] = []
        while got := await self.fetch(queue, amount):
            await self.batch_ack(queue, [message_id for message_id, _ in got])
            bodies.extend(body for _, body in got)
        return bodies


async def logged_in(
    address: str,
    username: str = ADMIN,
    password: str = ADMIN_PASSWORD,
    *,
    timeout_s: float = 10.0,
    trust: Trust | None = None,
) -> Client:
    """Return a client with a session."""
    client = Client(address, timeout_s=timeout_s, trust=trust)
    await client.login(username, password)
    return client
