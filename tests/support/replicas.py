"""State machines side by side: each command goes to all of them, and they must not differ in one byte.

The first applies the command as it is, the second applies what the codec makes of it, the third comes fresh out of a
checkpoint before each command. `Replicas` also plays the leader: it numbers entries and stamps log time.
"""

from collections.abc import Iterable, Sequence

from sybline import limits
from sybline.replication import codec
from sybline.state_machine.commands import (
    AnyCommand,
    AssignRole,
    BootstrapAdmin,
    Caller,
    Checkout,
    CloseSession,
    CreateUser,
    DeclareQueue,
    Discard,
    Enqueue,
    EnqueueRun,
    OpenSession,
    PasswordHash,
    PositionRange,
    Return,
    Settle,
    Tick,
)
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.meta import Meta
from sybline.state_machine.read import QueueStats
from sybline.state_machine.replies import (
    AnyReply,
    CheckedOut,
    Done,
    Enqueued,
    Reason,
    Refused,
    SessionOpened,
    Settled,
)

START_MS = 1_700_000_000_000
FOR_EVER_MS = 10**12
LEASE_MS = 300_000
PASSWORD = PasswordHash("scrypt", b"salt", 32768, 8, 1, b"digest")


def consumer_named(name: str) -> bytes:
    """Return a consumer identity that is the same in every run."""
    return name.encode().ljust(limits.MESSAGE_ID_BYTES, b".")


def token_named(name: str) -> bytes:
    """Return a token hash that is the same in every run."""
    return name.encode().ljust(32, b"#")


def ranges_of(positions: Iterable[int]) -> tuple[PositionRange, ...]:
    """Return positions as the edge sends them: sorted, disjoint, joined."""
    ranges: list[PositionRange] = []
    for position in sorted(set(positions)):
        last = ranges[-1] if ranges else None
        if last is not None and last.position + last.count == position and position % (1 << 20):
            ranges[-1] = PositionRange(last.position, last.count + 1)
        else:
            ranges.append(PositionRange(position, 1))
    return tuple(ranges)


def positions_of(reply: AnyReply) -> list[int]:
    """Return the positions that a checkout delivered, in order."""
    assert isinstance(reply, CheckedOut), reply
    return [
        delivery.position + number
        for delivery in reply.deliveries
        for number in range(delivery.count)
    ]


def batch(caller: Caller, *messages: tuple[str, bytes], key: str = "") -> Enqueue:
    """Return the command for a batch of (routing key, body)."""
    keys = tuple(dict.fromkeys(routing_key for routing_key, _ in messages))
    runs: list[EnqueueRun] = []
    for routing_key, body in messages:
        number = keys.index(routing_key)
        last = runs[-1] if runs else None
        if last is not None and (last.key_number, last.size_bytes) == (number, len(body)):
            runs[-1] = EnqueueRun(number, last.count + 1, len(body))
        else:
            runs.append(EnqueueRun(number, 1, len(body)))
    bodies = b"".join(body for _, body in messages)
    digest = repr(messages).encode()[-32:] if key else b""
    return Enqueue(caller, keys, tuple(runs), bodies, True, key, digest)


