"""Sessions and their tokens: login, resume, logout, and how they end by themselves (S-4 to S-9).

A session is one consumer identity; tokens come and go on it. The table knows tokens by their SHA-256 only: looking one
up compares nothing that could be guessed byte by byte.
"""

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Final

from msgspec import Struct, msgpack

from sybline import limits
from sybline.state_machine.access import authenticate
from sybline.state_machine.commands import CloseSession, OpenSession
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.replies import AnyReply, Done, Reason, Refused, SessionOpened
from sybline.state_machine.tables import Table

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_STALE_DUES: Final = 1024
_SESSIONS_PER_PAGE: Final = 256


class SessionsDump(Struct, frozen=True, array_like=True):
    """All sessions in the order in which they were opened, column by column, which is quick to write."""

    consumers: list[bytes]
    users: list[str]
    dues: list[int]
    token_counts: list[int]
    token_hashes: list[bytes]  # of the first session, oldest first, then of the next
    token_ends: list[int]


class Session:
    """One login and all logins that resumed it."""

    __slots__ = ("consumer", "due_ms", "live_until_ms", "tokens", "user")

    def __init__(self, user: str, consumer: bytes) -> None:
        self.user = user
        self.consumer = consumer
        self.tokens: dict[bytes, int] = {}  # SHA-256 -> log time at which it ends; oldest first
        self.live_until_ms = 0  # when the last of them ends
        self.due_ms = 0  # at or before the next moment at which a token or the session ends

    @property
    def ends_ms(self) -> int:
        """When the session is deleted unless somebody resumes it (S-4)."""
        return self.live_until_ms + limits.RESUME_WINDOW_MS

    def next_end_ms(self, now_ms: int) -> int:
        """Return when the next token ends, or else the session."""
        return min(
            (until_ms for until_ms in self.tokens.values() if until_ms > now_ms),
            default=self.ends_ms,
        )


