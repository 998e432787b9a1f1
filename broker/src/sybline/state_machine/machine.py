"""The door of the state machine: one command in, one reply out, in two phases (C-9).

Owns the dispatch and the rule that an exception while deciding is a reply (INTERNAL) and while changing is the end of
the member. Knows nothing of what commands do.
"""

from collections.abc import Callable
from typing import Any

from sybline.state_machine import accounts, commands, sessions
from sybline.state_machine.meta import Applied, Decision, Meta
from sybline.state_machine.replies import Reason, Refused, Reply
from sybline.state_machine.state import State

Handler = Callable[[State, Meta, Any], Decision]  # Any: the table pairs each type with its handler

_HANDLERS: dict[type[commands.Command], Handler] = {
    commands.BootstrapAdmin: accounts.decide_bootstrap_admin,
    commands.CreateUser: accounts.decide_create_user,
    commands.DeleteUser: accounts.decide_delete_user,
    commands.ChangePassword: accounts.decide_change_password,
    commands.CreateRole: accounts.decide_create_role,
    commands.DeleteRole: accounts.decide_delete_role,
    commands.AssignRole: accounts.decide_assign_role,
    commands.UnassignRole: accounts.decide_unassign_role,
    commands.OpenSession: sessions.decide_open_session,
    commands.CloseSession: sessions.decide_close_session,
}


class StateMachine:
    """A deterministic function of the committed log."""

    def __init__(self) -> None:
        self._state = State()

    def apply(self, meta: Meta, command: commands.AnyCommand) -> Applied:
        """Apply one committed command.

        Raises:
            Exception: a change that was decided failed; the state can no longer be trusted (fail-stop).
        """
        state = self._state
        state.index = meta.index
        state.now_ms = max(state.now_ms, meta.now_ms)
        decided = self._decide(meta, command)
        return Applied(decided if isinstance(decided, Reply) else decided())

    def _decide(self, meta: Meta, command: commands.AnyCommand) -> Decision:
        try:
            return _HANDLERS[type(command)](self._state, meta, command)
        except (MemoryError, RecursionError):
            raise  # depends on this member, not on the command: never a reply
        except Exception as error:  # noqa: BLE001 - the decide edge: a poison command must not stop the cluster
            return Refused(Reason.INTERNAL, type(error).__name__)
