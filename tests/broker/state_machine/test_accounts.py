"""Users and roles as administrators change them (U-1 to U-3), repeats (G-4) and limits (Z-1)."""

import pytest

from sybline import limits
from sybline.state_machine.commands import (
    AssignRole,
    BootstrapAdmin,
    Caller,
    ChangePassword,
    CreateRole,
    CreateUser,
    DeleteRole,
    DeleteUser,
    OpenSession,
    PasswordHash,
    Permission,
    UnassignRole,
)
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.replies import AnyReply, Done, Enqueued, Reason, Refused
from tests.support.replicas import (
    PASSWORD,
    Replicas,
    batch,
    consumer_named,
    reason_of,
    token_named,
)

OTHER_PASSWORD = PasswordHash("scrypt", b"pepper", 32768, 8, 1, b"other")
FETCHING = (Permission("GetMessages", ("*",), ()),)
AGAIN = Done(changed=False)


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


def epoch(replicas: Replicas, username: str) -> int:
    credential = replicas.machine.credential(username)
    assert credential is not None
    return credential.epoch


def change_password(
    replicas: Replicas,
    caller: Caller,
    *,
    password: PasswordHash = OTHER_PASSWORD,
    already_current: bool = False,
    checked_epoch: int = 0,
) -> AnyReply:
    checked_epoch = checked_epoch or epoch(replicas, caller.user)
    return replicas.apply(ChangePassword(caller, password, checked_epoch, already_current))


def create_role(replicas: Replicas, name: str, raw: str = "{}") -> AnyReply:
    return replicas.apply(CreateRole(replicas.root, name, raw, FETCHING))


# --- the first administrator (U-1) ---
def test_a_new_cluster_has_nobody_until_the_first_administrator_is_created() -> None:
    machine = StateMachine()
    assert not machine.is_bootstrapped
    assert machine.user_names() == ()
    assert machine.credential("root") is None
    replicas = Replicas()
    assert replicas.machine.is_bootstrapped
    assert replicas.machine.roles_of("root") == ("ROOT",)
    assert [credential.username for credential in replicas.machine.credentials()] == ["root"]


def test_reg_s3a_the_first_administrator_is_never_created_again(replicas: Replicas) -> None:
    replicas.user("ann", "ROOT")
    assert change_password(replicas, replicas.root) == Done()
    assert replicas.apply(BootstrapAdmin("root", PASSWORD)) == AGAIN
    credential = replicas.machine.credential("root")
    assert credential is not None
    assert credential.password == OTHER_PASSWORD
    replicas.root = replicas.login("ann", "ann-2")
    assert replicas.apply(UnassignRole(replicas.root, "root", "ROOT")) == Done()
    assert replicas.apply(BootstrapAdmin("root", PASSWORD)) == AGAIN
    assert replicas.machine.roles_of("root") == ()
    assert replicas.apply(DeleteUser(replicas.root, "root")) == Done()
    assert replicas.apply(BootstrapAdmin("root", PASSWORD)) == AGAIN
    assert replicas.machine.user_names() == ("ann",)


def test_reg_s3b_a_deleted_user_stays_deleted(replicas: Replicas) -> None:
    for name in ("ann", "bob"):
        replicas.user(name)
        assert replicas.apply(DeleteUser(replicas.root, name)) == Done()
    restarted = StateMachine.load(replicas.machine.dump())
    assert restarted.user_names() == ("root",)
    assert restarted.is_bootstrapped


# --- users ---
def test_a_taken_name_is_refused_and_keeps_its_password(replicas: Replicas) -> None:
    replicas.user("ann", "CONSUMER")
    before = replicas.machine.credential("ann")
    reply = replicas.apply(CreateUser(replicas.root, "ann", OTHER_PASSWORD))
    assert reply == Refused(Reason.USER_EXISTS, "ann")
    assert replicas.machine.credential("ann") == before