class Sessions:
    """All sessions, by consumer, by token and by user."""

    __slots__ = ("_by_consumer", "_by_token", "_by_user", "_dues")

    def __init__(self) -> None:
        self._by_consumer: Table[bytes, Session] = Table(_SESSIONS_PER_PAGE, _encode)
        self._by_token: dict[bytes, Session] = {}
        self._by_user: dict[str, dict[bytes, Session]] = {}
        self._dues: list[tuple[int, bytes]] = []  # heap of (due_ms, consumer), and stale entries

    # --- asking ---
    def __len__(self) -> int:
        return len(self._by_consumer)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_consumer.values())

    def get(self, consumer: bytes) -> Session | None:
        """Return the session of a consumer, live or within its resume window."""
        return self._by_consumer.get(consumer)

    def of_token(self, token_hash: bytes) -> Session | None:
        """Return the session of a token, live or not."""
        return self._by_token.get(token_hash)

    def of_user(self, user: str) -> tuple[Session, ...]:
        """Return the sessions of a user, in the order in which they were opened."""
        return tuple(self._by_user.get(user, {}).values())

    def count_of(self, user: str) -> int:
        """Return how many sessions a user has."""
        return len(self._by_user.get(user, ()))

    # --- steps of changes ---
    def open(self, user: str, consumer: bytes) -> Session:
        """Add a session of an identity that is not in use; it needs a token."""
        session = Session(user, consumer)
        self._by_consumer.put(consumer, session)
        self._by_user.setdefault(user, {})[consumer] = session
        return session

    def accept(self, session: Session, token_hash: bytes, until_ms: int, now_ms: int) -> None:
        """Let a token stand for the session until then; when there are too many, the oldest ends (S-7)."""
        self._by_consumer.changes(session.consumer)
        session.tokens[token_hash] = until_ms
        self._by_token[token_hash] = session
        if len(session.tokens) > limits.TOKENS_PER_SESSION_MAX:
            oldest = next(iter(session.tokens))
            del session.tokens[oldest], self._by_token[oldest]
        session.live_until_ms = max(session.tokens.values())
        next_end_ms = session.next_end_ms(now_ms)
        if not session.due_ms or next_end_ms < session.due_ms:
            self._look_at(session, next_end_ms)

    def prolong(self, session: Session, token_hash: bytes, until_ms: int) -> None:
        """Let one of its tokens live until then at least."""
        self._by_consumer.changes(session.consumer)
        session.tokens[token_hash] = max(session.tokens[token_hash], until_ms)

    def remove(self, session: Session) -> None:
        """Forget a session with all its tokens."""
        self._by_consumer.remove(session.consumer)
        for token_hash in session.tokens:
            del self._by_token[token_hash]
        others = self._by_user[session.user]
        del others[session.consumer]
        if not others:
            del self._by_user[session.user]

    # --- time ---
    def next_due_ms(self) -> int | None:
        """Return when a token or a session ends next; a token's end needs nothing but log time to go on."""
        session = self._first_due()
        return None if session is None else session.due_ms

    def expire(self, state: "State", now_ms: int, budget: int) -> int:
        """Delete sessions whose resume window is over, first ended first (S-4, S-9); return the work done."""
        used = 0
        while used < budget:
            session = self._first_due()
            if session is None or session.due_ms > now_ms:
                break
            used += 1
            if session.ends_ms <= now_ms:
                used += end(state, session, counted=True)
            else:
                self._look_at(session, session.next_end_ms(now_ms))
        if len(self._dues) > 2 * len(self) + _STALE_DUES:
            self._rebuild_dues()
        return used

    def _look_at(self, session: Session, due_ms: int) -> None:
        self._by_consumer.changes(session.consumer)
        session.due_ms = due_ms
        heappush(self._dues, (due_ms, session.consumer))

    def _first_due(self) -> Session | None:
        dues = self._dues
        while dues:
            due_ms, consumer = dues[0]
            session = self._by_consumer.get(consumer)
            if session is not None and session.due_ms == due_ms:
                return session
            heappop(dues)
        return None

    def _rebuild_dues(self) -> None:
        self._dues = [(session.due_ms, session.consumer) for session in self]
        heapify(self._dues)

    # --- checkpoints ---
    def dump(self) -> SessionsDump:
        """Return all sessions, in order."""
        return _dump(self)

    @classmethod
    def load(cls, dump: SessionsDump) -> "Sessions":
        """Return the sessions of a dump."""
        sessions = cls()
        for session in _load(dump):
            sessions._by_consumer.put(session.consumer, session)
        sessions._compute()
        return sessions

    def capture(self, capture: Capture) -> bytes:
        """Include all sessions and return the numbers of their pages."""
        return self._by_consumer.capture(capture)

    @classmethod
    def load_pages(cls, pages: bytes, reader: Reader) -> "Sessions":
        """Return the sessions in pages."""
        sessions = cls()
        sessions._by_consumer.load(pages, reader, _decode)
        sessions._compute()
        return sessions

    def _compute(self) -> None:
        """Fill what is not stored."""
        for session in self:
            self._by_user.setdefault(session.user, {})[session.consumer] = session
            self._by_token.update(dict.fromkeys(session.tokens, session))
        self._rebuild_dues()

    def check_invariants(self) -> None:
        """Raise AssertionError when the tables contradict each other."""
        assert len(self) <= limits.SESSIONS_MAX
        assert sum(map(len, self._by_user.values())) == len(self)
        assert sum(len(session.tokens) for session in self) == len(self._by_token)
        dues = set(self._dues)
        for consumer, session in self._by_consumer.items():
            assert consumer, "nobody has no session (N-7)"
            assert session.consumer == consumer
            assert self._by_user[session.user][consumer] is session
            assert 0 < len(session.tokens) <= limits.TOKENS_PER_SESSION_MAX
            assert session.live_until_ms == max(session.tokens.values())
            assert all(self._by_token[token_hash] is session for token_hash in session.tokens)
            assert session.due_ms <= session.ends_ms
            assert (session.due_ms, consumer) in dues, "no end is forgotten"


_decoder = msgpack.Decoder(SessionsDump)


