"""Who may do what: the one check that the door asks before proposing and apply asks again (A-1 to A-4).

Says nothing about what exists. Access lists of queues come on top, see `queue_access`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Caller
from sybline.state_machine.replies import Reason, Refused

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_UNAUTHENTICATED: Final = Refused(Reason.UNAUTHENTICATED)


def authenticate(state: "State", caller: Caller) -> Refused | None:
    """Return why the caller is nobody; None: its session has a live token. Who has a session exists (U-3)."""
    session = state.sessions.get(caller.consumer)
    if session is None or session.user != caller.user or session.live_until_ms <= state.now_ms:
        return _UNAUTHENTICATED
    return None


def authorise(
    state: "State", caller: Caller, action: Action, entities: Sequence[str]
) -> Refused | None:
    """Return why the caller may not do this to every one of the entities; None: it may.

    Administrative actions have no entity. The first entity that is refused is named.
    """
    refused = authenticate(state, caller)
    if refused is not None:
        return refused
    grant = state.accounts.rights_of(caller.user).get(action)
    if grant is None:
        return forbidden(action, entities[0] if entities else "")
    if not grant.is_unlimited:
        for entity in entities:
            if not grant.permits(entity):
                return forbidden(action, entity)
    return None


def forbidden(action: Action, subject: str) -> Refused:
    """Return the denial of an action on something."""
    return Refused(Reason.FORBIDDEN, subject, (action.value,))