def test_reg_a7_a_user_is_deleted_with_sessions_leases_and_idempotency_keys(
    replicas: Replicas,
) -> None:
    ann = replicas.user("ann", "PRODUCER", "CONSUMER")
    replicas.declare("q", retry_limit=1)
    replicas.apply(batch(ann, ("q", b"x"), key="once"))
    other = replicas.login("ann", "ann-2")
    sent = replicas.fetch(other, "q")
    assert replicas.counts("q") == (0, 1, 0)
    assert replicas.apply(DeleteUser(replicas.root, "ann")) == Done()
    assert replicas.counts("q") == (1, 0, 0), "returned, and not counted as a failure (S-5)"
    assert replicas.fetch(replicas.root, "q") == sent
    assert replicas.holder_of("ann") is None
    assert replicas.holder_of("ann-2") is None
    assert replicas.machine.session_count() == 1
    new = replicas.user("ann", "PRODUCER")
    again = replicas.apply(batch(new, ("q", b"x"), key="once"))
    assert isinstance(again, Enqueued)
    assert not again.duplicate


def test_reg_s5b_a_new_user_of_an_old_name_starts_with_nothing(replicas: Replicas) -> None:
    replicas.user("ann", "ROOT", "PRODUCER")
    old_epoch = epoch(replicas, "ann")
    replicas.apply(DeleteUser(replicas.root, "ann"))
    assert replicas.apply(CreateUser(replicas.root, "ann", PASSWORD)) == Done()
    assert replicas.machine.roles_of("ann") == ()
    assert replicas.machine.caller_of(token_named("ann"), "ann") is None
    late = OpenSession("ann", old_epoch, token_named("late"), consumer_named("late"), 1_000)
    assert reason_of(replicas.apply(late)) is Reason.INVALID_LOGIN


def test_the_last_user_stays(replicas: Replicas) -> None:
    assert replicas.apply(DeleteUser(replicas.root, "root")) == Refused(Reason.LAST_USER)


def test_the_last_holder_of_root_keeps_it(replicas: Replicas) -> None:
    replicas.user("ann", "ADMIN")
    assert replicas.apply(DeleteUser(replicas.root, "root")) == Refused(Reason.LAST_ROOT)
    reply = replicas.apply(UnassignRole(replicas.root, "root", "ROOT"))
    assert reply == Refused(Reason.LAST_ROOT)
    replicas.apply(AssignRole(replicas.root, "ann", "ROOT"))
    assert replicas.apply(UnassignRole(replicas.root, "root", "ROOT")) == Done()
    assert reason_of(create_role(replicas, "r")) is Reason.FORBIDDEN


def test_a_user_may_delete_itself(replicas: Replicas) -> None:
    ann = replicas.user("ann", "ADMIN")
    assert replicas.apply(DeleteUser(ann, "ann")) == Done()
    assert reason_of(replicas.apply(DeleteUser(ann, "ann"))) is Reason.UNAUTHENTICATED


def test_reg_s5d_only_root_grants_or_revokes_root_or_deletes_its_holder(
    replicas: Replicas,
) -> None:
    admin = replicas.user("ann", "ADMIN")
    replicas.user("bob", "ROOT")

    def denied(action: str, subject: str) -> Refused:
        return Refused(Reason.FORBIDDEN, subject, (action,))

    for user in ("ann", "bob", "unknown"):
        reply = replicas.apply(AssignRole(admin, user, "ROOT"))
        assert reply == denied("AssignRole", "ROOT")
        reply = replicas.apply(UnassignRole(admin, user, "ROOT"))
        assert reply == denied("UnassignRole", "ROOT")
    assert replicas.apply(DeleteUser(admin, "bob")) == denied("DeleteUser", "bob")
    assert replicas.apply(AssignRole(admin, "ann", "PRODUCER")) == Done()
    assert replicas.apply(DeleteUser(replicas.root, "bob")) == Done()


