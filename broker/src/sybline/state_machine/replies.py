"""What apply answers: data only, replicated with the state so that a repeated request gets its first reply (P-9).

A business failure is a `Refused` with a reason and the values its text needs; the words themselves are the edge's
(`api/error_texts.py`), so the log never holds prose.
"""

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct


class Reason(StrEnum):
    """Why a command was refused. Stored in checkpoints: a value never changes its meaning.

    In parentheses: what `Refused.subject` and `Refused.values` hold.
    """

    # caller
    UNAUTHENTICATED = "unauthenticated"  # the session or its user is gone
    FORBIDDEN = "forbidden"  # (object; values: action)
    INVALID_LOGIN = "invalid_login"
    OTHER_USERS_PASSWORD = "other_users_password"  # noqa: S105 - a reason, not a secret
    # queues and keys
    QUEUE_NOT_FOUND = "queue_not_found"  # (queue)
    BIND_QUEUE_NOT_FOUND = (
        "bind_queue_not_found"  # (queue) Add/DeleteRoutingKey have their own text
    )
    KEY_NOT_FOUND = "key_not_found"  # (first key; values: up to 10 keys)
    QUEUE_EXISTS = "queue_exists"  # (queue; values: field, held value, asked value)
    DEAD_LETTER_NAME_TAKEN = "dead_letter_name_taken"  # (name of the dead-letter queue)
    DEAD_LETTER_OWNED = "dead_letter_owned"  # (queue; values: owner)
    LAST_BINDING = "last_binding"  # (queue)
    NOT_DEAD_LETTER = "not_dead_letter"  # (queue) redrive needs one
    QUEUE_FULL = "queue_full"  # (queue; values: size, held, asked)
    QUEUE_BYTES_FULL = "queue_bytes_full"  # (queue; values: max bytes, held, asked)
    BATCH_NEVER_FITS = "batch_never_fits"  # (queue; values: size, asked)
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"  # (key)
    # messages
    MESSAGE_NOT_FOUND = "message_not_found"  # in SettleFailure
    LEASE_LOST = "lease_lost"  # in SettleFailure
    # accounts
    USER_EXISTS = "user_exists"  # (user)
    USER_NOT_FOUND = "user_not_found"  # (user)
    LAST_USER = "last_user"
    LAST_ROOT = "last_root"
    ROLE_EXISTS = "role_exists"  # (role)
    ROLE_NOT_FOUND = "role_not_found"  # (role)
    ROLE_NOT_ASSIGNED = "role_not_assigned"  # (role; values: user)
    ROLE_ASSIGNED = "role_assigned"  # (role) cannot be deleted
    ROLE_BUILT_IN = "role_built_in"  # (role)
    # bounds
    LIMIT = "limit"  # (limit's name in words; values: the limit)
    # request numbers (P-9)
    REPLY_FORGOTTEN = "reply_forgotten"  # the outcome is not known any more: OutcomeUnknown
    # a bug, deterministic on every member (C-9)
    INTERNAL = "internal"  # (exception type)


class Reply(Struct, frozen=True, array_like=True):
    """Base of all replies."""


class Refused(Reply, frozen=True, tag=0):
    """Nothing has changed (G-5)."""

    reason: Reason
    subject: str = ""
    values: tuple[str | int, ...] = ()


class Done(Reply, frozen=True, tag=1):
    """The asked end state holds; `changed` is false for an idempotent repeat."""

    changed: bool = True


class Enqueued(Reply, frozen=True, tag=2):
    """The batch is stored; message n of the batch has position `index << 20 | n`."""

    index: int
    duplicate: bool = False


class Delivery(Struct, frozen=True, array_like=True):
    """`count` consecutive positions of equal size and history, leased to the caller."""

    position: int
    count: int
    size_bytes: int
    delivery_count: int  # failed attempts so far
    acquired_count: int  # leases granted so far, this one included


class CheckedOut(Reply, frozen=True, tag=3):
    deliveries: tuple[Delivery, ...]  # in delivery order


class SettleFailure(Struct, frozen=True, array_like=True):
    position: int
    count: int
    reason: Reason  # MESSAGE_NOT_FOUND or LEASE_LOST


class Settled(Reply, frozen=True, tag=4):
    """Settle, Return, Discard: how many were carried out (repeats included), and what could not be (B-4)."""

    settled: int
    failed: tuple[SettleFailure, ...] = ()


class Moved(Reply, frozen=True, tag=5):
    """Purge, Redrive: number of messages removed or moved."""

    count: int


class SessionOpened(Reply, frozen=True, tag=6):
    consumer: bytes
    expires_ms: int  # log time
    resumed: bool


AnyReply: TypeAlias = Refused | Done | Enqueued | CheckedOut | Settled | Moved | SessionOpened
