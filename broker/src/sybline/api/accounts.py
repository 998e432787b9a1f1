"""Users, passwords and roles. Passwords are hashed and compared before proposing; apply sees hashes only (U-4)."""

from sybline import limits
from sybline.api.call import Call
from sybline.api.credentials import Credentials
from sybline.api.error_texts import CallError, no_session
from sybline.api.gate import Gate
from sybline.api.handlers import OK_STATUS
from sybline.api.refusals import (
    invalid_login,
    other_users_password,
    refusal,
    unknown_user_named,
    user_exists,
)
from sybline.api.validation import (
    check_assignment,
    check_new_password,
    check_new_user,
    check_role_document,
    check_user_name,
    invalid,
)
from sybline.auth.role_documents import BadRoleDocument, RoleDocument, parse_role_document
from sybline.state_machine.account_reads import Credential
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import (
    AssignRole,
    ChangePassword,
    CreateRole,
    CreateUser,
    DeleteUser,
    UnassignRole,
)
from sybline.state_machine.replies import Reason, Refused
from sybline.v1 import mq_pb2


class Accounts:
    """The methods about people."""

    def __init__(self, gate: Gate, credentials: Credentials) -> None:
        self._gate = gate
        self._credentials = credentials

    # --- users ---
    async def create_user(self, call: Call, request: mq_pb2.UserCreds) -> bytes:
        """Create a user; the same name and password again is OK for who created it (G-4)."""
        check_new_user(request)
        await self._gate.admit(call, Action.CREATE_USER)
        await self._gate.catch_up(call)
        for _ in range(limits.CREDENTIAL_LOOKS_MAX):
            command = await self._new_user(call, request)
            reply = await self._gate.propose(call, command)
            if not isinstance(reply, Refused):
                return OK_STATUS
            is_news = reply.reason is Reason.USER_EXISTS and not self._is_same(command)
            if not is_news:
                raise refusal(reply)
        raise user_exists()

    async def _new_user(self, call: Call, request: mq_pb2.UserCreds) -> CreateUser:
        """Return the command, which says whether the name is taken with this very password."""
        username, password = request.username, request.password
        held = self._credentials.of(username)
        if held is None:
            return CreateUser(call.caller, username, await self._credentials.hash(call, password))
        if not await self._credentials.matches(call, password, held):
            raise user_exists()
        return CreateUser(call.caller, username, held.password, same_as_epoch=held.epoch)

    def _is_same(self, command: CreateUser) -> bool:
        """Return whether the user is still the one that the command was compared with."""
        held = self._credentials.of(command.username)
        return held is not None and held.epoch == command.same_as_epoch

    async def delete_user(self, call: Call, request: mq_pb2.UserInformation) -> bytes:
        """Delete a user with its sessions and roles (U-3)."""
        check_user_name(request.username)
        await self._gate.admit(call, Action.DELETE_USER)
        await self._gate.carry_out(call, DeleteUser(call.caller, request.username))
        return OK_STATUS

    # --- passwords ---
    async def change_password(self, call: Call, request: mq_pb2.ChangeCredentials) -> bytes:
        """Change the caller's own password; the other sessions of the user end."""
        check_new_password(request)
        await self._gate.admit(call, Action.CHANGE_PASSWORD)
        if request.username != call.caller.user:
            raise other_users_password()
        await self._gate.catch_up(call)
        for _ in range(limits.CREDENTIAL_LOOKS_MAX):
            held = self._credentials.of(request.username)
            if held is None:
                raise no_session()  # the user was deleted, and with it the session
            command = await self._new_password(call, request, held)
            reply = await self._gate.propose(call, command)
            if not isinstance(reply, Refused):
                return OK_STATUS
            if reply.reason is not Reason.INVALID_LOGIN:
                raise refusal(reply)
            if self._credentials.of(request.username) == held:
                raise self._credentials.failed(call, request.username)
        raise invalid_login()

    async def _new_password(
        self, call: Call, request: mq_pb2.ChangeCredentials, held: Credential
    ) -> ChangePassword:
        """Return the command; where only the new password is right, it may be a repeat, which apply knows (G-4)."""
        username, passwords = request.username, self._credentials
        passwords.check_throttle(call, username)
        if await passwords.matches(call, request.oldPassword, held):
            passwords.succeeded(call, username)
            hashed = await passwords.hash(call, request.newPassword)
            return ChangePassword(call.caller, hashed, held.epoch)
        if await passwords.matches(call, request.newPassword, held):
            return ChangePassword(call.caller, held.password, held.epoch, already_current=True)
        raise passwords.failed(call, username)

    # --- roles ---
    async def create_role(self, call: Call, request: mq_pb2.CreateRoleRequest) -> bytes:
        """Create a role from its document."""
        check_role_document(request.role)
        document = _parse(request.role)
        await self._gate.admit(call, Action.CREATE_ROLE)
        command = CreateRole(call.caller, document.name, request.role, document.permissions)
        await self._gate.carry_out(call, command)
        return OK_STATUS

    async def assign_role(self, call: Call, request: mq_pb2.AssignRoleRequest) -> bytes:
        """Give a user a role."""
        check_assignment(request, method="AssignRole")
        await self._gate.admit(call, Action.ASSIGN_ROLE)
        command = AssignRole(call.caller, request.username, request.role)
        return await self._assign(call, command)

    async def unassign_role(self, call: Call, request: mq_pb2.UnassignRoleRequest) -> bytes:
        """Take a role away from a user."""
        check_assignment(request, method="UnassignRole")
        await self._gate.admit(call, Action.UNASSIGN_ROLE)
        command = UnassignRole(call.caller, request.username, request.role)
        return await self._assign(call, command)

    async def _assign(self, call: Call, command: AssignRole | UnassignRole) -> bytes:
        reply = await self._gate.propose(call, command)
        if isinstance(reply, Refused):
            raise _refused_assignment(reply)
        return OK_STATUS


def _parse(raw: str) -> RoleDocument:
    try:
        return parse_role_document(raw)
    except BadRoleDocument as error:
        raise invalid("role", error.template, *error.values) from error


def _refused_assignment(reply: Refused) -> CallError:
    if reply.reason is Reason.USER_NOT_FOUND:
        return unknown_user_named(reply)
    return refusal(reply)