# --- passwords ---
def test_reg_a2_of_two_password_changes_at_once_one_wins(replicas: Replicas) -> None:
    first, second = replicas.session("first"), replicas.session("second")
    checked = epoch(replicas, "root")
    assert change_password(replicas, first, checked_epoch=checked) == Done()
    reply = change_password(replicas, second, checked_epoch=checked)
    assert reason_of(reply) is Reason.UNAUTHENTICATED, "its session has ended"
    reply = change_password(replicas, first, password=PASSWORD, checked_epoch=checked)
    assert reply == Refused(Reason.INVALID_LOGIN)
    credential = replicas.machine.credential("root")
    assert credential is not None
    assert credential.password == OTHER_PASSWORD
    assert credential.epoch > checked


def test_reg_s6b_a_password_change_ends_the_other_sessions_at_once(replicas: Replicas) -> None:
    ann = replicas.user("ann", "ROOT")
    other = replicas.login("ann", "other")
    replicas.login("ann", "ann-again", resume="ann")
    replicas.declare("q", retry_limit=1)
    sent = replicas.publish("q")
    replicas.fetch(other, "q")
    old_epoch = epoch(replicas, "ann")
    assert change_password(replicas, ann) == Done()
    assert replicas.holder_of("other") is None
    assert replicas.holder_of("ann") == replicas.holder_of("ann-again") == ann
    assert replicas.fetch(ann, "q") == sent, "its leases have returned, uncounted"
    late = OpenSession("ann", old_epoch, token_named("late"), consumer_named("late"), 1_000)
    assert replicas.apply(late) == Refused(Reason.INVALID_LOGIN)
    assert replicas.holder_of("root") == replicas.root


def test_reg_s6b_a_role_change_counts_at_once_in_every_session(replicas: Replicas) -> None:
    callers = replicas.user("ann", "PRODUCER"), replicas.login("ann", "other")
    replicas.declare("q")
    assert all(replicas.publish("q", by=caller) for caller in callers)
    replicas.apply(UnassignRole(replicas.root, "ann", "PRODUCER"))
    for caller in callers:
        assert reason_of(replicas.apply(batch(caller, ("q", b"x")))) is Reason.FORBIDDEN
    replicas.apply(AssignRole(replicas.root, "ann", "PRODUCER"))
    assert all(replicas.publish("q", by=caller) for caller in callers)


# --- roles ---
def test_the_same_role_document_again_is_ok_and_another_is_refused(replicas: Replicas) -> None:
    assert create_role(replicas, "r", "one") == Done()
    assert create_role(replicas, "r", "one") == AGAIN
    assert create_role(replicas, "r", "two") == Refused(Reason.ROLE_EXISTS, "r")
    assert "r" in replicas.machine.role_names()


@pytest.mark.parametrize("name", ["ROOT", "ADMIN", "PRODUCER", "CONSUMER", "DENY"])
def test_a_built_in_role_can_neither_be_replaced_nor_deleted(replicas: Replicas, name: str) -> None:
    assert create_role(replicas, name, "") == Refused(Reason.ROLE_EXISTS, name)
    reply = replicas.apply(DeleteRole(replicas.root, name))
    assert reply == Refused(Reason.ROLE_BUILT_IN, name)


def test_a_role_is_deleted_only_when_nobody_has_it(replicas: Replicas) -> None:
    create_role(replicas, "r")
    replicas.user("ann", "r")
    delete = DeleteRole(replicas.root, "r")
    assert replicas.apply(delete) == Refused(Reason.ROLE_ASSIGNED, "r")
    replicas.apply(DeleteUser(replicas.root, "ann"))
    assert replicas.apply(delete) == Done()
    assert "r" not in replicas.machine.role_names()


def test_reg_a11_a_role_assigned_twice_is_gone_after_one_unassignment(replicas: Replicas) -> None:
    replicas.user("ann", "CONSUMER")
    assert replicas.apply(AssignRole(replicas.root, "ann", "CONSUMER")) == AGAIN
    assert replicas.apply(UnassignRole(replicas.root, "ann", "CONSUMER")) == Done()
    assert replicas.machine.roles_of("ann") == ()


