"""The commands of administrators about users and roles (U-1 to U-3, G-4, wire contract §6 and §9).

Every handler checks in the same order: session, permission, idempotent repeat, existence, state.
"""

from typing import TYPE_CHECKING

from sybline import limits
from sybline.state_machine import roles, sessions
from sybline.state_machine.access import authorise, forbidden
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import (
    AssignRole,
    BootstrapAdmin,
    Caller,
    ChangePassword,
    CreateRole,
    CreateUser,
    DeleteRole,
    DeleteUser,
    UnassignRole,
)
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.operations import Operation
from sybline.state_machine.replies import AnyReply, Done, Reason, Refused
from sybline.state_machine.roles import Role

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_ALREADY = Done(changed=False)


def decide_bootstrap_admin(state: "State", meta: Meta, command: BootstrapAdmin) -> Decision:
    """Decide the creation of the first administrator, once in the life of the cluster (U-1)."""
    accounts = state.accounts
    if accounts.is_bootstrapped:
        return _ALREADY
    root = accounts.role(roles.ROOT)
    assert root is not None

    def change() -> AnyReply:
        accounts.assign(accounts.add_user(command.username, command.password, meta.index), root)
        accounts.is_bootstrapped = True
        return Done()

    return change


# --- users ---
def decide_create_user(state: "State", meta: Meta, command: CreateUser) -> Decision:
    """Decide CreateUser. A repeat is one only with the password in force (G-4), which the edge has compared."""
    refused = authorise(state, command.caller, Action.CREATE_USER, ())
    if refused is not None:
        return refused
    operation = (Action.CREATE_USER.value, command.username)
    held = state.accounts.user(command.username)
    if held is not None:
        is_same = command.same_as_epoch == held.epoch
        if is_same and _did(state, command.caller, operation):
            return _ALREADY
        return Refused(Reason.USER_EXISTS, command.username)
    if len(state.accounts) >= limits.USERS_MAX:
        return Refused(Reason.LIMIT, "users", (limits.USERS_MAX,))

    def change() -> AnyReply:
        state.accounts.add_user(command.username, command.password, meta.index)
        _remember(state, command.caller, operation)
        return Done()

    return change


def decide_delete_user(state: "State", meta: Meta, command: DeleteUser) -> Decision:
    """Decide DeleteUser: with it go its sessions, roles and entries in access lists (U-2, U-3)."""
    refused = authorise(state, command.caller, Action.DELETE_USER, ())
    if refused is not None:
        return refused
    operation = (Action.DELETE_USER.value, command.username)
    user = state.accounts.user(command.username)
    if user is None:
        if _did(state, command.caller, operation):
            return _ALREADY
        return Refused(Reason.USER_NOT_FOUND, command.username)
    if roles.ROOT in user.roles and not _is_root(state, command.caller):
        return forbidden(Action.DELETE_USER, command.username)
    if len(state.accounts) == 1:
        return Refused(Reason.LAST_USER)
    if state.accounts.is_last_root(user):
        return Refused(Reason.LAST_ROOT)

    def change() -> AnyReply:
        sessions.end_all(state, user.name)
        state.accounts.remove_user(user)
        state.forget_user(user.name)
        _remember(state, command.caller, operation)
        return Done()

    return change


def decide_change_password(state: "State", meta: Meta, command: ChangePassword) -> Decision:
    """Decide ChangePassword: of two at once, one wins. The user's other sessions end.

    The edge compared passwords at an epoch. Where the old one was wrong but the new one is in force, this may be a
    repeat of what the session did.
    """
    caller = command.caller
    refused = authorise(state, caller, Action.CHANGE_PASSWORD, ())
    if refused is not None:
        return refused
    operation = (Action.CHANGE_PASSWORD.value,)
    user = state.accounts.user(caller.user)
    if user is None or user.epoch != command.checked_epoch:
        return Refused(Reason.INVALID_LOGIN)
    if command.already_current:
        return _ALREADY if _did(state, caller, operation) else Refused(Reason.INVALID_LOGIN)

    def change() -> AnyReply:
        state.accounts.set_password(user, command.password, meta.index)
        sessions.end_all(state, user.name, but=caller.consumer)
        _remember(state, caller, operation)
        return Done()

    return change


