"""Sessions: login, tokens, resume, logout, expiry, and what becomes of leases (S-1 to S-9, N-7)."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sybline import limits
from sybline.state_machine.commands import Caller, Checkout, CloseSession, DeleteUser, OpenSession
from sybline.state_machine.replies import Done, Reason, Refused, SessionOpened, Settled
from tests.support.replicas import (
    Replicas,
    consumer_named,
    failures_of,
    reason_of,
    token_named,
)

TOKEN_MS = 60_000


@pytest.fixture
def replicas() -> Replicas:
    replicas = Replicas()
    replicas.declare("q", retry_limit=1, dead_letter=True)
    return replicas


def refusal(replicas: Replicas, caller: Caller) -> Reason:
    """Return why a harmless command of the caller is refused: the session's end comes before the unknown queue."""
    return reason_of(replicas.apply(Checkout(caller, "nowhere", 1, 1_000, 1_000)))


# --- login and tokens (S-1, S-2) ---
def test_reg_a5_a_login_is_known_to_every_replica_at_once(replicas: Replicas) -> None:
    reply = replicas.open_session("root", "new", token_ms=TOKEN_MS)
    consumer = consumer_named("new")
    assert reply == SessionOpened(consumer, replicas.now_ms + TOKEN_MS, resumed=False)
    assert replicas.holder_of("new", "root") == Caller("root", consumer)
    assert replicas.holder_of("new") == Caller("root", consumer)


def test_a_token_stands_for_its_own_user_only(replicas: Replicas) -> None:
    replicas.user("ann")
    assert replicas.holder_of("ann", "ann") is not None
    assert replicas.holder_of("ann", "root") is None
    assert replicas.holder_of("unknown", "ann") is None


def test_a_token_ends_to_the_millisecond_even_if_nobody_calls(replicas: Replicas) -> None:
    caller = replicas.login("root", "short", token_ms=TOKEN_MS)
    replicas.tick(TOKEN_MS - 1)
    assert replicas.holder_of("short") == caller
    assert replicas.machine.next_due_ms() == replicas.now_ms + 1
    assert replicas.tick(1) == 1, "a tick carries log time on"
    assert replicas.holder_of("short") is None
    assert refusal(replicas, caller) is Reason.UNAUTHENTICATED


@pytest.mark.parametrize("username", ["root", "unknown"])
def test_a_login_with_an_outdated_or_unknown_credential_is_refused(
    replicas: Replicas, username: str
) -> None:
    command = OpenSession(username, 77, token_named("t"), consumer_named("t"), TOKEN_MS)
    assert replicas.apply(command) == Refused(Reason.INVALID_LOGIN)
    assert replicas.holder_of("t") is None


def test_a_login_without_identity_or_with_one_in_use_is_a_bug_and_no_session(
    replicas: Replicas,
) -> None:
    for token, consumer in (
        (token_named("t"), b""),
        (token_named("t"), replicas.root.consumer),
        (b"", consumer_named("t")),
        (token_named("root"), consumer_named("t")),
    ):
        reply = replicas.apply(OpenSession("root", 1, token, consumer, TOKEN_MS))
        assert reply == Refused(Reason.INTERNAL, "ValueError")
    assert replicas.machine.session_count() == 1


# --- logout (S-5) ---
def test_reg_a1a_logging_out_of_the_newer_session_ends_it_everywhere_and_only_it(
    replicas: Replicas,
) -> None:
    older, newer = replicas.session("older"), replicas.session("newer")
    replicas.logout(newer)
    assert replicas.holder_of("newer") is None
    assert refusal(replicas, newer) is Reason.UNAUTHENTICATED
    assert replicas.holder_of("older") == older
    assert refusal(replicas, older) is Reason.QUEUE_NOT_FOUND
    again = CloseSession(newer)
    assert reason_of(replicas.apply(again)) is Reason.UNAUTHENTICATED