def test_assignments_of_what_does_not_exist_name_it(replicas: Replicas) -> None:
    replicas.user("ann")
    no_user, no_role = Refused(Reason.USER_NOT_FOUND, "x"), Refused(Reason.ROLE_NOT_FOUND, "x")
    for command in (AssignRole, UnassignRole):
        assert replicas.apply(command(replicas.root, "x", "ROOT")) == no_user
        assert replicas.apply(command(replicas.root, "ann", "x")) == no_role
    reply = replicas.apply(UnassignRole(replicas.root, "ann", "ADMIN"))
    assert reply == Refused(Reason.ROLE_NOT_ASSIGNED, "ADMIN", ("ann",))
    assert replicas.apply(DeleteUser(replicas.root, "x")) == no_user
    assert replicas.apply(DeleteRole(replicas.root, "x")) == no_role


# --- repeats by the same session (G-4 b) ---
def test_a_repeated_deletion_is_ok_for_the_session_that_did_it_and_only_for_a_while(
    replicas: Replicas,
) -> None:
    create_role(replicas, "r")
    replicas.user("ann", "CONSUMER")
    other = replicas.session("other")
    for command, reason in (
        (UnassignRole(replicas.root, "ann", "CONSUMER"), Reason.ROLE_NOT_ASSIGNED),
        (DeleteUser(replicas.root, "ann"), Reason.USER_NOT_FOUND),
        (DeleteRole(replicas.root, "r"), Reason.ROLE_NOT_FOUND),
    ):
        assert replicas.apply(command) == Done()
        replicas.now_ms += limits.RETRY_WINDOW_MS
        assert replicas.apply(command) == AGAIN
        by_other = type(command)(other, *_fields(command)[1:])
        assert reason_of(replicas.apply(by_other)) is reason
        replicas.now_ms += 1
        assert reason_of(replicas.apply(command)) is reason


def _fields(command: UnassignRole | DeleteUser | DeleteRole) -> tuple[object, ...]:
    return tuple(getattr(command, name) for name in command.__struct_fields__)


def test_a_repeat_counts_only_while_what_it_reached_still_holds(replicas: Replicas) -> None:
    unassign = UnassignRole(replicas.root, "ann", "CONSUMER")
    for _ in range(2):
        assert replicas.apply(CreateUser(replicas.root, "ann", PASSWORD)) == Done()
        for _ in range(2):
            assert replicas.apply(AssignRole(replicas.root, "ann", "CONSUMER")) == Done()
            assert replicas.apply(unassign) == Done()
            assert replicas.apply(unassign) == AGAIN
        assert replicas.apply(DeleteUser(replicas.root, "ann")) == Done()
        assert replicas.apply(DeleteUser(replicas.root, "ann")) == AGAIN


def test_a_repeated_creation_of_a_user_is_ok_with_the_same_password_only(
    replicas: Replicas,
) -> None:
    replicas.apply(CreateUser(replicas.root, "ann", PASSWORD))
    same = CreateUser(replicas.root, "ann", PASSWORD, epoch(replicas, "ann"))
    assert replicas.apply(same) == AGAIN
    assert reason_of(replicas.apply(CreateUser(replicas.root, "ann", PASSWORD))) is (
        Reason.USER_EXISTS
    )
    other = replicas.session("other")
    by_other = CreateUser(other, "ann", PASSWORD, epoch(replicas, "ann"))
    assert reason_of(replicas.apply(by_other)) is Reason.USER_EXISTS
    change_password(replicas, _with_right_to_change(replicas, "ann"))
    assert reason_of(replicas.apply(same)) is Reason.USER_EXISTS
    replicas.tick(limits.RETRY_WINDOW_MS + 1)
    late = CreateUser(replicas.root, "ann", PASSWORD, epoch(replicas, "ann"))
    assert reason_of(replicas.apply(late)) is Reason.USER_EXISTS


