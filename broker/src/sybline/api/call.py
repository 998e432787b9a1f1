"""One call as the methods see it: who calls, what came with it, and how much time is left.

Owns the reading of metadata and of the client's deadline (wire contract §3, C-4). Knows no method.
"""

import base64
import binascii
from typing import Final, TypeAlias, cast

import grpc

from sybline import limits
from sybline.auth.tokens import hash_token
from sybline.clock import Clock
from sybline.state_machine.commands import Caller

USERNAME_KEY: Final = "username"
TOKEN_KEY: Final = "syb-token"  # noqa: S105 - a header, not a secret
IDEMPOTENCY_KEY: Final = "syb-idempotency-key"
_AUTHORIZATION_KEY: Final = "authorization"
_BEARER: Final = "bearer "
_BASIC: Final = "basic "
_NOBODY: Final = Caller("", b"")

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Token: TypeAlias = tuple[bytes, str | None]  # hash; the user name it came with, None: it came alone


class Call:
    """One call under way."""

    __slots__ = ("_clock", "_ends_s", "caller", "context", "headers")

    def __init__(self, context: Context, clock: Clock, started_s: float) -> None:
        self.context = context
        self.caller = _NOBODY  # until the session is found
        # Reversed, so that the first value of each key counts. Only keys in "-bin" carry bytes, and none of ours does.
        metadata = cast("tuple[tuple[str, str], ...]", context.invocation_metadata() or ())
        self.headers: dict[str, str] = dict(reversed(metadata))
        self._clock = clock
        remaining_s = context.time_remaining()
        if remaining_s is None:
            remaining_s = limits.CALL_DEADLINE_S_DEFAULT
        self._ends_s = started_s + min(remaining_s, limits.CALL_DEADLINE_S_MAX)

    def remaining_s(self) -> float:
        """Return the seconds left; none or less: the caller has given up."""
        return self._ends_s - self._clock.monotonic_s()

    def token(self) -> Token | None:
        """Return what the caller shows as its session: the old pair, or a bearer token; None: nothing."""
        headers = self.headers
        username, token = headers.get(USERNAME_KEY), headers.get(TOKEN_KEY)
        if username is not None and token is not None:
            return hash_token(token), username
        authorization = headers.get(_AUTHORIZATION_KEY, "")
        if authorization[: len(_BEARER)].lower() == _BEARER:
            return hash_token(authorization[len(_BEARER) :].strip()), None
        return None

    def password(self) -> tuple[str, str] | None:
        """Return the name and password that the caller shows in place of a session; None: none, or not readable."""
        authorization = self.headers.get(_AUTHORIZATION_KEY, "")
        if authorization[: len(_BASIC)].lower() != _BASIC:
            return None
        try:
            pair = base64.b64decode(authorization[len(_BASIC) :].strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, colon, password = pair.partition(":")
        return (username, password) if colon else None

    def source(self) -> str:
        """Return the caller's address without its port, as failed logins are counted."""
        return self.context.peer().rpartition(":")[0]
