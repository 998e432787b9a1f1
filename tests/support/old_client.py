"""A stand-in for the earlier Go client, which must work unchanged: wire contract §5, rules 1-12, faults included.

Python's transport words its errors differently, so they are put into grpc-go 1.52's words first; everything after that
looks at the text only, as the Go client does. The sleeps of the original are parameters. The channel has every
compression algorithm but identity switched off: a compressed answer fails, as it does there. grpcio replaces an echoed
`grpc-accept-encoding` by its own header; `raw_grpc.py` sends the echo literally.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from sybline.v1 import mq_pb2, mq_pb2_grpc
from tests.support.channels import Trust, open_channel

NO_AUTH = "no valid auth token provided"
NON_LEADER = "cannot communicate with non-leader nodes"
READ_EOF = "error reading from server: EOF"
DIAL_FAILED = "transport: Error while dialing dial tcp"
REDIRECTS = (NON_LEADER, READ_EOF, DIAL_FAILED)  # sleep, search the leader, repeat

_DIAL_WORDS = ("failed to connect", "Connection refused", "connections to all backends failing")
_BROKEN_WORDS = (
    "Socket closed",
    "Connection reset",
    "Broken pipe",
    "recvmsg",
    "sendmsg",
    "GOAWAY",
    "Stream removed",
    "Endpoint closing",
    "End of TCP stream",
)
_OPTIONS = (
    ("grpc.max_receive_message_length", 4_194_304),  # rule 11
    ("grpc.max_send_message_length", -1),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # rule 12
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)


class OldClientError(Exception):
    """What the application sees: only a text."""


class ArgumentRefused(OldClientError):
    """The client's own check of arguments (rule 10)."""


def go_text(error: grpc.aio.AioRpcError) -> str:
    """Return the error as grpc-go words it."""
    details = error.details() or ""
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        if any(word in details for word in _DIAL_WORDS):
            return f"rpc error: code = Unavailable desc = connection error: desc = {DIAL_FAILED}"
        if any(word in details for word in _BROKEN_WORDS):
            return f"rpc error: code = Unavailable desc = {READ_EOF}"
    return f"rpc error: code = {error.code().name} desc = {details}"


