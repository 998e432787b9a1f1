"""Password hashes: scrypt in threads of its own, never on the loop and never in apply (U-4).

Owns how a password is hashed and compared, and how much hashing a member does at once. Knows no users: who has no
stored password is checked against one that nothing matches, so that a name that does not exist costs the same time
(U-5).
"""

import asyncio
import hashlib
import hmac
import os
import secrets
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from sybline import limits
from sybline.errors import HashingOverloaded, NotProposed
from sybline.state_machine.commands import PasswordHash

SCHEME: Final = "scrypt"
COST_N: Final = 32_768
_COST_R: Final = 8
_COST_P: Final = 1
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32
_PEPPER_CHECK_BYTES: Final = 8
_PEPPER_CHECK_TEXT: Final = b"sybline pepper check"
_HASHING_NICENESS: Final = 10  # the loop goes first where cores are few


class PasswordHasher:
    """Hashes and verifies, PASSWORD_HASHES_AT_ONCE at a time; PASSWORD_HASH_QUEUE_MAX more may wait."""

    def __init__(self, *, pepper: bytes = b"", cost_n: int = COST_N) -> None:
        """`pepper` keys every hash (b"": none); `cost_n` is scrypt's N, smaller only in tests."""
        self._pepper = pepper
        self._cost_n = cost_n
        self._pool = ThreadPoolExecutor(
            limits.PASSWORD_HASHES_AT_ONCE,
            thread_name_prefix="password-hash",
            initializer=_lower_priority,
        )
        self._lock = threading.Lock()
        self._under_way = 0  # running and waiting
        self._nobodys = self._stored(secrets.token_bytes(_SALT_BYTES), digest=b"")

    @property
    def pepper_check(self) -> bytes:
        """Return what identifies the pepper without telling it; b"": there is none."""
        if not self._pepper:
            return b""
        return hmac.digest(self._pepper, _PEPPER_CHECK_TEXT, "sha256")[:_PEPPER_CHECK_BYTES]

    async def hash(self, password: str, *, deadline_s: float) -> PasswordHash:
        """Return what to store for a password, with a salt of its own.

        Raises:
            HashingOverloaded: too many wait already.
            NotProposed: it was not its turn in time.
        """
        salt = secrets.token_bytes(_SALT_BYTES)
        digest = await self._derive(password, self._stored(salt, digest=b""), deadline_s)
        return self._stored(salt, digest)

    async def verify(
        self, password: str, stored: PasswordHash | None, *, deadline_s: float
    ) -> bool:
        """Return whether this is the stored password; with None the answer takes as long, and is False.

        Raises:
            HashingOverloaded: too many wait already.
            NotProposed: it was not its turn in time.
            ValueError: it was stored by a version that knows more schemes than this one.
        """
        asked = self._nobodys if stored is None else stored
        if asked.scheme != SCHEME:
            raise ValueError(f"password scheme {asked.scheme!r} is not known to this version")
        digest = await self._derive(password, asked, deadline_s)
        return hmac.compare_digest(digest, asked.digest)

    def close(self) -> None:
        """Take no more work and drop what waits; its callers get NotProposed."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _stored(self, salt: bytes, digest: bytes) -> PasswordHash:
        return PasswordHash(
            scheme=SCHEME,
            salt=salt,
            cost_n=self._cost_n,
            cost_r=_COST_R,
            cost_p=_COST_P,
            digest=digest,
            pepper_check=self.pepper_check,
        )

    async def _derive(self, password: str, like: PasswordHash, deadline_s: float) -> bytes:
        """Return the digest of a password with the salt and cost of `like`, computed in a thread."""
        work = self._submit(password.encode(), like)
        try:
            await asyncio.wait([asyncio.wrap_future(work)], timeout=deadline_s)
        finally:
            work.cancel()  # gives up the place in the queue when nobody waits any more
        if work.cancelled() or not work.done():
            raise NotProposed("the deadline passed before the password was hashed")
        return work.result()

    def _submit(self, password: bytes, like: PasswordHash) -> "Future[bytes]":
        with self._lock:
            if self._under_way >= limits.PASSWORD_HASHES_AT_ONCE + limits.PASSWORD_HASH_QUEUE_MAX:
                raise HashingOverloaded("passwords that wait to be hashed")
            self._under_way += 1
        try:
            work = self._pool.submit(_scrypt, self._peppered(password), like)
        except RuntimeError as error:  # closed
            self._ended()
            raise NotProposed("the member shuts down") from error
        work.add_done_callback(self._ended)
        return work

    def _ended(self, _work: "Future[bytes] | None" = None) -> None:
        """Called in a hashing thread, or where the work was cancelled."""
        with self._lock:
            self._under_way -= 1

    def _peppered(self, password: bytes) -> bytes:
        return hmac.digest(self._pepper, password, "sha256") if self._pepper else password


def _scrypt(password: bytes, like: PasswordHash) -> bytes:
    n, r, p = like.cost_n, like.cost_r, like.cost_p
    return hashlib.scrypt(
        password,
        salt=like.salt,
        n=n,
        r=r,
        p=p,
        maxmem=128 * r * (n + p + 2) + limits.KIB,  # what it needs; the default is less
        dklen=len(like.digest) or _DIGEST_BYTES,
    )


def _lower_priority() -> None:
    """Let publishes go before logins on a busy machine. Only Linux sets it for one thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _HASHING_NICENESS)
