"""Random logs of every kind of command, for tests that replay them. A seed names a log.

Commands are plausible rather than valid: most take effect, some are refused, and refusals must replay as well.
"""

import random
from collections.abc import Callable, Iterable

from sybline import limits
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import (
    AnyCommand,
    AssignRole,
    Bind,
    BootstrapAdmin,
    Caller,
    ChangePassword,
    Checkout,
    CloseSession,
    CreateRole,
    CreateUser,
    DeclareQueue,
    DeleteQueue,
    DeleteRole,
    DeleteUser,
    Discard,
    OpenSession,
    Permission,
    Purge,
    Redrive,
    Return,
    SetQueueAccess,
    Settle,
    Tick,
    UnassignRole,
    Unbind,
)
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.meta import Meta
from sybline.state_machine.replies import SessionOpened
from tests.support.replicas import PASSWORD, START_MS, batch, consumer_named, ranges_of

Log = list[tuple[Meta, AnyCommand]]
USERS = ("root", "ann", "bob")
QUEUES = ("a", "b", "a-dlq", "b-dlq")
KEYS = ("k1", "k2", "k3")
ROLES = ("ADMIN", "PRODUCER", "CONSUMER", "narrow")
LEASE_MS = 20_000
PREAMBLE = 8  # commands that make people; none of them is a repeat


