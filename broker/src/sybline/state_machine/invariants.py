"""What must hold after every command. Called by tests and by diagnosis, never on the way of a command.

Raises AssertionError; a broken invariant is a bug of the state machine, never the fault of a command.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

from sybline import limits
from sybline.state_machine import dead_letters
from sybline.state_machine.pieces import Piece, Pieces
from sybline.state_machine.queue import Queue

if TYPE_CHECKING:
    from sybline.state_machine.state import State


def check_invariants(state: "State") -> None:
    """Raise AssertionError when the state contradicts itself."""
    state.accounts.check_invariants()
    state.sessions.check_invariants()
    state.idempotency.check_invariants()
    state.retries.check_invariants()
    state.requests.check_invariants()
    for queue in state.queues.values():
        _check_lists(queue)
        _check_sums(queue)
        _check_leases(state, queue)
        _check_origins(queue)
        _check_family(state, queue)
    _check_routing(state)
    _check_people(state)
    _check_computed(state)


def _check_lists(queue: Queue) -> None:
    """Each list is sorted, and no message is in two of them (L-3, P-6)."""
    ranges: list[tuple[int, int]] = []
    for pieces in (queue.returned, queue.leased, queue.parked.pieces):
        found = _ranges(pieces)
        assert found == sorted(found), "pieces are sorted"
        assert sum(stop - start for start, stop in found) == pieces.messages
        ranges += found
    below = max((stop for _, stop in ranges), default=0)
    fresh = [(run.key, run.key + run.messages) for run in queue.fresh.iterate()]
    assert sum(stop - start for start, stop in fresh) == queue.fresh.messages
    assert len(fresh) == len(queue.fresh)
    assert not fresh or below <= fresh[0][0], "what has a history comes before what has none"
    ranges = sorted(ranges) + fresh
    for (_, stop), (start, _) in pairwise(ranges):
        assert stop <= start, "no message is in two places"
    assert not ranges or ranges[-1][1] - 1 <= queue.last_key
    assert sorted(map(_key, queue.parked.pieces)) == sorted(
        parked.piece.key for parked in queue.parked
    )


def _ranges(pieces: Pieces) -> list[tuple[int, int]]:
    found = [(piece.key, piece.end) for piece in pieces]
    assert all(start < stop for start, stop in found), "no piece is empty"
    return found


def _key(piece: Piece) -> int:
    return piece.key


def _check_sums(queue: Queue) -> None:
    """Counters and bytes equal what they count (B-3)."""
    held_bytes = sum(run.messages * run.size_bytes for run in queue.fresh.iterate())
    for pieces in (queue.returned, queue.leased, queue.parked.pieces):
        held_bytes += sum(piece.count * piece.size_bytes for piece in pieces)
    assert held_bytes == queue.bytes, "bytes are exact"
    counters = queue.counted
    came = counters.published + counters.moved_in
    left = (
        counters.settled
        + counters.redriven
        + sum(counters.dead_lettered.values())
        + sum(counters.removed.values())
    )
    assert came == left + queue.held, "every message is accounted for (G-3)"


def _check_leases(state: "State", queue: Queue) -> None:
    held = 0
    for consumer, holding in queue.holdings.items():
        assert consumer, "nobody holds nothing (N-7)"
        messages = 0
        assert holding.messages <= limits.LEASED_PER_CONSUMER_MAX
        for key, deadline_ms in holding.deadlines.items():
            piece = queue.leased.at(key)
            assert piece is not None
            assert (piece.key, piece.holder) == (key, consumer)
            assert holding.due_ms <= piece.deadline_ms == deadline_ms
            assert piece.acquired_count > 0
            messages += piece.count
        assert holding.messages == messages
        held += holding.messages
        assert state.holders[consumer][queue.number] is queue
    assert held == queue.leased.messages
    assert len(queue.holdings) <= limits.CONSUMERS_PER_QUEUE_MAX


def _check_origins(queue: Queue) -> None:
    for key in queue.origins:
        origin = queue.origins.get(key)
        assert origin is not None
        assert queue.origins.key_of(origin.position) == key
        assert queue.holds_position(origin.position)
        assert (
            queue.fresh.holds(key)
            or queue.returned.at(key) is not None
            or queue.leased.at(key) is not None
            or queue.parked.pieces.at(key) is not None
        ), "no record outlives its message"


def _check_family(state: "State", queue: Queue) -> None:
    if queue.owner is not None:
        assert queue.owner.dead_letters is queue
        assert queue.dead_letter_of == queue.owner.name
    if queue.dead_letters is not None:
        assert queue.dead_letters.owner is queue
        assert queue.config.dead_letter
    assert state.numbers[queue.number] is queue
    assert queue.keys or queue.dead_letter_of, "an ordinary queue has a binding (R-4)"
    if dead_letters.has_due(queue):
        assert queue.number in state.unparking, (
            "parked messages move as soon as there is room (D-4)"
        )


def _check_routing(state: "State") -> None:
    bindings = 0
    for key, queues in state.routing.keys.items():
        assert queues, "a key without queues does not exist (R-2)"
        assert len({queue.name for queue in queues}) == len(queues), "one copy a message (R-3)"
        for queue in queues:
            assert state.queues[queue.name] is queue, "no binding outlives its queue (Q-4)"
            assert key in queue.keys
        bindings += len(queues)
    assert bindings == state.routing.bindings
    assert bindings == sum(len(queue.keys) for queue in state.queues.values())


def _check_people(state: "State") -> None:
    for session in state.sessions:
        assert state.accounts.user(session.user) is not None, "no session outlives its user (U-3)"
    for consumer in state.holders:
        assert state.sessions.get(consumer) is not None, "no lease outlives its session (S-5)"


def _check_computed(state: "State") -> None:
    assert len(state.numbers) == len(state.queues)
    assert state.holdings == sum(len(queue.holdings) for queue in state.queues.values())
    assert state.holdings == sum(map(len, state.holders.values()))
    for queue in state.queues.values():
        for holding in queue.holdings.values():
            first = state.dues.first(state.numbers)
            assert first is not None
            assert first[0] <= holding.due_ms, "no deadline is forgotten"
