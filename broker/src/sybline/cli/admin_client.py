"""sybline.v1.Admin and the original API of one member, as a command line uses them.

Owns the session, the deadline of each call, and the one line that says what failed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from google.rpc import (  # type: ignore[import-untyped]  # ships no types
    error_details_pb2,
    status_pb2,
)

from sybline.cli.connection_arguments import Access
from sybline.v1 import admin_pb2_grpc, mq_pb2, mq_pb2_grpc

Metadata = tuple[tuple[str, str], ...]

CALL_S: Final = 30.0  # one call; the command's own time may end it earlier
_LOG_OUT_S: Final = 2.0
_KEY_HEADER: Final = "syb-idempotency-key"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_SESSION_KEYS: Final = ("username", "syb-token")
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),  # what is repeated is decided by the command
)


class CommandFailed(Exception):
    """The command failed; the text is one line for who gave it."""


class CallFailed(CommandFailed):
    """A call failed; `reason` is that of google.rpc.ErrorInfo, "" when the transport failed it."""

    def __init__(self, server: str, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.reason, self.facts = _read_details(error)
        text = " ".join((error.details() or "no reason given").split())
        where = "" if self.reason else f"{server}: "
        super().__init__(f"{where}{text} ({self.code.name}{self.reason and ', ' + self.reason})")

    @property
    def is_outcome_unknown(self) -> bool:
        """Return whether what was asked for may have been done."""
        if not self.reason:  # nobody answered, or the answer was lost
            return True
        return self.reason == "OUTCOME_UNKNOWN"

    @property
    def is_passing(self) -> bool:
        """Return whether nothing was done and the same call may succeed soon."""
        return self.reason in ("NO_LEADER", "NOT_APPLIED", "PENDING", "OVERLOADED")

    @property
    def is_outrun(self) -> bool:
        """Return whether what the call was based on has changed: look again."""
        return self.reason in ("VERSION", "NOT_CAUGHT_UP")


class AdminClient:
    """A session on one member; use `connected`."""

    def __init__(self, server: str, channel: grpc.aio.Channel, *, ends_s: float) -> None:
        """`ends_s`: when the command must be done, on the clock of the loop."""
        self._server = server
        self._broker = mq_pb2_grpc.MQEndpointsStub(channel)  # type: ignore[no-untyped-call]  # generated
        self._admin = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]  # generated
        self._metadata: Metadata = ()
        self._ends_s = ends_s

    @property
    def left_s(self) -> float:
        """Return the seconds left of the command's time."""
        return self._ends_s - asyncio.get_running_loop().time()

    async def call(self, method: str, request: Any) -> Any:
        """Call a method of sybline.v1.Admin.

        Raises:
            CallFailed: in its time there was no answer, or one that says no.
        """
        return await self._answer(getattr(self._admin, method), request)

    async def call_broker(self, method: str, request: Any, *, key: str = "") -> Any:
        """Call a method of the original API, under an idempotency key if there is one.

        Raises:
            CallFailed: in its time there was no answer, or one that says no.
        """
        more = ((_KEY_HEADER, key),) if key else ()
        return await self._answer(getattr(self._broker, method), request, more)

    async def _answer(self, method: Any, request: Any, more: Metadata = ()) -> Any:
        try:
            return await method(request, metadata=(*self._metadata, *more), timeout=self._call_s())
        except grpc.aio.AioRpcError as error:
            raise CallFailed(self._server, error) from None

    async def log_in(self, access: Access) -> None:
        """Use the token, or open a session with the password.

        Raises:
            CallFailed: the member does not answer, or says no.
        """
        if access.token:
            self._metadata = (("authorization", f"Bearer {access.token}"),)
            return
        call = self._broker.Login(
            mq_pb2.Credentials(username=access.user, password=access.password),
            timeout=self._call_s(),
        )
        try:
            await call
            headers = await call.initial_metadata()
        except grpc.aio.AioRpcError as error:
            raise CallFailed(self._server, error) from None
        self._metadata = tuple((k, str(v)) for k, v in headers if k in _SESSION_KEYS)

    async def log_out(self) -> None:
        """End the session that `log_in` opened; one that stays behind ends by time."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._broker.LogOut(
                mq_pb2.LogOutRequest(), metadata=self._metadata, timeout=_LOG_OUT_S
            )

    def _call_s(self) -> float:
        return max(0.001, min(CALL_S, self.left_s))


@contextlib.asynccontextmanager
async def connected(access: Access, *, timeout_s: float) -> AsyncIterator[AdminClient]:
    """Return a client for the time of a block that may last `timeout_s` seconds.

    Raises:
        CallFailed: as `log_in`.
    """
    ends_s = asyncio.get_running_loop().time() + timeout_s
    async with _open_channel(access) as channel:
        client = AdminClient(access.server, channel, ends_s=ends_s)
        await client.log_in(access)
        try:
            yield client
        finally:
            if not access.token:
                await client.log_out()


def _open_channel(access: Access) -> grpc.aio.Channel:
    tls = access.tls
    if tls is None:
        return grpc.aio.insecure_channel(access.server, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key or None, tls.cert or None)
    return grpc.aio.secure_channel(access.server, credentials, options=_OPTIONS)


def _read_details(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """Return reason and metadata of the ErrorInfo that the broker sends with each error."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return info.reason, dict(info.metadata)
    return "", {}