class OldClient:
    """The Go client: one current connection, one session, blind repetition by error text."""

    def __init__(
        self,
        addresses: list[str],
        username: str,
        password: str,
        *,
        timeout_attempts: int = 3,
        timeout_s: float = 5.0,
        reconnect_sleep_s: float = 10.0,
        login_rule_s: float = 30.0,
        trust: Trust | None = None,
    ) -> None:
        self.addresses = addresses
        self._trust = trust
        self.username, self.password = username, password
        self.timeout_attempts, self.timeout_s = timeout_attempts, timeout_s
        self.reconnect_sleep_s, self.login_rule_s = reconnect_sleep_s, login_rule_s
        self.headers: tuple[tuple[str, str], ...] = ()
        self.reconnects = 0
        self.seen_texts: list[str] = []  # every error text that a call brought
        self._last_login = float("-inf")
        self._channels: list[grpc.aio.Channel] = []
        self._stub: mq_pb2_grpc.MQEndpointsStub | None = None

    async def connect(self, *, prefer: int | None = None) -> None:
        """Dial each address in order and keep the first that says it leads (rule 1), then log in.

        `prefer` keeps that address's connection instead: the state after a leader change, when the client still
        talks to the member that led once.
        """
        self._channels = [open_channel(a, _OPTIONS, self._trust) for a in self.addresses]
        if prefer is not None:
            self._stub = mq_pb2_grpc.MQEndpointsStub(self._channels[prefer])
        elif not await self._find_leader():
            raise OldClientError("unable to find the leader node")
        await self.login()

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels:
            await channel.close()

    async def login(self) -> None:
        """Log in, unless the last login is younger than the rule says (rules 2, 3)."""
        if time.monotonic() - self._last_login < self.login_rule_s:
            return
        text = ""
        for attempt in range(self.timeout_attempts + 1):
            if attempt:
                await asyncio.sleep(attempt * self.timeout_s)
            try:
                await self._log_in_once()
                return
            except grpc.aio.AioRpcError as error:
                text = self._note(error)
        raise OldClientError(text)

    # --- methods that take the new headers after a re-login (rule 4) ---
    async def submit_message(self, key: str, data: bytes) -> None:
        """Publish one message."""
        _require(key, "routingKey cannot be empty")
        _require(data, "data must contain some information")
        await self._repeat("SubmitMessage", mq_pb2.MessageInfo(routingKey=key, data=data))

    async def submit_batch(self, messages: list[tuple[str, bytes]]) -> None:
        """Publish (routing key, data) pairs."""
        batch = [mq_pb2.MessageInfo(routingKey=key, data=data) for key, data in messages]
        await self._repeat("SubmitBatchedMessages", mq_pb2.BatchMessages(messages=batch))

    async def get_messages(self, queue: str, amount: int) -> list[tuple[bytes, bytes]]:
        """Return (id, data) pairs."""
        _require(queue, "queue name cannot be empty")
        _require(amount, "must request more than zero")
        request = mq_pb2.RequestMessageData(queueName=queue, amount=amount)
        answer = await self._repeat("GetMessages", request)
        return [(message.id, message.data) for message in answer.messages]

    async def create_queue(
        self, key: str, name: str, size: int, retry_limit: int, *, has_dl_queue: bool
    ) -> None:
        """Create a queue."""
        _require(key, "routingKey cannot be empty")
        _require(name, "queue name cannot be empty")
        _require(size, "size must be more than zero")
        await self._repeat(
            "CreateQueue",
            mq_pb2.QueueInfo(
                routingKey=key,
                name=name,
                size=size,
                retryLimit=retry_limit,
                hasDLQueue=has_dl_queue,
            ),
        )

    async def ack(self, queue: str, message_id: bytes) -> None:
        """Settle one message."""
        _require(message_id, "id must not be empty")
        await self._repeat("Ack", mq_pb2.AckUpdate(queueName=queue, id=message_id))

    async def batch_ack(self, queue: str, ids: list[bytes]) -> None:
        """Settle messages."""
        _require(ids, "id must not be empty")
        await self._repeat("BatchAck", mq_pb2.BatchAckUpdate(queueName=queue, id=ids))

    # --- methods that keep sending the old token until they give up (rule 4) ---
    async def nack(self, queue: str, message_id: bytes) -> None:
        """Return one message."""
        _require(message_id, "id must not be empty")
        request = mq_pb2.AckUpdate(queueName=queue, id=message_id)
        await self._repeat("Nack", request, fresh=False)

    async def batch_nack(self, queue: str, ids: list[bytes]) -> None:
        """Return messages."""
        _require(ids, "id must not be empty")
        request = mq_pb2.BatchNackUpdate(queueName=queue, ids=ids)
        await self._repeat("BatchNack", request, fresh=False)

    async def change_password(self, old: str, new: str) -> None:
        """Change the own password."""
        request = mq_pb2.ChangeCredentials(username=self.username, oldPassword=old, newPassword=new)
        await self._repeat("ChangePassword", request, fresh=False)

    async def delete_oueue(self, queue: str) -> None:
        """Delete a queue; the spelling is the client's (rule 10)."""
        request = mq_pb2.DeleteQueueInfo(queueName=queue)
        await self._repeat("DeleteQueue", request, fresh=False)

    async def add_routing_key(self, key: str, queue: str) -> None:
        """Bind a queue."""
        request = mq_pb2.AddRoute(queueName=queue, routeName=key)
        await self._repeat("AddRoutingKey", request, fresh=False)

    async def delete_routing_key(self, key: str, queue: str) -> None:
        """Unbind a queue."""
        request = mq_pb2.DeleteRoute(queueName=queue, routeName=key)
        await self._repeat("DeleteRoutingKey", request, fresh=False)

    async def create_user(self, username: str, password: str) -> None:
        """Create a user."""
        request = mq_pb2.UserCreds(username=username, password=password)
        await self._repeat("CreateUser", request, fresh=False)

    async def delete_user(self, username: str) -> None:
        """Delete a user."""
        request = mq_pb2.UserInformation(username=username)
        await self._repeat("DeleteUser", request, fresh=False)

    # --- one try, no redirect (rule 8) ---
    async def create_role(self, document: str) -> None:
        """Create a role."""
        await self._once("CreateRole", mq_pb2.CreateRoleRequest(role=document))

    async def assign_role(self, role: str, username: str) -> None:
        """Assign a role."""
        await self._once("AssignRole", mq_pb2.AssignRoleRequest(role=role, username=username))

    async def unassign_role(self, role: str, username: str) -> None:
        """Take a role away."""
        request = mq_pb2.UnassignRoleRequest(role=role, username=username)
        await self._once("UnassignRole", request)

    async def logout(self) -> None:
        """End the session."""
        await self._once("LogOut", mq_pb2.LogOutRequest())

    async def reconnect(self) -> None:
        """Sleep, search the leader among the open connections, log in (rule 7)."""
        self.reconnects += 1
        await asyncio.sleep(self.reconnect_sleep_s)
        await self._find_leader()
        await self.login()

    async def _repeat(self, method: str, request: Any, *, fresh: bool = True) -> Any:
        """Call until it works or the attempts are used up (rules 4-6); texts decide."""
        text = "status: false"
        headers = self.headers
        for _ in range(self.timeout_attempts + 1):
            try:
                answer = await self._invoke(method, request, self.headers if fresh else headers)
            except grpc.aio.AioRpcError as error:
                text = self._note(error)
                await self._recover(text)
                continue
            if method == "GetMessages" or answer.status:
                return answer
        raise OldClientError(text)

    async def _recover(self, text: str) -> None:
        if NO_AUTH in text:
            await self.login()
        elif any(redirect in text for redirect in REDIRECTS):
            await self.reconnect()
        else:
            raise OldClientError(text)

    async def _once(self, method: str, request: Any) -> None:
        try:
            answer = await self._invoke(method, request, self.headers)
        except grpc.aio.AioRpcError as error:
            raise OldClientError(self._note(error)) from error
        if not answer.status:
            raise OldClientError("status: false")

    async def _invoke(self, method: str, request: Any, headers: tuple[tuple[str, str], ...]) -> Any:
        assert self._stub is not None, "connect first"
        return await getattr(self._stub, method)(request, metadata=headers)  # no deadline: rule 12

    async def _log_in_once(self) -> None:
        assert self._stub is not None
        credentials = mq_pb2.Credentials(username=self.username, password=self.password)
        call = self._stub.Login(credentials, metadata=self.headers)
        await call
        received = await call.initial_metadata()
        self.headers = tuple((key, str(value)) for key, value in received)  # all of them
        self._last_login = time.monotonic()

    async def _find_leader(self) -> bool:
        for channel in self._channels:
            stub = mq_pb2_grpc.MQEndpointsStub(channel)
            try:
                answer = await stub.IsLeaderNode(mq_pb2.LeaderNodeRequest())
            except grpc.aio.AioRpcError as error:
                self._note(error)
                continue
            if answer.status:
                self._stub = stub
                return True
        return False

    def _note(self, error: grpc.aio.AioRpcError) -> str:
        text = go_text(error)
        self.seen_texts.append(text)
        return text