def _dump(sessions: Iterable[Session]) -> SessionsDump:
    dump = SessionsDump([], [], [], [], [], [])
    for session in sessions:
        dump.consumers.append(session.consumer)
        dump.users.append(session.user)
        dump.dues.append(session.due_ms)
        dump.token_counts.append(len(session.tokens))
        dump.token_hashes.extend(session.tokens)
        dump.token_ends.extend(session.tokens.values())
    return dump


def _load(dump: SessionsDump) -> Iterator[Session]:
    tokens = zip(dump.token_hashes, dump.token_ends, strict=True)
    rows = zip(dump.consumers, dump.users, dump.dues, dump.token_counts, strict=True)
    for consumer, user, due_ms, token_count in rows:
        session = Session(user, consumer)
        session.due_ms = due_ms
        session.tokens.update(islice(tokens, token_count))
        session.live_until_ms = max(session.tokens.values())
        yield session


def _encode(rows: dict[bytes, Session]) -> bytes:
    return msgpack.encode(_dump(rows.values()))


def _decode(page: bytes) -> Iterator[tuple[bytes, Session]]:
    for session in _load(_decoder.decode(page)):
        yield session.consumer, session


def decide_open_session(state: "State", meta: Meta, command: OpenSession) -> Decision:
    """Decide Login: a new session, or a new token for the one it resumes (S-1, S-6 to S-8)."""
    user = state.accounts.user(command.username)
    if user is None or user.epoch != command.credential_epoch:
        return Refused(Reason.INVALID_LOGIN)
    _check_fresh(state, command)
    resumed = _resumable(state, command)
    if resumed is None:
        refused = _refuse_another(state.sessions, command.username)
        if refused is not None:
            return refused

    def change() -> AnyReply:
        table, now_ms = state.sessions, state.now_ms
        expires_ms = now_ms + command.token_ms
        if resumed is None:
            session = table.open(command.username, command.consumer)
        else:
            session = resumed
            grace_ms = now_ms + limits.OLD_TOKEN_GRACE_MS
            table.prolong(session, command.resume_token_hash, grace_ms)
        table.accept(session, command.token_hash, expires_ms, now_ms)
        return SessionOpened(session.consumer, expires_ms, resumed is not None)

    return change


def _check_fresh(state: "State", command: OpenSession) -> None:
    """Raise ValueError when the edge has not done its part: random values that nobody has, and a name for nobody."""
    if not command.consumer or state.sessions.get(command.consumer) is not None:
        raise ValueError("consumer identity is empty or in use")
    if not command.token_hash or state.sessions.of_token(command.token_hash) is not None:
        raise ValueError("token is empty or in use")


def _resumable(state: "State", command: OpenSession) -> Session | None:
    session = state.sessions.of_token(command.resume_token_hash)
    if session is None or session.user != command.username or session.ends_ms <= state.now_ms:
        return None
    return session


def _refuse_another(sessions: Sessions, user: str) -> Refused | None:
    if len(sessions) >= limits.SESSIONS_MAX:
        return Refused(Reason.LIMIT, "sessions", (limits.SESSIONS_MAX,))
    if sessions.count_of(user) >= limits.SESSIONS_PER_USER_MAX:
        return Refused(Reason.LIMIT, "sessions of a user", (limits.SESSIONS_PER_USER_MAX,))
    return None


def decide_close_session(state: "State", meta: Meta, command: CloseSession) -> Decision:
    """Decide LogOut: the session ends with all its tokens (S-5, S-7)."""
    refused = authenticate(state, command.caller)
    if refused is not None:
        return refused
    session = state.sessions.get(command.caller.consumer)
    assert session is not None

    def change() -> AnyReply:
        end(state, session, counted=False)
        return Done()

    return change


def end(state: "State", session: Session, *, counted: bool) -> int:
    """Delete a session; its leases return, as failed attempts if `counted`. Return the pieces of work done."""
    state.sessions.remove(session)
    state.accounts.operations.forget(session.consumer)
    return state.release_leases(session.consumer, counted=counted)


def end_all(state: "State", user: str, *, but: bytes = b"") -> None:
    """Delete the sessions of a user, except one (S-5, U-3)."""
    for session in state.sessions.of_user(user):
        if session.consumer != but:
            end(state, session, counted=False)
