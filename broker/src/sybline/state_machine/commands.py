"""The commands of the replicated log: data only.

A command is built at the edge (validated, passwords hashed, random values drawn there) and travels as msgpack; its tag
numbers are the on-disk format and are never reused. New fields are appended with a default. Nothing here may import
anything that does I/O: `state_machine` is pure.
"""

from typing import TypeAlias

from msgspec import Struct


class Caller(Struct, frozen=True, array_like=True):
    """Who asks. Apply checks again that the session lives and what the user may do (A-3)."""

    user: str
    consumer: bytes  # 16 bytes: the session's consumer identity, never sent to clients


class PasswordHash(Struct, frozen=True, array_like=True):
    """A derived key with everything needed to check a password against it."""

    scheme: str  # "scrypt"
    salt: bytes
    cost_n: int
    cost_r: int
    cost_p: int
    digest: bytes
    pepper_check: bytes = b""  # identifies the pepper it was made with; empty: none


class PositionRange(Struct, frozen=True, array_like=True):
    """`count` consecutive message positions of one log entry, from `position` on.

    position = log index << 20 | number within the entry.
    """

    position: int
    count: int


class Command(Struct, frozen=True, array_like=True):
    """Base of all commands."""


# --- messages ---
class EnqueueRun(Struct, frozen=True, array_like=True):
    """Consecutive messages of a batch with the same routing key and the same size."""

    key_number: int  # index into Enqueue.routing_keys
    count: int
    size_bytes: int  # of each body


class Enqueue(Command, frozen=True, tag=1):
    """Publish a batch, all or nothing (P-2, P-4). Bodies stand here only; queues keep positions."""

    caller: Caller
    routing_keys: tuple[str, ...]  # distinct
    runs: tuple[EnqueueRun, ...]  # in request order
    bodies: memoryview  # all bodies, joined in request order; once decoded, a view of the log entry
    batch: bool = False  # which permission counts: SubmitBatchedMessages or SubmitMessage
    idempotency_key: str = ""  # P-8; empty: none
    digest: bytes = b""  # SHA-256 over routing keys and bodies, only with an idempotency key


class Checkout(Command, frozen=True, tag=2):
    """Lease up to `amount` messages to the caller (L-1)."""

    caller: Caller
    queue: str
    amount: int
    answer_bytes_max: int  # encoded MessageCollection bytes the answer may take (Z-3)
    lease_ms: int


class Settle(Command, frozen=True, tag=3):
    """Acknowledge: remove messages the caller leases (N-1, B-4)."""

    caller: Caller
    queue: str
    ranges: tuple[PositionRange, ...]  # sorted, disjoint
    batch: bool = False  # BatchAck or Ack permission


class Return(Command, frozen=True, tag=4):
    """Negative acknowledgement: one failed attempt, ready again or dead-lettered (N-2, N-3)."""

    caller: Caller
    queue: str
    ranges: tuple[PositionRange, ...]
    batch: bool = False
    others_polling: bool = (
        False  # N-6: another session polled this queue lately; known to the leader
    )


class Discard(Command, frozen=True, tag=5):
    """Dead-letter at once (N-8)."""

    caller: Caller
    queue: str
    ranges: tuple[PositionRange, ...]


class Tick(Command, frozen=True, tag=6):
    """Carry out what log time has made due: leases, sessions, tokens, windows. Proposed by the leader."""


# --- queues ---
class DeclareQueue(Command, frozen=True, tag=16):
    caller: Caller
    name: str
    routing_key: str
    size: int  # messages, in every state
    retry_limit: int
    dead_letter: bool
    max_bytes: int = 0  # 0: no limit


class DeleteQueue(Command, frozen=True, tag=17):
    caller: Caller
    queue: str


class Purge(Command, frozen=True, tag=18):
    caller: Caller
    queue: str
    include_leased: bool = False


class Redrive(Command, frozen=True, tag=19):
    """Move up to `amount` dead letters, oldest first, back to their origin or to `target` (D-7)."""

    caller: Caller
    queue: str
    amount: int
    target: str = ""


class Bind(Command, frozen=True, tag=20):
    caller: Caller
    queue: str
    routing_key: str


class Unbind(Command, frozen=True, tag=21):
    caller: Caller
    queue: str
    routing_key: str


class SetQueueAccess(Command, frozen=True, tag=22):
    """Replace the access list of a queue (A-5): user names or "role:<name>"; empty means no restriction."""

    caller: Caller
    queue: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


# --- accounts ---
class BootstrapAdmin(Command, frozen=True, tag=32):
    """Create the first administrator; does nothing when the cluster has ever had one (U-1)."""

    username: str
    password: PasswordHash


class CreateUser(Command, frozen=True, tag=33):
    caller: Caller
    username: str
    password: PasswordHash
    same_as_epoch: int = (
        0  # the edge found this very password valid at this credential epoch (G-4); 0: not checked
    )


class DeleteUser(Command, frozen=True, tag=34):
    caller: Caller
    username: str


class ChangePassword(Command, frozen=True, tag=35):
    """Change the caller's own password; the edge verified the old one at `checked_epoch`.

    `already_current`: the edge found that the *new* password is the one in force at `checked_epoch` (G-4).
    """

    caller: Caller
    password: PasswordHash
    checked_epoch: int
    already_current: bool = False


class CreateRole(Command, frozen=True, tag=36):
    """Store a role document. `raw` is the text given; `permissions` is what the edge parsed from it."""

    caller: Caller
    name: str
    raw: str
    permissions: tuple["Permission", ...]


class Permission(Struct, frozen=True, array_like=True):
    """What a role says about one action. For admin actions use `*` as the only entity."""

    action: str
    allow: tuple[str, ...]  # entities, "*" = any
    deny: tuple[str, ...]


class DeleteRole(Command, frozen=True, tag=37):
    caller: Caller
    name: str


class AssignRole(Command, frozen=True, tag=38):
    caller: Caller
    username: str
    role: str


class UnassignRole(Command, frozen=True, tag=39):
    caller: Caller
    username: str
    role: str


# --- sessions ---
class OpenSession(Command, frozen=True, tag=48):
    """Log in; the edge verified the password at `credential_epoch` (S-1, S-6)."""

    username: str
    credential_epoch: int
    token_hash: bytes  # SHA-256 of the token
    consumer: bytes  # fresh identity, used unless a session is resumed
    token_ms: int
    resume_token_hash: bytes = b""  # of an older token of the same user


class CloseSession(Command, frozen=True, tag=49):
    """Log out: ends the caller's session with all its tokens (S-5)."""

    caller: Caller


AnyCommand: TypeAlias = (
    Enqueue
    | Checkout
    | Settle
    | Return
    | Discard
    | Tick
    | DeclareQueue
    | DeleteQueue
    | Purge
    | Redrive
    | Bind
    | Unbind
    | SetQueueAccess
    | BootstrapAdmin
    | CreateUser
    | DeleteUser
    | ChangePassword
    | CreateRole
    | DeleteRole
    | AssignRole
    | UnassignRole
    | OpenSession
    | CloseSession
)