def _with_right_to_change(replicas: Replicas, username: str) -> Caller:
    replicas.apply(AssignRole(replicas.root, username, "ADMIN"))
    return replicas.login(username, username)


def test_a_repeated_password_change_is_ok_for_the_session_that_did_it(replicas: Replicas) -> None:
    ann = replicas.user("ann", "ADMIN")
    guess = change_password(replicas, ann, already_current=True)
    assert guess == Refused(Reason.INVALID_LOGIN), "it has not changed it"
    assert change_password(replicas, ann) == Done()
    assert change_password(replicas, ann, already_current=True) == AGAIN
    stale = change_password(replicas, ann, already_current=True, checked_epoch=1)
    assert stale == Refused(Reason.INVALID_LOGIN)
    other = replicas.login("ann", "other")
    assert change_password(replicas, other, already_current=True) == Refused(Reason.INVALID_LOGIN)


def test_only_the_newest_operations_of_a_session_are_remembered(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RETRY_OPERATIONS_MAX", 4)  # creations count as well
    for name in ("a", "b", "c"):
        replicas.apply(CreateUser(replicas.root, name, PASSWORD))
    for name in ("a", "b", "c"):
        replicas.apply(DeleteUser(replicas.root, name))
    for name in ("x", "y"):
        replicas.apply(CreateUser(replicas.root, name, PASSWORD))
    replies = [replicas.apply(DeleteUser(replicas.root, name)) for name in ("a", "b", "c")]
    assert replies == [Refused(Reason.USER_NOT_FOUND, "a"), AGAIN, AGAIN]


def test_what_a_session_did_is_forgotten_in_time_and_with_it(replicas: Replicas) -> None:
    empty = replicas.machine.next_due_ms()
    replicas.user("ann")
    create_role(replicas, "r")
    admin = replicas.session("admin")
    assert replicas.machine.next_due_ms() == replicas.now_ms + limits.RETRY_WINDOW_MS + 1
    replicas.tick(limits.RETRY_WINDOW_MS)
    assert replicas.apply(DeleteRole(admin, "r")) == Done()
    replicas.tick(1)  # the memory of root is over, that of the other is not
    assert replicas.machine.next_due_ms() == replicas.now_ms + limits.RETRY_WINDOW_MS
    replicas.logout(admin)
    assert replicas.machine.next_due_ms() == empty


def test_sessions_are_forgotten_in_the_order_of_their_newest_operation(replicas: Replicas) -> None:
    other = replicas.session("other")
    for caller, name in ((replicas.root, "ann"), (other, "bob"), (replicas.root, "ann")):
        replicas.now_ms += 1_000
        assert replicas.apply(CreateUser(caller, name, PASSWORD)) == Done()
        assert replicas.apply(DeleteUser(caller, name)) == Done()
    replicas.tick(limits.RETRY_WINDOW_MS - 500)
    assert replicas.apply(DeleteUser(replicas.root, "ann")) == AGAIN
    assert reason_of(replicas.apply(DeleteUser(other, "bob"))) is Reason.USER_NOT_FOUND


# --- limits (Z-1) ---
def test_reg_s8a_users_roles_and_roles_of_a_user_have_limits_that_are_named(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "USERS_MAX", 2)
    monkeypatch.setattr(limits, "ROLES_MAX", 1)
    monkeypatch.setattr(limits, "ROLES_PER_USER_MAX", 2)
    replicas.user("ann", "ADMIN", "PRODUCER")
    reply = replicas.apply(CreateUser(replicas.root, "bob", PASSWORD))
    assert reply == Refused(Reason.LIMIT, "users", (2,))
    reply = replicas.apply(AssignRole(replicas.root, "ann", "CONSUMER"))
    assert reply == Refused(Reason.LIMIT, "roles of a user", (2,))
    assert create_role(replicas, "r") == Done()
    assert create_role(replicas, "s") == Refused(Reason.LIMIT, "roles", (1,))
    assert create_role(replicas, "r") == AGAIN, "what exists is no new one"
