"""Direct routing: which queues a publish with a routing key enters (R-1 to R-6).

Owns the bindings. A key without queues does not exist. Queues of a key keep the order in which they were bound, so
every member names the same queue in an error.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import msgpack

from sybline import limits
from sybline.state_machine.access import authorise
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Bind, Unbind
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.queue import Queue
from sybline.state_machine.replies import AnyReply, Done, Reason, Refused
from sybline.state_machine.tables import Table

if TYPE_CHECKING:
    from sybline.state_machine.state import State


_KEYS_PER_PAGE: Final = 256
_RoutingDump: TypeAlias = list[tuple[str, list[str]]]
_decoder = msgpack.Decoder(_RoutingDump)


def _dump(rows: Iterable[tuple[str, tuple[Queue, ...]]]) -> _RoutingDump:
    return [(key, [queue.name for queue in queues]) for key, queues in rows]


def _encode(rows: dict[str, tuple[Queue, ...]]) -> bytes:
    return msgpack.encode(_dump(rows.items()))


class Routing:
    """The bindings of all keys."""

    __slots__ = ("bindings", "keys")

    def __init__(self) -> None:
        self.keys: Table[str, tuple[Queue, ...]] = Table(_KEYS_PER_PAGE, _encode)
        self.bindings = 0

    def refusal(self, key: str) -> Refused | None:
        """Return why no queue can be bound to the key; None: one can."""
        if self.bindings >= limits.BINDINGS_MAX:
            return Refused(Reason.LIMIT, "bindings", (limits.BINDINGS_MAX,))
        if len(self.keys.get(key) or ()) >= limits.QUEUES_PER_KEY_MAX:
            return Refused(Reason.LIMIT, "queues of a routing key", (limits.QUEUES_PER_KEY_MAX,))
        return None

    def bind(self, key: str, queue: Queue) -> None:
        """Add a binding that does not exist."""
        self.keys.put(key, (*(self.keys.get(key) or ()), queue))
        queue.keys[key] = None
        self.bindings += 1

    def unbind(self, key: str, queue: Queue) -> None:
        """Remove a binding that exists; a key left without queues disappears."""
        rest = tuple(other for other in self.keys[key] if other is not queue)
        if rest:
            self.keys.put(key, rest)
        else:
            self.keys.remove(key)
        del queue.keys[key]
        self.bindings -= 1

    def unbind_all(self, queue: Queue) -> None:
        """Remove every binding of a queue (Q-4)."""
        for key in list(queue.keys):
            self.unbind(key, queue)

    def dump(self) -> list[tuple[str, list[str]]]:
        """Return the keys and the names of their queues, in order."""
        return _dump(self.keys.items())

    @classmethod
    def load(cls, dump: list[tuple[str, list[str]]], queues: dict[str, Queue]) -> "Routing":
        """Return the bindings of a dump."""
        routing = cls()
        for key, names in dump:
            for name in names:
                routing.bind(key, queues[name])
        return routing

    def capture(self, capture: Capture) -> bytes:
        """Include all bindings and return the numbers of their pages."""
        return self.keys.capture(capture)

    @classmethod
    def load_pages(cls, pages: bytes, reader: Reader, queues: dict[str, Queue]) -> "Routing":
        """Return the bindings in pages."""

        def decode(page: bytes) -> Iterator[tuple[str, tuple[Queue, ...]]]:
            for key, names in _decoder.decode(page):
                yield key, tuple(queues[name] for name in names)

        routing = cls()
        routing.keys.load(pages, reader, decode)
        for key, bound in routing.keys.items():
            routing.bindings += len(bound)
            for queue in bound:
                queue.keys[key] = None
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
