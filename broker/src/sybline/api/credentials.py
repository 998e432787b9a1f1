"""Passwords as the methods check them: throttled, in threads, an unknown user as slow as a known one (U-5)."""

import hmac
from collections.abc import Callable
from math import ceil

from sybline.api.call import Call
from sybline.api.error_texts import CallError, refuse
from sybline.api.parts import ApiParts
from sybline.api.refusals import invalid_login
from sybline.state_machine.account_reads import Credential
from sybline.state_machine.commands import PasswordHash
from sybline.state_machine.machine import StateMachine


class Credentials:
    """What this member knows of passwords; stale unless the caller caught up first."""

    def __init__(self, parts: ApiParts) -> None:
        self._machine: Callable[[], StateMachine] = parts.machine
        self._hasher = parts.hasher
        self._throttle = parts.throttle
        self._metrics = parts.metrics
        self._first_admin = parts.first_admin

    def of(self, username: str) -> Credential | None:
        """Return a user's credential; None: unknown user."""
        return self._machine().credential(username)

    def check_throttle(self, call: Call, username: str) -> None:
        """Refuse to look at another password of this user from this address for now.

        Raises:
            CallError: RESOURCE_EXHAUSTED, with the time to wait.
        """
        wait_s = ceil(self._throttle.retry_after_s(username, call.source()))
        if wait_s > 0:
            raise refuse(
                "RESOURCE_EXHAUSTED",
                "too many failed logins, retry in {} s",
                wait_s,
                reason="TOO_MANY_FAILED_LOGINS",
                retry_after_s=wait_s,
            )

    async def matches(self, call: Call, password: str, stored: Credential | None) -> bool:
        """Return whether this is the password; without a credential it takes as long and is not."""
        return await self._hasher.verify(
            password,
            None if stored is None else stored.password,
            deadline_s=call.remaining_s(),
        )

    def check_first_admin(self, call: Call, username: str, password: str) -> None:
        """Return if these are the first administrator's name and password as the settings have them.

        Raises:
            CallError: UNAUTHENTICATED, or RESOURCE_EXHAUSTED as `check_throttle`.
        """
        self.check_throttle(call, username)
        given = f"{username}:{password}".encode()
        if self._first_admin is None or not hmac.compare_digest(
            given, ":".join(self._first_admin).encode()
        ):
            raise self.failed(call, username)
        self.succeeded(call, username)

    async def hash(self, call: Call, password: str) -> PasswordHash:
        """Return what to store for a new password."""
        return await self._hasher.hash(password, deadline_s=call.remaining_s())

    def failed(self, call: Call, username: str) -> CallError:
        """Count a wrong password and return its answer."""
        self._throttle.failed(username, call.source())
        self._metrics.login_failed()
        return invalid_login()

    def succeeded(self, call: Call, username: str) -> None:
        """Forget what failed before the right password came."""
        self._throttle.succeeded(username, call.source())
