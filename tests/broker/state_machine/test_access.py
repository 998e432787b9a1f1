"""Who may do what (A-1 to A-5): roles, built-in roles, access lists, and the order of checks."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sybline.state_machine.actions import ADMIN_ACTIONS, ANY, KEY_ACTIONS, QUEUE_ACTIONS, Action
from sybline.state_machine.commands import (
    AnyCommand,
    AssignRole,
    Bind,
    Caller,
    ChangePassword,
    Checkout,
    CreateRole,
    CreateUser,
    DeclareQueue,
    DeleteQueue,
    DeleteRole,
    DeleteUser,
    Discard,
    Permission,
    Purge,
    Redrive,
    Return,
    SetQueueAccess,
    Settle,
    UnassignRole,
    Unbind,
)
from sybline.state_machine.replies import Done, Moved, Reason, Refused
from tests.support.replicas import PASSWORD, Replicas, batch, reason_of

EVERY = tuple(Action)
BUILT_IN = {
    "ROOT": EVERY,
    "ADMIN": (*ADMIN_ACTIONS, Action.PURGE_QUEUE, Action.REDRIVE_QUEUE),
    "PRODUCER": (Action.SUBMIT_MESSAGE, Action.SUBMIT_BATCHED_MESSAGES),
    "CONSUMER": (Action.GET_MESSAGES, Action.ACK, Action.BATCH_ACK),
    "DENY": (),
}
# Every command that needs a permission, on things that do not exist: (action, entity named, command)
GUARDED: tuple[tuple[Action, str, Callable[[Caller], AnyCommand]], ...] = (
    (Action.SUBMIT_BATCHED_MESSAGES, "k", lambda who: batch(who, ("k", b"x"))),
    (Action.GET_MESSAGES, "q", lambda who: Checkout(who, "q", 1, 1_000, 1_000)),
    (Action.ACK, "q", lambda who: Settle(who, "q", ())),
    (Action.BATCH_ACK, "q", lambda who: Settle(who, "q", (), True)),
    (Action.ACK, "q", lambda who: Return(who, "q", ())),
    (Action.BATCH_ACK, "q", lambda who: Return(who, "q", (), True)),
    (Action.BATCH_ACK, "q", lambda who: Discard(who, "q", ())),
    (Action.PURGE_QUEUE, "q", lambda who: Purge(who, "q")),
    (Action.REDRIVE_QUEUE, "q", lambda who: Redrive(who, "q", 1)),
    (Action.CREATE_QUEUE, "", lambda who: DeclareQueue(who, "q", "q", 1, 1, False)),
    (Action.DELETE_QUEUE, "", lambda who: DeleteQueue(who, "q")),
    (Action.ADD_ROUTING_KEY, "", lambda who: Bind(who, "q", "k")),
    (Action.DELETE_ROUTING_KEY, "", lambda who: Unbind(who, "q", "k")),
    (Action.MANAGE_QUEUE_ACCESS, "", lambda who: SetQueueAccess(who, "q", (), ())),
    (Action.CREATE_USER, "", lambda who: CreateUser(who, "eve", PASSWORD)),
    (Action.DELETE_USER, "", lambda who: DeleteUser(who, "eve")),
    (Action.CHANGE_PASSWORD, "", lambda who: ChangePassword(who, PASSWORD, 1)),
    (Action.CREATE_ROLE, "", lambda who: CreateRole(who, "r2", "{}", ())),
    (Action.DELETE_ROLE, "", lambda who: DeleteRole(who, "r2")),
    (Action.ASSIGN_ROLE, "", lambda who: AssignRole(who, "eve", "r2")),
    (Action.UNASSIGN_ROLE, "", lambda who: UnassignRole(who, "eve", "r2")),
)


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


def role(replicas: Replicas, name: str, *permissions: Permission) -> None:
    assert replicas.apply(CreateRole(replicas.root, name, name, permissions)) == Done()


def allow(action: Action, *entities: str, deny: Sequence[str] = ()) -> Permission:
    return Permission(action.value, entities, tuple(deny))


def denied(action: Action, entity: str = "") -> Refused:
    return Refused(Reason.FORBIDDEN, entity, (action.value,))


# --- roles ---
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_role_permits_what_the_contract_lists_and_nothing_else(
    replicas: Replicas, name: str
) -> None:
    caller = replicas.user("ann", name)
    for action in Action:
        entities = () if action in ADMIN_ACTIONS else ("anything",)
        refused = replicas.machine.authorise(caller, action, entities)
        assert (refused is None) is (action in BUILT_IN[name]), action


def test_no_action_is_forgotten() -> None:
    assert len(QUEUE_ACTIONS) + len(KEY_ACTIONS) + len(ADMIN_ACTIONS) == len(Action)
    unguarded = set(Action) - {action for action, _, _ in GUARDED}
    edge_only = {Action.PEEK_QUEUE, Action.LIST_ACCOUNTS, Action.MANAGE_CLUSTER}
    assert unguarded - edge_only == {Action.SUBMIT_MESSAGE}


@pytest.mark.parametrize(("action", "entity", "command"), GUARDED)
def test_every_command_needs_its_permission_and_no_other(
    replicas: Replicas, action: Action, entity: str, command: Callable[[Caller], AnyCommand]
) -> None:
    caller = replicas.user("ann")
    assert replicas.apply(command(caller)) == denied(action, entity)
    role(replicas, "just-this", allow(action, ANY))
    replicas.apply(AssignRole(replicas.root, "ann", "just-this"))
    reply = replicas.apply(command(caller))
    assert not (isinstance(reply, Refused) and reply.reason is Reason.FORBIDDEN)
    others = tuple(allow(other, ANY) for other in Action if other is not action)
    role(replicas, "all-but-this", *others)
    nearly = replicas.user("bob", "all-but-this")
    assert replicas.apply(command(nearly)) == denied(action, entity)


def test_reg_s5a_a_deny_of_one_queue_beats_the_allow_of_all(replicas: Replicas) -> None:
    role(replicas, "most", allow(Action.GET_MESSAGES, ANY, deny=("q1",)))
    caller = replicas.user("ann", "most", "CONSUMER")
    for queue in ("q1", "q2"):
        replicas.declare(queue)
        replicas.publish(queue)
    fetch = Checkout(caller, "q1", 1, 1_000, 1_000)
    assert replicas.apply(fetch) == denied(Action.GET_MESSAGES, "q1")
    assert replicas.counts("q1") == (1, 0, 0)
    assert len(replicas.fetch(caller, "q2")) == 1


def test_a_role_that_denies_takes_away_what_others_allow(replicas: Replicas) -> None:
    caller = replicas.user("ann", "PRODUCER", "DENY")
    replicas.declare("q")
    assert replicas.apply(batch(caller, ("q", b"x"))) == denied(Action.SUBMIT_BATCHED_MESSAGES, "q")
    replicas.apply(UnassignRole(replicas.root, "ann", "DENY"))
    assert replicas.publish("q", by=caller)


def test_a_batch_is_refused_whole_for_one_key(replicas: Replicas) -> None:
    role(replicas, "some", allow(Action.SUBMIT_BATCHED_MESSAGES, "a", "b"))
    caller = replicas.user("ann", "some")
    for queue in ("a", "b", "c"):
        replicas.declare(queue)
    reply = replicas.apply(batch(caller, ("a", b"1"), ("c", b"2"), ("b", b"3")))
    assert reply == denied(Action.SUBMIT_BATCHED_MESSAGES, "c")
    assert replicas.counts("a") == (0, 0, 0)


def test_a_redrive_needs_the_permission_on_source_and_target(replicas: Replicas) -> None:
    role(replicas, "half", allow(Action.REDRIVE_QUEUE, "q-dlq"))
    caller = replicas.user("ann", "half")
    replicas.declare("q", dead_letter=True)
    reply = replicas.apply(Redrive(caller, "q-dlq", 1, "q"))
    assert reply == denied(Action.REDRIVE_QUEUE, "q")
    assert replicas.apply(Redrive(caller, "q-dlq", 1)) == Moved(0)


def test_a_command_that_comes_after_a_revocation_in_the_log_is_refused(
    replicas: Replicas,
) -> None:
    caller = replicas.user("ann", "PRODUCER")
    replicas.declare("q")
    at_the_door = replicas.machine.authorise(caller, Action.SUBMIT_BATCHED_MESSAGES, ("q",))
    assert at_the_door is None
    replicas.apply(UnassignRole(replicas.root, "ann", "PRODUCER"))
    assert reason_of(replicas.apply(batch(caller, ("q", b"x")))) is Reason.FORBIDDEN


def test_a_caller_is_refused_under_another_name_and_with_another_session(
    replicas: Replicas,
) -> None:
    ann, bob = replicas.user("ann", "ROOT"), replicas.user("bob", "ROOT")
    for caller in (Caller("ann", bob.consumer), Caller("nobody", ann.consumer)):
        assert reason_of(replicas.apply(DeleteQueue(caller, "q"))) is Reason.UNAUTHENTICATED


def test_reg_a9_without_roles_there_is_one_denial_whatever_was_before(replicas: Replicas) -> None:
    had, never = replicas.user("ann", "CONSUMER"), replicas.user("bob")
    replicas.apply(UnassignRole(replicas.root, "ann", "CONSUMER"))
    replies = {replicas.apply(Checkout(who, "q", 1, 1_000, 1_000)) for who in (had, never)}
    assert replies == {denied(Action.GET_MESSAGES, "q")}


def test_reg_s5e_without_permission_known_and_unknown_names_are_denied_alike(
    replicas: Replicas,
) -> None:
    caller = replicas.user("ann", "PRODUCER", "CONSUMER")
    replicas.user("bob", "CONSUMER")
    for command, action in ((AssignRole, "AssignRole"), (UnassignRole, "UnassignRole")):
        replies = {
            replicas.apply(command(caller, user, name))
            for user in ("bob", "unknown")
            for name in ("CONSUMER", "ROOT", "unknown")
        }
        assert replies == {denied(Action(action))}


def test_a_role_that_the_edge_should_have_refused_is_a_bug_and_not_a_role(
    replicas: Replicas,
) -> None:
    broken = (
        (Permission("FlyAway", (ANY,), ()),),
        (Permission("CreateQueue", ("q",), ()),),
        (Permission("CreateQueue", (ANY,), (ANY,)),),
        (Permission("GetMessages", (), ()),),
        (Permission("GetMessages", ("",), ()),),
        (allow(Action.ACK, "q"), allow(Action.ACK, "r")),
    )
    for permissions in broken:
        reply = replicas.apply(CreateRole(replicas.root, "bad", "{}", permissions))
        assert reply == Refused(Reason.INTERNAL, "ValueError")
    assert "bad" not in replicas.machine.role_names()


# --- access lists (A-5) ---
def test_an_access_list_serves_only_users_and_roles_on_it(replicas: Replicas) -> None:
    replicas.declare("q")
    role(replicas, "team", allow(Action.ACK, "nothing"))
    ann = replicas.user("ann", "PRODUCER", "CONSUMER")
    bob = replicas.user("bob", "PRODUCER", "CONSUMER", "team")
    access = SetQueueAccess(replicas.root, "q", ("ann",), ("role:team",))
    assert replicas.apply(access) == Done()
    assert replicas.apply(access) == Done(changed=False)
    assert replicas.publish("q", by=ann)
    assert replicas.apply(batch(bob, ("q", b"x"))) == denied(Action.SUBMIT_BATCHED_MESSAGES, "q")
    fetch = Checkout(ann, "q", 1, 1_000, 1_000)
    assert replicas.apply(fetch) == denied(Action.GET_MESSAGES, "q")
    assert replicas.fetch(bob, "q")
    assert replicas.machine.access_list("q") == (("ann",), ("role:team",))
    replicas.apply(UnassignRole(replicas.root, "bob", "team"))
    assert reason_of(replicas.apply(Checkout(bob, "q", 1, 1_000, 1_000))) is Reason.FORBIDDEN


def test_an_access_list_gives_no_permission(replicas: Replicas) -> None:
    replicas.declare("q")
    caller = replicas.user("ann", "CONSUMER", "DENY")
    replicas.apply(SetQueueAccess(replicas.root, "q", (), ("ann",)))
    fetch = Checkout(caller, "q", 1, 1_000, 1_000)
    assert replicas.apply(fetch) == denied(Action.GET_MESSAGES, "q")


def test_one_closed_queue_of_a_fan_out_refuses_the_publish(replicas: Replicas) -> None:
    replicas.declare("open", key="k")
    replicas.declare("closed", key="k")
    caller = replicas.user("ann", "PRODUCER")
    replicas.apply(SetQueueAccess(replicas.root, "closed", ("root",), ()))
    reply = replicas.apply(batch(caller, ("k", b"x")))
    assert reply == denied(Action.SUBMIT_BATCHED_MESSAGES, "closed")
    assert replicas.counts("open") == (0, 0, 0)


def test_a_deleted_user_leaves_access_lists_and_they_do_not_open(replicas: Replicas) -> None:
    replicas.declare("q")
    replicas.user("ann", "CONSUMER")
    replicas.apply(SetQueueAccess(replicas.root, "q", ("ann",), ("ann",)))
    replicas.apply(DeleteUser(replicas.root, "ann"))
    assert replicas.machine.access_list("q") == ((), ())
    for name in ("ann", "bob"):  # the new ann is another one (U-3)
        caller = replicas.user(name, "CONSUMER")
        assert reason_of(replicas.apply(Checkout(caller, "q", 1, 1_000, 1_000))) is Reason.FORBIDDEN


# --- against a plain model ---
ENTITIES = ("a", "b", "c")
MODEL_ACTIONS = (Action.GET_MESSAGES, Action.SUBMIT_BATCHED_MESSAGES, Action.CREATE_QUEUE)
USERS = ("ann", "bob")
ROLES = ("r1", "r2", "r3", "r4")
Statements = dict[str, list[tuple[str, str]]]  # action -> ("allow" or "deny", entity)


def statements() -> st.SearchStrategy[Statements]:
    entity = st.tuples(st.sampled_from(("allow", "deny")), st.sampled_from((*ENTITIES, ANY)))
    admin = st.tuples(st.sampled_from(("allow", "deny")), st.just(ANY))
    return st.fixed_dictionaries(
        {},
        optional={
            action.value: st.lists(entity, min_size=1, max_size=4)
            if action not in ADMIN_ACTIONS
            else st.lists(admin, min_size=1, max_size=1)
            for action in MODEL_ACTIONS
        },
    )


def permissions_of(document: Statements) -> tuple[Permission, ...]:
    def named(effect: str, action: str) -> tuple[str, ...]:
        return tuple(entity for said, entity in document[action] if said == effect)

    return tuple(
        Permission(action, named("allow", action), named("deny", action)) for action in document
    )


class RolesAgainstModel(RuleBasedStateMachine):
    """Roles come, go, are given and taken; at every step every question has the answer of the plain rule."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas = Replicas()
        self.callers = {user: self.replicas.user(user) for user in USERS}
        self.documents: dict[str, Statements] = {}
        self.assigned: dict[str, list[str]] = {user: [] for user in USERS}

    @rule(name=st.sampled_from(ROLES), document=statements())
    def create(self, name: str, document: Statements) -> None:
        root, raw = self.replicas.root, repr(document)
        reply = self.replicas.apply(CreateRole(root, name, raw, permissions_of(document)))
        if name not in self.documents:
            assert reply == Done()
            self.documents[name] = document
        elif repr(self.documents[name]) == raw:
            assert reply == Done(changed=False)
        else:
            assert reply == Refused(Reason.ROLE_EXISTS, name)

    @rule(name=st.sampled_from(ROLES))
    def delete(self, name: str) -> None:
        reply = self.replicas.apply(DeleteRole(self.replicas.root, name))
        if any(name in roles for roles in self.assigned.values()):
            assert reply == Refused(Reason.ROLE_ASSIGNED, name)
        elif self.documents.pop(name, None) is not None:
            assert reply == Done()

    @rule(user=st.sampled_from(USERS), name=st.sampled_from(ROLES))
    def assign(self, user: str, name: str) -> None:
        reply = self.replicas.apply(AssignRole(self.replicas.root, user, name))
        if name not in self.documents:
            assert reply == Refused(Reason.ROLE_NOT_FOUND, name)
            return
        assert reply == Done(changed=name not in self.assigned[user])
        if name not in self.assigned[user]:
            self.assigned[user].append(name)

    @rule(user=st.sampled_from(USERS), name=st.sampled_from(ROLES))
    def unassign(self, user: str, name: str) -> None:
        reply = self.replicas.apply(UnassignRole(self.replicas.root, user, name))
        if name in self.assigned[user]:
            assert reply == Done()
            self.assigned[user].remove(name)

    @invariant()
    def every_answer_agrees(self) -> None:
        for user in USERS:
            assert self.replicas.machine.roles_of(user) == tuple(sorted(self.assigned[user]))
            for action in MODEL_ACTIONS:
                entities = (ANY,) if action in ADMIN_ACTIONS else ENTITIES
                for entity in entities:
                    asked = () if action in ADMIN_ACTIONS else (entity,)
                    refused = self.replicas.machine.authorise(self.callers[user], action, asked)
                    assert (refused is None) is self._may(user, action, entity)

    def _may(self, user: str, action: Action, entity: str) -> bool:
        said = [
            effect
            for name in self.assigned[user]
            for effect, about in self.documents[name].get(action.value, [])
            if about in (entity, ANY)
        ]
        return "deny" not in said and "allow" in said


RolesAgainstModel.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestRolesAgainstModel = RolesAgainstModel.TestCase
