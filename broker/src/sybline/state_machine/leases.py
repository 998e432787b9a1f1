"""How long leases last and how they end: the table of deadlines, release and expiry (L-3, L-4, S-4, S-5).

Checkout grants them. What a failed attempt leads to is `dead_letters`' business.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from sybline.state_machine import dead_letters
from sybline.state_machine.pieces import Piece
from sybline.state_machine.queue import Holding, Queue

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_STALE_DUES: Final = 1024


class Dues:
    """When a tick must look at which holding: a heap that holds each holding's `due_ms`, and stale entries.

    Not part of a checkpoint and without influence on results: an entry counts only if the holding agrees with it.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, bytes]] = []

    def add(self, due_ms: int, queue: Queue, consumer: bytes) -> None:
        """Note that the holding is due."""
        heappush(self._heap, (due_ms, queue.number, consumer))

    def first(self, numbers: dict[int, Queue]) -> tuple[int, Queue, bytes] | None:
        """Return the holding that is due first, by (time, queue, consumer)."""
        heap = self._heap
        while heap:
            due_ms, number, consumer = heap[0]
            queue = numbers.get(number)
            holding = queue.holdings.get(consumer) if queue is not None else None
            if queue is not None and holding is not None and holding.due_ms == due_ms:
                return due_ms, queue, consumer
            heappop(heap)
        return None

    def rebuild(self, queues: Iterable[Queue]) -> None:
        """Start again from what is held."""
        self._heap = [
            (holding.due_ms, queue.number, consumer)
            for queue in queues
            for consumer, holding in queue.holdings.items()
        ]
        heapify(self._heap)

    def compact(self, queues: Iterable[Queue], holdings: int) -> None:
        """Drop stale entries when there are more of them than of the others."""
        if len(self._heap) > 2 * holdings + _STALE_DUES:
            self.rebuild(queues)


def holding_of(state: "State", queue: Queue, consumer: bytes, deadline_ms: int) -> Holding:
    """Return the consumer's holding, new if need be, that is looked at by the deadline."""
    queue.changes()
    holding = queue.holdings.get(consumer)
    if holding is None:
        holding = queue.holdings[consumer] = Holding(deadline_ms)
        state.holders.setdefault(consumer, {})[queue.number] = queue
        state.holdings += 1
        state.dues.add(deadline_ms, queue, consumer)
    elif deadline_ms < holding.due_ms:
        holding.due_ms = deadline_ms
        state.dues.add(deadline_ms, queue, consumer)
    return holding


def release(state: "State", consumer: bytes, *, counted: bool) -> int:
    """Return all that a consumer leases, in every queue (S-4, S-5); return the pieces of work done."""
    work = 0
    for number in sorted(state.holders.get(consumer, ())):
        queue = state.numbers[number]
        for piece in queue.leased_pieces(queue.holdings[consumer]):
            queue.end_lease(piece)
            piece.holder = b""
            if counted:
                dead_letters.fail(state, queue, piece, by_client=False)
            else:
                _give_back(queue, piece)
            work += 1
        drop_holding(state, queue, consumer)
    return work


def _give_back(queue: Queue, piece: Piece) -> None:
    piece.deadline_ms = piece.since_ms = 0
    queue.counters.returned += piece.count
    queue.returned.add(piece)


def drop_holding(state: "State", queue: Queue, consumer: bytes) -> None:
    """Forget a holding that is empty."""
    queue.changes()
    del queue.holdings[consumer]
    state.holdings -= 1
    queues = state.holders[consumer]
    del queues[queue.number]
    if not queues:
        del state.holders[consumer]


def expire(state: "State", now_ms: int, budget: int) -> int:
    """End leases whose deadline has passed, in the order of (due time, queue, consumer); return the work done.

    One piece is one unit; where messages move to a dead-letter queue, each is one.
    """
    used = 0
    while used < budget:
        due = state.dues.first(state.numbers)
        if due is None or due[0] > now_ms:
            break
        used += 1 + _expire_holding(state, due[1], due[2], now_ms, budget - used - 1)
    state.dues.compact(state.queues.values(), state.holdings)
    return used


def _expire_holding(state: "State", queue: Queue, consumer: bytes, now_ms: int, budget: int) -> int:
    holding = queue.holdings[consumer]
    used = 0
    for key in [key for key in holding.sorted_keys() if holding.deadlines[key] <= now_ms]:
        piece = queue.leased.at(key)
        assert piece is not None
        if used >= budget:
            return used  # the holding stays due: the next tick goes on
        if _would_move(queue, piece) and piece.count > budget - used:
            queue.split_leased(piece, budget - used)
        used += piece.count if _would_move(queue, piece) else 1
        queue.end_lease(piece)
        dead_letters.fail(state, queue, piece, by_client=False)
    _look_again(state, queue, consumer, holding)
    return used


def _would_move(queue: Queue, piece: Piece) -> bool:
    limit = queue.delivery_limit
    return (
        queue.dead_letters is not None and limit is not None and piece.delivery_count + 1 >= limit
    )


def _look_again(state: "State", queue: Queue, consumer: bytes, holding: Holding) -> None:
    queue.changes()
    if not holding.deadlines:
        drop_holding(state, queue, consumer)
        return
    holding.due_ms = min(holding.deadlines.values())
    state.dues.add(holding.due_ms, queue, consumer)