class Replicas:
    """Three state machines that get the same log, and shorthands for a test to write that log."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self._decoding = StateMachine()
        self._restored = StateMachine.load(self.machine.dump())
        self.index = 0
        self.now_ms = START_MS
        self.log: list[bytes] = []
        assert self.apply(BootstrapAdmin("root", PASSWORD)) == Done()
        self.root = self.login("root", "root")

    # --- the log ---
    def apply(
        self,
        command: AnyCommand,
        *,
        origin: int = 0,
        sequence: int = 0,
        answered_below: int = 0,
    ) -> AnyReply:
        """Apply a command everywhere and return the reply, which all agree on."""
        self.index += 1
        request = codec.encode_request(origin, sequence, answered_below, command)
        payload = codec.stamp(request, self.now_ms)
        self.log.append(payload)
        meta = Meta(self.index, 1, self.now_ms, origin, sequence, answered_below)
        header = codec.decode_header(payload)
        assert (header.origin, header.now_ms) == (origin, self.now_ms)
        reply = self.machine.apply(meta, command).reply
        assert self._decoding.apply(meta, codec.decode_command(payload)).reply == reply
        self._restored = StateMachine.load(self._restored.dump())
        assert self._restored.apply(meta, command).reply == reply
        self.check()
        return reply

    def check(self) -> None:
        """Raise AssertionError when the machines differ or contradict themselves."""
        data = self.machine.dump()
        assert self._decoding.dump() == data
        assert self._restored.dump() == data
        assert self._restored.next_due_ms() == self.machine.next_due_ms()
        self.machine.check_invariants()
        self._restored.check_invariants()

    def tick(self, after_ms: int = 0) -> int:
        """Let time pass, then tick until nothing is due; return the number of ticks."""
        self.now_ms += after_ms
        for ticks in range(10_000):
            due_ms = self.machine.next_due_ms()
            if due_ms is None or due_ms > self.now_ms:
                return ticks
            self.apply(Tick())
        raise AssertionError("ticks without end")

    # --- people ---
    def open_session(
        self, username: str, name: str, *, token_ms: int = FOR_EVER_MS, resume: str = ""
    ) -> AnyReply:
        """Log in with a token and a consumer identity made from `name`; `resume` names an older token."""
        credential = self.machine.credential(username)
        assert credential is not None
        older = token_named(resume) if resume else b""
        command = OpenSession(
            username, credential.epoch, token_named(name), consumer_named(name), token_ms, older
        )
        return self.apply(command)

    def login(
        self, username: str, name: str, *, token_ms: int = FOR_EVER_MS, resume: str = ""
    ) -> Caller:
        """Return the caller of a login, which may resume a session."""
        reply = self.open_session(username, name, token_ms=token_ms, resume=resume)
        assert isinstance(reply, SessionOpened), reply
        return Caller(username, reply.consumer)

    def holder_of(self, name: str, user: str | None = None) -> Caller | None:
        """Return whom the token of that name stands for, on which all replicas agree (S-1, S-2)."""
        caller = self.machine.caller_of(token_named(name), user)
        for other in (self._decoding, self._restored):
            assert other.caller_of(token_named(name), user) == caller
        return caller

    def session(self, name: str) -> Caller:
        """Return the caller of another session of the administrator."""
        return self.login("root", name)

    def logout(self, caller: Caller) -> None:
        """End a session."""
        assert self.apply(CloseSession(caller)) == Done()

    def user(self, username: str, *roles: str) -> Caller:
        """Create a user with roles and log it in."""
        assert self.apply(CreateUser(self.root, username, PASSWORD)) == Done()
        for role in roles:
            assert self.apply(AssignRole(self.root, username, role)) == Done()
        return self.login(username, username)

    # --- queues ---
    def declare(
        self,
        name: str,
        *,
        key: str = "",
        size: int = 1_000,
        retry_limit: int = 3,
        dead_letter: bool = False,
        max_bytes: int = 0,
    ) -> AnyReply:
        """Create a queue, bound to a key of its own name unless told otherwise."""
        command = DeclareQueue(
            self.root, name, key or name, size, retry_limit, dead_letter, max_bytes
        )
        return self.apply(command)

    def publish(
        self, key: str, count: int = 1, *, body: bytes = b"body", by: Caller | None = None
    ) -> list[int]:
        """Publish equal messages in one batch and return their positions."""
        reply = self.apply(batch(by or self.root, *[(key, body)] * count))
        assert isinstance(reply, Enqueued), reply
        return [reply.index * limits.BATCH_MESSAGES_MAX + number for number in range(count)]

    def fetch(
        self,
        caller: Caller,
        queue: str,
        amount: int = 1_000,
        *,
        answer_bytes: int = limits.MESSAGE_BYTES_MAX,
        lease_ms: int = LEASE_MS,
    ) -> list[int]:
        """Lease messages and return their positions, in order."""
        return positions_of(self.apply(Checkout(caller, queue, amount, answer_bytes, lease_ms)))

    def settle(self, caller: Caller, queue: str, positions: Sequence[int]) -> AnyReply:
        """Acknowledge."""
        return self.apply(Settle(caller, queue, ranges_of(positions), True))

    def give_back(
        self,
        caller: Caller,
        queue: str,
        positions: Sequence[int],
        *,
        others_polling: bool = False,
    ) -> AnyReply:
        """Return with a failed attempt."""
        return self.apply(Return(caller, queue, ranges_of(positions), True, others_polling))

    def discard(self, caller: Caller, queue: str, positions: Sequence[int]) -> AnyReply:
        """Dead-letter at once."""
        return self.apply(Discard(caller, queue, ranges_of(positions)))

    def stats(self, name: str) -> QueueStats:
        """Return what metrics would show of a queue."""
        stats = self.machine.queue(name)
        assert stats is not None
        return stats

    def counts(self, name: str) -> tuple[int, int, int]:
        """Return (ready, leased, parked) messages of a queue."""
        stats = self.stats(name)
        return stats.ready, stats.leased, stats.parked


def reason_of(reply: AnyReply) -> Reason:
    """Return why a command was refused."""
    assert isinstance(reply, Refused), reply
    return reply.reason


def failures_of(reply: AnyReply) -> dict[int, Reason]:
    """Return why which positions could not be settled."""
    assert isinstance(reply, Settled), reply
    return {
        failure.position + number: failure.reason
        for failure in reply.failed
        for number in range(failure.count)
    }
