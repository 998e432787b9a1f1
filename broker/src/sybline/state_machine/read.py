"""What the edge may ask the local state: reads that change nothing and enter no log.

Stale unless the caller went through a barrier first. Answers are values, never parts of the state.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from sybline.state_machine import expiry, live_bodies, queue_access
from sybline.state_machine.live_bodies import LiveRuns
from sybline.state_machine.queue import Counters, Queue
from sybline.state_machine.replies import AnyReply

if TYPE_CHECKING:
    from sybline.state_machine.state import State


class QueueStats(Struct, frozen=True):
    """One queue as metrics and listings show it; `counters` is a copy."""

    name: str
    size: int
    retry_limit: int
    max_bytes: int
    dead_letters: str  # name of its dead-letter queue; "": none
    owner: str  # dead-letter queue: whose; "": of nobody
    keys: tuple[str, ...]  # sorted
    ready: int
    leased: int
    delayed: int
    parked: int
    bytes: int
    consumers: int  # sessions that fetched here lately
    oldest_ms: int | None  # when its oldest message entered, to the second; None: empty
    counters: Counters


class QueueReads:
    """Reads of queues, routes and requests."""

    _state: "State"

    @property
    def now_ms(self) -> int:
        """Return the log time of the last applied entry."""
        return self._state.now_ms

    @property
    def applied_index(self) -> int:
        """Return the index of the last applied command."""
        return self._state.index

    @property
    def internal_errors(self) -> int:
        """Return how many commands failed while deciding (C-9)."""
        return self._state.internal_errors

    @property
    def deleted_messages(self) -> int:
        """Return how many messages vanished with their queues."""
        return self._state.deleted_messages

    def reply_to(self, origin: int, sequence: int) -> AnyReply | None:
        """Return the first reply of a request; None: not applied, or no longer kept."""
        return self._state.requests.reply_to(origin, sequence)

    def next_due_ms(self) -> int | None:
        """Return the log time at which a Tick has something to do; None: nothing waits for time."""
        return expiry.next_due_ms(self._state)

    def live_bodies(self, start: int, end: int, runs_max: int) -> LiveRuns:
        """Return the messages with a position in [start, end), or in a first part of it, whose bodies are needed."""
        return live_bodies.live_bodies(self._state, start, end, runs_max)

    def has_work(self, queue: str, consumer: bytes) -> bool | None:
        """Return whether a Checkout could lease or renew anything (Q-8); None: unknown queue.

        True also for messages that the consumer is not served for the moment (N-6): only log time can tell.
        """
        found = self._state.queues.get(queue)
        if found is None:
            return None
        holding = found.holdings.get(consumer)
        return found.ready > 0 or (holding is not None and holding.messages > 0)

    def routing_keys(self) -> tuple[str, ...]:
        """Return all routing keys, sorted."""
        return tuple(sorted(self._state.routing.keys))

    def queues_of(self, routing_key: str) -> tuple[str, ...] | None:
        """Return the queues of a key in the order they were bound; None: unknown key."""
        queues = self._state.routing.keys.get(routing_key)
        return None if queues is None else tuple(queue.name for queue in queues)

    def access_list(self, queue: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return producers and consumers of a queue's access list, sorted; None: unknown queue."""
        found = self._state.queues.get(queue)
        if found is None:
            return None
        return tuple(sorted(found.producers or ())), tuple(sorted(found.consumers or ()))

    def may_consume(self, queue: str, user: str) -> bool:
        """Return whether the queue's access list lets the user fetch (A-5); False also for an unknown queue."""
        found = self._state.queues.get(queue)
        return found is not None and queue_access.may_consume(self._state, found, user)

    def queue_count(self) -> int:
        """Return the number of queues."""
        return len(self._state.queues)

    def queue_stats(self) -> Iterator[QueueStats]:
        """Yield all queues in the order of their creation."""
        return map(_stats, self._state.queues.values())

    def queue(self, name: str) -> QueueStats | None:
        """Return one queue; None: unknown."""
        found = self._state.queues.get(name)
        return None if found is None else _stats(found)


def _stats(queue: Queue) -> QueueStats:
    config, counters = queue.config, queue.counted
    return QueueStats(
        name=queue.name,
        size=config.size,
        retry_limit=config.retry_limit,
        max_bytes=config.max_bytes,
        dead_letters=queue.dead_letters.name if queue.dead_letters is not None else "",
        owner=queue.owner.name if queue.owner is not None else "",
        keys=tuple(sorted(queue.keys)),
        ready=queue.ready,
        leased=queue.leased.messages,
        delayed=0,
        parked=queue.parked.messages,
        bytes=queue.bytes,
        consumers=len(queue.holdings),
        oldest_ms=_oldest_ms(queue),
        counters=counters.copied(),
    )


def _oldest_ms(queue: Queue) -> int | None:
    firsts = (
        queue.fresh.first(),
        queue.returned.first(),
        queue.leased.first(),
        queue.parked.pieces.first(),
    )
    return min((first.entered_s * 1000 for first in firsts if first is not None), default=None)
