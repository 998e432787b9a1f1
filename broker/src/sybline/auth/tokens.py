"""Secrets that a login hands out: its token, and the consumer identity behind it.

The edge for random identities: everything here comes from the system's cryptographic source. Only hashes of tokens
are kept anywhere; a token itself is never stored and never logged.
"""

import hashlib
import secrets
import uuid
from typing import Final

CONSUMER_BYTES: Final = 16


def new_token() -> str:
    """Return a new token: the text of a version 4 UUID, opaque to clients (wire contract §7)."""
    return str(uuid.uuid4())  # noqa: TID251 - the named edge


def hash_token(token: str) -> bytes:
    """Return what stands for a token in the log: its SHA-256. 122 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).digest()


def new_consumer() -> bytes:
    """Return a new consumer identity: CONSUMER_BYTES random bytes, never sent to clients."""
    return secrets.token_bytes(CONSUMER_BYTES)