class CommandLog:
    """Writes one log; a state machine goes along, so that logins know credential epochs."""

    def __init__(self, seed: int) -> None:
        self.log: Log = []
        self._rng = random.Random(seed)
        self._machine = StateMachine()
        self._now_ms = START_MS
        self._sequence = 0
        self._positions: list[int] = []
        self._callers: list[Caller] = []
        self._makers: list[tuple[Callable[[], AnyCommand], int]] = [
            (self._publish, 8), (self._checkout, 8), (self._answer, 8), (self._declare, 3),
            (self._administer_queue, 2), (self._administer_people, 2), (self._login, 2),
            (self._logout, 1), (Tick, 4),
        ]  # fmt: skip

    def write(self, length: int) -> Log:
        """Return a log of so many commands, the administrator's creation first."""
        self._append(BootstrapAdmin("root", PASSWORD))
        self._append(self._login("root"))
        for user in USERS[1:]:
            self._append(CreateUser(self._callers[0], user, PASSWORD))
            self._append(AssignRole(self._callers[0], user, "ROOT"))
            self._append(self._login(user))
        makers, weights = zip(*self._makers, strict=True)
        while len(self.log) < length:
            if not self._able():
                self._append(self._login("root"))
            self._append(self._rng.choices(makers, weights)[0]())
        return self.log

    def _append(self, command: AnyCommand) -> None:
        rng = self._rng
        self._now_ms += rng.choices((0, 1, 50, 3_000, 30_000), (8, 8, 8, 4, 1))[0]
        if len(self.log) > PREAMBLE and rng.random() < 0.1:
            sequence = rng.randint(max(1, self._sequence - 3), self._sequence)  # a repeat (P-9)
        else:
            self._sequence += 1
            sequence = self._sequence
        meta = Meta(
            len(self.log) + 1, 1 + len(self.log) // 50, self._now_ms, rng.choice((0, 7, 8)),
            sequence, max(1, self._sequence - 5),
        )  # fmt: skip
        self.log.append((meta, command))
        reply = self._machine.apply(meta, command).reply
        if isinstance(command, OpenSession) and isinstance(reply, SessionOpened):
            caller = Caller(command.username, reply.consumer)
            self._callers = [caller, *(c for c in self._callers if c != caller)][:8]

    def _caller(self) -> Caller:
        """Return somebody who is logged in and may do anything, mostly."""
        return self._rng.choice(
            (self._able() if self._rng.random() < 0.9 else None) or self._callers
        )

    def _able(self) -> list[Caller]:
        return [c for c in self._callers if not self._machine.authorise(c, Action.CREATE_ROLE, ())]

    def _some_positions(self) -> Iterable[int]:
        recent = self._positions[-30:]
        return self._rng.sample(recent, self._rng.randint(0, min(6, len(recent)))) or [1 << 20]

    # --- commands ---
    def _publish(self) -> AnyCommand:
        rng = self._rng
        messages = [
            (rng.choice(KEYS), rng.randbytes(rng.randint(0, 3))) for _ in range(rng.randint(1, 6))
        ]
        first = (len(self.log) + 1) * limits.BATCH_MESSAGES_MAX
        self._positions += range(first, first + len(messages))
        key = rng.choice(("", "", f"key-{rng.randint(1, 5)}"))
        return batch(self._caller(), *messages, key=key)

    def _checkout(self) -> AnyCommand:
        amount = self._rng.randint(1, 8)
        return Checkout(
            self._caller(), self._rng.choice(QUEUES), amount, limits.MESSAGE_BYTES_MAX, LEASE_MS
        )

    def _answer(self) -> AnyCommand:
        rng = self._rng
        caller, queue = self._caller(), rng.choice(QUEUES)
        ranges = ranges_of(self._some_positions())
        return rng.choice(
            (
                Settle(caller, queue, ranges, True),
                Return(caller, queue, ranges, True, rng.random() < 0.5),
                Discard(caller, queue, ranges),
            )
        )

    def _declare(self) -> AnyCommand:
        rng = self._rng
        return DeclareQueue(
            self._caller(), rng.choice("ab"), rng.choice(KEYS), rng.choice((4, 50)),
            rng.choice((0, 1, 3)), rng.random() < 0.7, rng.choice((0, 0, 40)),
        )  # fmt: skip

    def _administer_queue(self) -> AnyCommand:
        rng = self._rng
        caller, queue, key = self._caller(), rng.choice(QUEUES), rng.choice(KEYS)
        return rng.choice(
            (
                DeleteQueue(caller, queue),
                Purge(caller, queue, rng.random() < 0.5),
                Redrive(caller, queue, rng.randint(1, 5), rng.choice(("", "", "a"))),
                Bind(caller, queue, key),
                Bind(caller, queue, key),
                Unbind(caller, queue, key),
                SetQueueAccess(caller, queue, rng.choice(((), (), ("ann",), ("role:ROOT",))), ()),
            )
        )

    def _administer_people(self) -> AnyCommand:
        rng = self._rng
        caller, user, role = self._caller(), rng.choice(("cid", "dan", "eve")), rng.choice(ROLES)
        permissions = (
            Permission("GetMessages", ("*",), ("a",)),
            Permission("CreateQueue", ("*",), ()),
        )
        return rng.choice(
            (
                CreateUser(caller, user, PASSWORD),
                DeleteUser(caller, user),
                CreateRole(caller, "narrow", "{}", permissions),
                DeleteRole(caller, "narrow"),
                AssignRole(caller, user, role),
                UnassignRole(caller, user, role),
                ChangePassword(caller, PASSWORD, rng.randint(1, 3), rng.random() < 0.3),
            )
        )

    def _login(self, username: str = "") -> OpenSession:
        rng = self._rng
        username = username or rng.choice((*USERS, "cid"))
        credential = self._machine.credential(username)
        number = len(self.log)
        older = f"token-{rng.randint(0, number)}" if rng.random() < 0.4 else ""
        return OpenSession(
            username, credential.epoch if credential is not None else 1, _token(f"token-{number}"),
            consumer_named(f"{username}-{number}"), rng.choice((10_000, 10**9, 10**9, 10**9)),
            _token(older) if older else b"",
        )  # fmt: skip

    def _logout(self) -> AnyCommand:
        return CloseSession(self._caller())


def _token(name: str) -> bytes:
    return name.encode().ljust(32, b"#")


def build_log(seed: int, length: int) -> Log:
    """Return the log of a seed."""
    return CommandLog(seed).write(length)