def test_reg_a6_a_logout_returns_leases_at_once_and_counts_no_failure(replicas: Replicas) -> None:
    caller = replicas.session("consumer")
    sent = replicas.publish("q", 2)
    replicas.fetch(caller, "q")
    replicas.logout(caller)
    assert replicas.counts("q") == (2, 0, 0)
    assert replicas.counts("q-dlq") == (0, 0, 0)
    assert replicas.fetch(replicas.root, "q") == sent


def test_a_deleted_user_s_sessions_end_without_counting(replicas: Replicas) -> None:
    callers = replicas.user("ann", "CONSUMER"), replicas.login("ann", "ann-2")
    replicas.publish("q", 2)
    for caller in callers:
        replicas.fetch(caller, "q", 1)
    assert replicas.apply(DeleteUser(replicas.root, "ann")) == Done()
    assert replicas.counts("q") == (2, 0, 0)
    assert all(refusal(replicas, caller) is Reason.UNAUTHENTICATED for caller in callers)


# --- expiry (S-4, S-9) ---
def test_reg_a6_leases_outlive_their_token_and_a_resumed_session_has_them(
    replicas: Replicas,
) -> None:
    caller = replicas.login("root", "short", token_ms=1_000)
    sent = replicas.publish("q", 2)
    replicas.fetch(caller, "q", lease_ms=200_000)
    replicas.tick(100_000)
    assert replicas.counts("q") == (0, 2, 0)
    assert replicas.login("root", "second", resume="short") == caller
    assert replicas.settle(caller, "q", sent[:1]) == Settled(1)
    assert replicas.fetch(caller, "q") == sent[1:]


def test_a_lease_runs_to_its_own_deadline_after_the_token_ended(replicas: Replicas) -> None:
    caller = replicas.login("root", "short", token_ms=1_000)
    replicas.publish("q")
    replicas.fetch(caller, "q", lease_ms=50_000)
    replicas.tick(49_999)
    assert replicas.counts("q") == (0, 1, 0)
    replicas.tick(1)
    assert replicas.counts("q-dlq") == (1, 0, 0), "a failed attempt at the limit of one"


def test_leases_that_outlast_the_resume_window_end_with_it_and_count(replicas: Replicas) -> None:
    caller = replicas.login("root", "short", token_ms=1_000)
    replicas.publish("q")
    replicas.fetch(caller, "q", lease_ms=3_000_000)
    replicas.tick(1_000 + limits.RESUME_WINDOW_MS - 1)
    assert replicas.counts("q") == (0, 1, 0)
    replicas.tick(1)
    assert replicas.counts("q") == (0, 0, 0)
    assert replicas.counts("q-dlq") == (1, 0, 0)


