"""Direct routing: which queues a publish with a routing key enters (R-1 to R-6).

Owns the bindings. A key without queues does not exist. Queues of a key keep the order in which they were bound, so
every member names the same queue in an error.
"""

from typing import TYPE_CHECKING

from sybline import limits
from sybline.state_machine.access import authorise
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Bind, Unbind
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.queue import Queue
from sybline.state_machine.replies import AnyReply, Done, Reason, Refused

if TYPE_CHECKING:
    from sybline.state_machine.state import State


class Routing:
    """The bindings of all keys."""

    __slots__ = ("bindings", "keys")

    def __init__(self) -> None:
        self.keys: dict[str, tuple[Queue, ...]] = {}
        self.bindings = 0

    def refusal(self, key: str) -> Refused | None:
        """Return why no queue can be bound to the key; None: one can."""
        if self.bindings >= limits.BINDINGS_MAX:
            return Refused(Reason.LIMIT, "bindings", (limits.BINDINGS_MAX,))
        if len(self.keys.get(key, ())) >= limits.QUEUES_PER_KEY_MAX:
            return Refused(Reason.LIMIT, "queues of a routing key", (limits.QUEUES_PER_KEY_MAX,))
        return None

    def bind(self, key: str, queue: Queue) -> None:
        """Add a binding that does not exist."""
        self.keys[key] = (*self.keys.get(key, ()), queue)
        queue.keys[key] = None
        self.bindings += 1

    def unbind(self, key: str, queue: Queue) -> None:
        """Remove a binding that exists; a key left without queues disappears."""
        rest = tuple(other for other in self.keys[key] if other is not queue)
        if rest:
            self.keys[key] = rest
        else:
            del self.keys[key]
        del queue.keys[key]
        self.bindings -= 1

    def unbind_all(self, queue: Queue) -> None:
        """Remove every binding of a queue (Q-4)."""
        for key in list(queue.keys):
            self.unbind(key, queue)

    def dump(self) -> list[tuple[str, list[str]]]:
        """Return the keys and the names of their queues, in order."""
        return [(key, [queue.name for queue in queues]) for key, queues in self.keys.items()]

    @classmethod
    def load(cls, dump: list[tuple[str, list[str]]], queues: dict[str, Queue]) -> "Routing":
        """Return the bindings of a dump."""
        routing = cls()
        for key, names in dump:
            for name in names:
                routing.bind(key, queues[name])
        return routing


def decide_bind(state: "State", meta: Meta, command: Bind) -> Decision:
    """Decide AddRoutingKey (R-3)."""
    refused = authorise(state, command.caller, Action.ADD_ROUTING_KEY, ())
    if refused is not None:
        return refused
    queue = state.queues.get(command.queue)
    if queue is None:
        return Refused(Reason.BIND_QUEUE_NOT_FOUND, command.queue)
    if command.routing_key in queue.keys:
        return Done(changed=False)
    refused = state.routing.refusal(command.routing_key)
    if refused is not None:
        return refused

    def change() -> AnyReply:
        state.routing.bind(command.routing_key, queue)
        return Done()

    return change


def decide_unbind(state: "State", meta: Meta, command: Unbind) -> Decision:
    """Decide DeleteRoutingKey (R-4, R-6)."""
    refused = authorise(state, command.caller, Action.DELETE_ROUTING_KEY, ())
    if refused is not None:
        return refused
    queue = state.queues.get(command.queue)
    if queue is None:
        return Refused(Reason.BIND_QUEUE_NOT_FOUND, command.queue)
    if command.routing_key not in queue.keys:
        return Done(changed=False)
    if len(queue.keys) == 1 and not queue.dead_letter_of:
        return Refused(Reason.LAST_BINDING, queue.name)

    def change() -> AnyReply:
        state.routing.unbind(command.routing_key, queue)
        return Done()

    return change