class OldConsumer:
    """`Consumer(capacity, period, queue)`: polls while it holds nothing, drops ids it has ever seen (rule 9)."""

    def __init__(self, client: OldClient, queue: str, *, capacity: int, period_s: float) -> None:
        self.client, self.queue = client, queue
        self.capacity, self.period_s = capacity, period_s
        self.received: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        self.holding = 0
        self.polls = 0
        self._known: set[bytes] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin polling."""
        self._task = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """End polling; what is held stays leased."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def ack(self, message_id: bytes) -> None:
        """Settle; a failure leaves the count above zero, so that polling ends."""
        await self._answer(self.client.ack, message_id)

    async def nack(self, message_id: bytes) -> None:
        """Return; a failure leaves the count above zero, so that polling ends."""
        await self._answer(self.client.nack, message_id)

    async def _answer(
        self, method: Callable[[str, bytes], Awaitable[None]], message_id: bytes
    ) -> None:
        await method(self.queue, message_id)
        self.holding -= 1

    async def _poll(self) -> None:
        while True:
            if self.holding == 0:
                self.polls += 1
                for message_id, data in await self.client.get_messages(self.queue, self.capacity):
                    if message_id not in self._known:
                        self._known.add(message_id)
                        self.holding += 1
                        self.received.put_nowait((message_id, data))
            await asyncio.sleep(self.period_s)


def _require(value: object, text: str) -> None:
    if not value:
        raise ArgumentRefused(text)