# --- roles ---
def decide_create_role(state: "State", meta: Meta, command: CreateRole) -> Decision:
    """Decide CreateRole: a role never changes, so the same document again is OK and another is refused."""
    refused = authorise(state, command.caller, Action.CREATE_ROLE, ())
    if refused is not None:
        return refused
    held = state.accounts.role(command.name)
    if held is not None:
        if not held.is_built_in and held.raw == command.raw:
            return _ALREADY
        return Refused(Reason.ROLE_EXISTS, command.name)
    if state.accounts.created_roles() >= limits.ROLES_MAX:
        return Refused(Reason.LIMIT, "roles", (limits.ROLES_MAX,))
    roles.check_permissions(command.permissions)
    role = Role(command.name, command.raw, command.permissions)

    def change() -> AnyReply:
        state.accounts.add_role(role)
        return Done()

    return change


def decide_delete_role(state: "State", meta: Meta, command: DeleteRole) -> Decision:
    """Decide DeleteRole: refused for a built-in role, and while somebody has it."""
    refused = authorise(state, command.caller, Action.DELETE_ROLE, ())
    if refused is not None:
        return refused
    operation = (Action.DELETE_ROLE.value, command.name)
    role = state.accounts.role(command.name)
    if role is None:
        if _did(state, command.caller, operation):
            return _ALREADY
        return Refused(Reason.ROLE_NOT_FOUND, command.name)
    if role.is_built_in:
        return Refused(Reason.ROLE_BUILT_IN, command.name)
    if role.holders:
        return Refused(Reason.ROLE_ASSIGNED, command.name)

    def change() -> AnyReply:
        state.accounts.remove_role(role)
        _remember(state, command.caller, operation)
        return Done()

    return change


def decide_assign_role(state: "State", meta: Meta, command: AssignRole) -> Decision:
    """Decide AssignRole; only a holder of ROOT grants ROOT."""
    refused = _refuse_assignment(state, command, Action.ASSIGN_ROLE)
    if refused is not None:
        return refused
    accounts = state.accounts
    user = accounts.user(command.username)
    if user is None:
        return Refused(Reason.USER_NOT_FOUND, command.username)
    role = accounts.role(command.role)
    if role is None:
        return Refused(Reason.ROLE_NOT_FOUND, command.role)
    if role.name in user.roles:
        return _ALREADY
    if len(user.roles) >= limits.ROLES_PER_USER_MAX:
        return Refused(Reason.LIMIT, "roles of a user", (limits.ROLES_PER_USER_MAX,))

    def change() -> AnyReply:
        accounts.assign(user, role)
        return Done()

    return change


def decide_unassign_role(state: "State", meta: Meta, command: UnassignRole) -> Decision:
    """Decide UnassignRole; only a holder of ROOT revokes ROOT, and somebody keeps it (U-2)."""
    refused = _refuse_assignment(state, command, Action.UNASSIGN_ROLE)
    if refused is not None:
        return refused
    accounts = state.accounts
    operation = (Action.UNASSIGN_ROLE.value, command.username, command.role)
    user, role = accounts.user(command.username), accounts.role(command.role)
    is_assigned = accounts.has_role(command.username, command.role)
    if not is_assigned and _did(state, command.caller, operation):
        return _ALREADY
    if user is None:
        return Refused(Reason.USER_NOT_FOUND, command.username)
    if role is None:
        return Refused(Reason.ROLE_NOT_FOUND, command.role)
    if not is_assigned:
        return Refused(Reason.ROLE_NOT_ASSIGNED, command.role, (command.username,))
    if command.role == roles.ROOT and accounts.is_last_root(user):
        return Refused(Reason.LAST_ROOT)

    def change() -> AnyReply:
        accounts.unassign(user, role)
        _remember(state, command.caller, operation)
        return Done()

    return change


def _refuse_assignment(
    state: "State", command: AssignRole | UnassignRole, action: Action
) -> Refused | None:
    refused = authorise(state, command.caller, action, ())
    if refused is not None:
        return refused
    if command.role == roles.ROOT and not _is_root(state, command.caller):
        return forbidden(action, command.role)
    return None


def _is_root(state: "State", caller: Caller) -> bool:
    return state.accounts.has_role(caller.user, roles.ROOT)


# --- repeats (G-4 b) ---
def _did(state: "State", caller: Caller, operation: Operation) -> bool:
    return state.accounts.operations.did(caller.consumer, operation, state.now_ms)


def _remember(state: "State", caller: Caller, operation: Operation) -> None:
    """Note what the caller did, unless it ended its own session by it."""
    if state.sessions.get(caller.consumer) is not None:
        state.accounts.operations.remember(caller.consumer, operation, state.now_ms)
