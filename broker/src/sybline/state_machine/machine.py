"""The door of the state machine: one command in, one reply out, in two phases (C-9).

Owns the dispatch, the memory of numbered requests, and the rule that an exception while deciding is a reply (INTERNAL)
and while changing is the end of the member. Knows nothing of what commands do.
"""

from collections.abc import Callable
from typing import Any

from sybline.state_machine import (
    administering,
    checkout,
    commands,
    declaring,
    expiry,
    publishing,
    purging,
    queue_access,
    routing,
    sessions,
    settling,
    snapshot,
)
from sybline.state_machine.account_reads import AccountReads
from sybline.state_machine.invariants import check_invariants
from sybline.state_machine.meta import Applied, Decision, Meta
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.read import QueueReads
from sybline.state_machine.replies import AnyReply, Reason, Refused, Reply
from sybline.state_machine.state import State

Handler = Callable[[State, Meta, Any], Decision]  # Any: the table pairs each type with its handler

_HANDLERS: dict[type[commands.Command], Handler] = {
    commands.Enqueue: publishing.decide_enqueue,
    commands.Checkout: checkout.decide_checkout,
    commands.Settle: settling.decide_settle,
    commands.Return: settling.decide_return,
    commands.Discard: settling.decide_discard,
    commands.Tick: expiry.decide_tick,
    commands.DeclareQueue: declaring.decide_declare_queue,
    commands.DeleteQueue: declaring.decide_delete_queue,
    commands.Purge: purging.decide_purge,
    commands.Redrive: purging.decide_redrive,
    commands.Bind: routing.decide_bind,
    commands.Unbind: routing.decide_unbind,
    commands.SetQueueAccess: queue_access.decide_set_queue_access,
    commands.BootstrapAdmin: administering.decide_bootstrap_admin,
    commands.CreateUser: administering.decide_create_user,
    commands.DeleteUser: administering.decide_delete_user,
    commands.ChangePassword: administering.decide_change_password,
    commands.CreateRole: administering.decide_create_role,
    commands.DeleteRole: administering.decide_delete_role,
    commands.AssignRole: administering.decide_assign_role,
    commands.UnassignRole: administering.decide_unassign_role,
    commands.OpenSession: sessions.decide_open_session,
    commands.CloseSession: sessions.decide_close_session,
}


class StateMachine(QueueReads, AccountReads):
    """A deterministic function of the committed log."""

    def __init__(self) -> None:
        self._state = State()

    def apply(self, meta: Meta, command: commands.AnyCommand) -> Applied:
        """Apply one committed command; a request that is repeated gets its first reply and changes nothing.

        Raises:
            Exception: a change that was decided failed; the state can no longer be trusted (fail-stop).
        """
        state = self._state
        state.index = meta.index
        state.now_ms = max(state.now_ms, meta.now_ms)
        # A tick is harmless when repeated; remembering it would make an idle cluster tick for ever.
        is_numbered = meta.origin != 0 and type(command) is not commands.Tick
        if is_numbered:
            first = state.requests.repeated(meta)
            if first is not None:
                return Applied(first)
        decided = self._decide(meta, command)
        reply = decided if isinstance(decided, Reply) else decided()
        if is_numbered:
            state.requests.remember(meta, reply, state.now_ms)
        return Applied(reply)

    def _decide(self, meta: Meta, command: commands.AnyCommand) -> Decision:
        try:
            return _HANDLERS[type(command)](self._state, meta, command)
        except (MemoryError, RecursionError):
            raise  # depends on this member, not on the command: never a reply
        except Exception as error:  # noqa: BLE001 - the decide edge: a poison command must not stop the cluster
            refused = Refused(Reason.INTERNAL, type(error).__name__)
            return lambda: self._count_internal(refused)

    def _count_internal(self, refused: Refused) -> AnyReply:
        self._state.internal_errors += 1
        return refused

    def dump(self) -> bytes:
        """Return the state as of the last applied entry; equal states give equal bytes."""
        return snapshot.dump(self._state)

    @classmethod
    def load(cls, data: bytes) -> "StateMachine":
        """Return the machine of a dump.

        Raises:
            snapshot.UnknownSnapshot: not a dump this version knows.
        """
        machine = cls()
        machine._state = snapshot.load(data)
        return machine

    def begin_capture(self, first_page: int) -> Capture:
        """Return the state as of the last applied entry in pages, to be collected while it goes on changing.

        New pages are numbered from `first_page` on. A capture has to end before the next one begins.
        """
        return snapshot.begin_capture(self._state, first_page)

    @classmethod
    def load_capture(cls, root: bytes, reader: Reader) -> "StateMachine":
        """Return the machine of a capture.

        Raises:
            snapshot.UnknownSnapshot: not a capture this version knows.
        """
        machine = cls()
        machine._state = snapshot.load_capture(root, reader)
        return machine

    def check_invariants(self) -> None:
        """Raise AssertionError when the state contradicts itself; for tests and diagnosis."""
        check_invariants(self._state)
