"""Access lists of queues: who may publish to and fetch from a queue besides what roles permit (A-5).

A list that an administrator emptied restricts nobody; a list whose last user was deleted serves nobody.
"""

from typing import TYPE_CHECKING, Final

from sybline import limits
from sybline.state_machine.access import authorise
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import SetQueueAccess
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.queue import Queue
from sybline.state_machine.replies import AnyReply, Done, Reason, Refused

if TYPE_CHECKING:
    from sybline.state_machine.state import State

ROLE_PREFIX: Final = "role:"


def may_produce(state: "State", queue: Queue, user: str) -> bool:
    """Return whether the queue's access list lets the user publish."""
    return queue.producers is None or _is_listed(state, queue.producers, user)


def may_consume(state: "State", queue: Queue, user: str) -> bool:
    """Return whether the queue's access list lets the user fetch."""
    return queue.consumers is None or _is_listed(state, queue.consumers, user)


def _is_listed(state: "State", entries: frozenset[str], user: str) -> bool:
    return user in entries or any(
        ROLE_PREFIX + role in entries for role in state.accounts.roles_of(user)
    )


def forget_user(queue: Queue, user: str) -> None:
    """Remove a user that is deleted (U-3)."""
    if user in (queue.producers or ()) or user in (queue.consumers or ()):
        queue.changes()
    if queue.producers is not None:
        queue.producers -= {user}
    if queue.consumers is not None:
        queue.consumers -= {user}


def decide_set_queue_access(state: "State", meta: Meta, command: SetQueueAccess) -> Decision:
    """Decide the replacement of a queue's access list."""
    refused = authorise(state, command.caller, Action.MANAGE_QUEUE_ACCESS, ())
    if refused is not None:
        return refused
    queue = state.queues.get(command.queue)
    if queue is None:
        return Refused(Reason.QUEUE_NOT_FOUND, command.queue)
    if max(len(command.producers), len(command.consumers)) > limits.ACCESS_LIST_ENTRIES_MAX:
        return Refused(Reason.LIMIT, "entries of an access list", (limits.ACCESS_LIST_ENTRIES_MAX,))
    producers, consumers = _restriction(command.producers), _restriction(command.consumers)
    if (producers, consumers) == (queue.producers, queue.consumers):
        return Done(changed=False)

    def change() -> AnyReply:
        queue.changes()
        queue.producers = producers
        queue.consumers = consumers
        return Done()

    return change


def _restriction(entries: tuple[str, ...]) -> frozenset[str] | None:
    return frozenset(entries) if entries else None
