"""What becomes of failed attempts: ready again, dead-lettered, parked or removed (N-3, D-2 to D-5), and moving at all.

All functions here are steps of a change: they cannot fail. Pieces they get were taken out of their state before.
"""

from typing import TYPE_CHECKING, Final

from sybline import limits
from sybline.state_machine.origins import Facts
from sybline.state_machine.pieces import Piece
from sybline.state_machine.queue import Parked, Queue, count

if TYPE_CHECKING:
    from sybline.state_machine.state import State

DELIVERY_LIMIT: Final = "delivery_limit"
DISCARDED: Final = "discarded"
PURGED: Final = "purged"


def fail(state: "State", queue: Queue, piece: Piece, *, by_client: bool) -> None:
    """Count a failed attempt of messages whose lease ended, and put them where N-3 says.

    `by_client`: a nack, which removes messages at the limit where there is no dead-letter queue; expiry and loss of
    the consumer do not. Who may do what with a message that is ready again, the caller has noted in the piece.
    """
    queue.counters.returned += piece.count
    piece.deadline_ms = piece.since_ms = 0
    piece.delivery_count += 1
    piece.last_failed_ms = state.now_ms
    piece.first_failed_ms = piece.first_failed_ms or state.now_ms
    limit = queue.delivery_limit
    if limit is None or piece.delivery_count < limit:
        queue.returned.add(piece)
    elif queue.dead_letters is not None:
        dead_letter(state, queue, piece, DELIVERY_LIMIT)
    elif by_client:
        remove(queue, piece, DELIVERY_LIMIT)
    else:
        queue.counters.over_limit += piece.count
        queue.returned.add(piece)


def remove(queue: Queue, piece: Piece, reason: str) -> None:
    """Remove messages that were not settled, counted by reason (G-3)."""
    count(queue.counters.removed, reason, piece.count)
    queue.leave(piece.key, piece.count, piece.size_bytes)


def dead_letter(state: "State", queue: Queue, piece: Piece, reason: str) -> None:
    """Move messages to the queue's dead-letter queue, or park them behind those that wait for room."""
    moved = 0
    if not queue.parked.messages:
        moved = _bury(state, queue, piece, reason, piece.count)
    if moved == piece.count:
        return
    queue.parked.add(Parked(piece.split(moved) if moved else piece, reason))
    if has_due(queue):
        state.unparking[queue.number] = (
            queue  # this entry has used up its keys: the next one goes on
        )


def room_made(state: "State", queue: Queue) -> None:
    """Move in what is parked, after messages have left a dead-letter queue (D-4)."""
    owner = queue.owner
    if owner is not None and owner.parked.messages:
        unpark(state, owner, limits.MOVES_PER_COMMAND_MAX)
        if has_due(owner):
            state.unparking[owner.number] = owner


def has_due(owner: Queue) -> bool:
    """Return whether a parked message could move."""
    if not owner.parked.messages:
        return False
    assert owner.dead_letters is not None
    return owner.dead_letters.has_room(owner.parked.first().piece.size_bytes)


def unpark(state: "State", owner: Queue, budget: int) -> int:
    """Move up to `budget` parked messages while there is room; return how many."""
    left = budget
    while left and owner.parked.messages:
        first = owner.parked.first()
        moved = _bury(state, owner, first.piece, first.reason, min(left, first.piece.count))
        if not moved:
            break
        owner.parked.take(moved)
        left -= moved
    return budget - left


def _bury(state: "State", queue: Queue, piece: Piece, reason: str, messages: int) -> int:
    target = queue.dead_letters
    assert target is not None
    facts = Facts(
        queue.name,
        reason,
        piece.delivery_count,
        piece.first_failed_ms,
        piece.last_failed_ms,
    )
    moved = transfer(state, queue, target, piece, messages=messages, facts=facts)
    if moved:
        count(queue.counters.dead_lettered, reason, moved)
    return moved


def transfer(
    state: "State",
    source: Queue,
    target: Queue,
    piece: Piece,
    *,
    messages: int,
    facts: Facts | None,
) -> int:
    """Move up to `messages` from the front of a piece to the target's tail, while there is room.

    Takes them out of the source's counts and records, not out of its lists. A message that the target holds already
    stays there once (P-6). Returns how many messages left the source.
    """
    left = 0
    for segment in list(source.origins.by_key(piece.key, messages)):
        for position in range(segment.position, segment.position + segment.messages):
            if not _take_in(state, target, position, piece.size_bytes, facts):
                break
            left += 1
        else:
            continue
        break
    source.leave(piece.key, left, piece.size_bytes)
    return left


def _take_in(
    state: "State", target: Queue, position: int, size_bytes: int, facts: Facts | None
) -> bool:
    if target.holds_position(position):
        target.counters.merged += 1
        return True
    key = target.next_key(state.index)
    if key is None or not target.has_room(size_bytes):
        return False
    target.enter(key, 1, size_bytes, state.now_ms)
    target.origins.add(key, position, facts)
    target.counters.moved_in += 1
    return True