def test_reg_a1b_expired_sessions_leave_no_trace(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXPIRIES_PER_TICK_MAX", 7)
    due_ms, before = replicas.machine.next_due_ms(), len(replicas.machine.dump())
    for number in range(40):
        replicas.login("root", f"short-{number}", token_ms=1_000 + number % 3)
    assert replicas.machine.session_count() == 41
    replicas.tick(2_000)
    assert replicas.machine.session_count() == 41
    assert replicas.tick(limits.RESUME_WINDOW_MS) == 6, "in portions: 40 sessions, 7 a tick"
    assert replicas.machine.session_count() == 1
    assert replicas.machine.next_due_ms() == due_ms
    assert len(replicas.machine.dump()) <= before


# --- resume (S-6, S-7) ---
def test_a_resume_keeps_the_identity_and_the_retry_memory(replicas: Replicas) -> None:
    caller = replicas.login("root", "t1")
    sent = replicas.publish("q")
    replicas.fetch(caller, "q")
    replicas.settle(caller, "q", sent)
    reply = replicas.open_session("root", "t2", token_ms=TOKEN_MS, resume="t1")
    assert reply == SessionOpened(caller.consumer, replicas.now_ms + TOKEN_MS, resumed=True)
    assert replicas.settle(caller, "q", sent) == Settled(1)
    assert replicas.machine.session_count() == 2
    new = replicas.session("new")
    assert failures_of(replicas.settle(new, "q", sent)) == {sent[0]: Reason.MESSAGE_NOT_FOUND}


def test_reg_w3_after_a_resume_the_old_token_works_for_a_while_though_it_had_expired(
    replicas: Replicas,
) -> None:
    caller = replicas.login("root", "old", token_ms=1_000)
    sent = replicas.publish("q", 2)
    replicas.fetch(caller, "q", lease_ms=1_000_000)
    replicas.tick(1_000)
    assert replicas.holder_of("old") is None
    replicas.login("root", "new", token_ms=1_800_000, resume="old")
    assert replicas.holder_of("old") == replicas.holder_of("new") == caller
    replicas.tick(limits.OLD_TOKEN_GRACE_MS - 1)
    assert replicas.holder_of("old") == caller
    assert replicas.settle(caller, "q", sent) == Settled(2)
    replicas.tick(1)
    assert replicas.holder_of("old") is None
    assert replicas.holder_of("new") == caller


def test_an_old_token_that_would_live_longer_than_the_grace_does(replicas: Replicas) -> None:
    long_ms = limits.OLD_TOKEN_GRACE_MS + 50_000
    caller = replicas.login("root", "old", token_ms=long_ms)
    replicas.login("root", "new", resume="old")
    replicas.tick(long_ms - 1)
    assert replicas.holder_of("old") == caller
    replicas.tick(1)
    assert replicas.holder_of("old") is None


@pytest.mark.parametrize("token", ["old", "new"])
def test_a_logout_with_either_token_ends_both(replicas: Replicas, token: str) -> None:
    replicas.login("root", "old")
    replicas.login("root", "new", resume="old")
    caller = replicas.holder_of(token)
    assert caller is not None
    replicas.logout(caller)
    assert replicas.holder_of("old") is None
    assert replicas.holder_of("new") is None


def test_no_session_is_resumed_with_a_foreign_unknown_revoked_or_outdated_token(
    replicas: Replicas,
) -> None:
    replicas.user("ann")
    revoked = replicas.session("revoked")
    replicas.logout(revoked)
    replicas.login("root", "outdated", token_ms=1_000)
    replicas.tick(1_000 + limits.RESUME_WINDOW_MS)
    for number, older in enumerate(("ann", "unknown", "revoked", "outdated")):
        reply = replicas.open_session("root", f"plain-{number}", resume=older)
        assert isinstance(reply, SessionOpened)
        assert not reply.resumed
        assert reply.consumer == consumer_named(f"plain-{number}")


def test_a_session_is_resumed_up_to_the_end_of_its_window(replicas: Replicas) -> None:
    caller = replicas.login("root", "old", token_ms=1_000)
    replicas.now_ms += 1_000 + limits.RESUME_WINDOW_MS - 1
    assert replicas.login("root", "new", resume="old", token_ms=1_000) == caller
    # Its last token is the old one, by the grace; then it is over, though no tick came yet.
    replicas.now_ms += limits.OLD_TOKEN_GRACE_MS + limits.RESUME_WINDOW_MS
    assert replicas.login("root", "late", resume="new") != caller
    replicas.tick()
    assert replicas.holder_of("new") is None


def test_the_oldest_token_of_a_session_ends_when_there_are_too_many(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOKENS_PER_SESSION_MAX", 3)
    caller = replicas.login("root", "t0")
    for number in range(1, 5):
        assert replicas.login("root", f"t{number}", resume=f"t{number - 1}") == caller
    held = [name for name in ("t0", "t1", "t2", "t3", "t4") if replicas.holder_of(name)]
    assert held == ["t2", "t3", "t4"]
    assert replicas.machine.session_count() == 2


def test_a_session_whose_longest_token_was_pushed_out_ends_with_the_others(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOKENS_PER_SESSION_MAX", 1)
    monkeypatch.setattr(limits, "OLD_TOKEN_GRACE_MS", 10)
    replicas.login("root", "long", token_ms=10**9)
    replicas.login("root", "short", token_ms=1_000, resume="long")
    replicas.tick(1_000 + limits.RESUME_WINDOW_MS)
    assert replicas.machine.session_count() == 1


# --- limits (S-8) ---
def test_reg_s8a_over_the_limits_a_login_is_refused_and_nobody_is_thrown_out(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SESSIONS_MAX", 4)
    monkeypatch.setattr(limits, "SESSIONS_PER_USER_MAX", 3)
    replicas.user("ann")
    replicas.session("second")
    third = replicas.session("third")
    reply = replicas.open_session("ann", "ann-2")
    assert reply == Refused(Reason.LIMIT, "sessions", (4,))
    assert replicas.login("root", "third-again", resume="third") == third, "is no further session"
    replicas.logout(replicas.login("ann", "ann-again", resume="ann"))
    reply = replicas.open_session("root", "fourth")
    assert reply == Refused(Reason.LIMIT, "sessions of a user", (3,))
    assert replicas.machine.session_count() == 3
    assert replicas.login("ann", "ann-3")


# --- against a plain model ---
@dataclass
class ModelSession:
    user: str
    consumer: bytes
    tokens: dict[str, int]

    def ends_ms(self) -> int:
        return max(self.tokens.values()) + limits.RESUME_WINDOW_MS


USERS = ("root", "ann")


class SessionsAgainstModel(RuleBasedStateMachine):
    """Two users log in, resume, log out and let time pass; each token always stands for whom the rules say."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas = Replicas()
        self.replicas.user("ann")
        self.sessions = [
            ModelSession(name, consumer_named(name), {name: 2 * 10**12}) for name in USERS
        ]
        self.issued = list(USERS)

    def _find(self, token: str) -> ModelSession | None:
        return next((one for one in self.sessions if token in one.tokens), None)

    @rule(
        user=st.sampled_from(USERS),
        token_ms=st.sampled_from((1_000, 30_000, 400_000)),
        data=st.data(),
    )
    def log_in(self, user: str, token_ms: int, data: st.DataObject) -> None:
        older = data.draw(st.sampled_from(("", *self.issued[-6:])), label="older token")
        now_ms = self.replicas.now_ms
        token = f"token-{len(self.issued)}"
        reply = self.replicas.open_session(user, token, token_ms=token_ms, resume=older)
        session = self._find(older)
        is_resumed = session is not None and session.user == user and now_ms < session.ends_ms()
        if session is None or not is_resumed:
            session = ModelSession(user, consumer_named(token), {})
            self.sessions.append(session)
        else:
            grace_ms = now_ms + limits.OLD_TOKEN_GRACE_MS
            session.tokens[older] = max(session.tokens[older], grace_ms)
        session.tokens[token] = now_ms + token_ms
        self.issued.append(token)
        assert reply == SessionOpened(session.consumer, now_ms + token_ms, is_resumed)

    @rule(data=st.data())
    def log_out(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.issued[-6:]), label="token")
        session = self._find(token)
        if session is None:
            return
        reply = self.replicas.apply(CloseSession(Caller(session.user, session.consumer)))
        if max(session.tokens.values()) > self.replicas.now_ms:
            assert reply == Done()
            self.sessions.remove(session)
        else:
            assert reply == Refused(Reason.UNAUTHENTICATED)

    @rule(after_ms=st.sampled_from((1, 999, 1_000, 29_000, 299_999, 300_000, 450_000)))
    def pass_time(self, after_ms: int) -> None:
        self.replicas.tick(after_ms)
        now_ms = self.replicas.now_ms
        self.sessions = [session for session in self.sessions if now_ms < session.ends_ms()]

    @invariant()
    def tokens_agree(self) -> None:
        assert self.replicas.machine.session_count() == len(self.sessions)
        now_ms = self.replicas.now_ms
        for token in self.issued:
            session = self._find(token)
            holder = None
            if session is not None and now_ms < session.tokens[token]:
                holder = Caller(session.user, session.consumer)
            assert self.replicas.holder_of(token) == holder, token


SessionsAgainstModel.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestSessionsAgainstModel = SessionsAgainstModel.TestCase
