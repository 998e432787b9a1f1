"""Purge and redrive: what an administrator does with many messages at once (Q-7, D-7)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sybline import limits
from sybline.state_machine import dead_letters
from sybline.state_machine.access import authorise
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Purge, Redrive
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.pieces import Piece
from sybline.state_machine.queue import Queue, count
from sybline.state_machine.replies import AnyReply, Moved, Reason, Refused

if TYPE_CHECKING:
    from sybline.state_machine.state import State


def decide_purge(state: "State", meta: Meta, command: Purge) -> Decision:
    """Decide the removal of everything that nobody leases, or of everything."""
    refused = authorise(state, command.caller, Action.PURGE_QUEUE, (command.queue,))
    if refused is not None:
        return refused
    queue = state.queues.get(command.queue)
    if queue is None:
        return Refused(Reason.QUEUE_NOT_FOUND, command.queue)
    stay = 0 if command.include_leased else queue.leased.messages
    if queue.held == stay:
        return Moved(0)

    def change() -> AnyReply:
        removed = queue.held - stay
        if command.include_leased:
            for piece in list(queue.leased):  # a copy: pieces leave meanwhile
                queue.end_lease(piece)
        _remove_unleased(queue)
        count(queue.counters.removed, dead_letters.PURGED, removed)
        dead_letters.room_made(state, queue)
        return Moved(removed)

    return change


def _remove_unleased(queue: Queue) -> None:
    queue.fresh.clear()
    queue.returned.clear()
    queue.parked.clear()
    queue.bytes = sum(piece.count * piece.size_bytes for piece in queue.leased)
    queue.origins.keep_only((piece.key, piece.count) for piece in queue.leased)


def decide_redrive(state: "State", meta: Meta, command: Redrive) -> Decision:
    """Decide the return of dead letters, oldest first, to where they came from or to a named queue."""
    queues = (command.queue, command.target) if command.target else (command.queue,)
    refused = authorise(state, command.caller, Action.REDRIVE_QUEUE, queues)
    if refused is not None:
        return refused
    source = state.queues.get(command.queue)
    if source is None:
        return Refused(Reason.QUEUE_NOT_FOUND, command.queue)
    if not source.dead_letter_of:
        return Refused(Reason.NOT_DEAD_LETTER, source.name)
    if command.target and command.target not in state.queues:
        return Refused(Reason.QUEUE_NOT_FOUND, command.target)
    amount = min(command.amount, limits.MOVES_PER_COMMAND_MAX)
    if amount <= 0 or not source.ready or command.target == source.name:
        return Moved(0)
    first = _target_name(source, _first_key(source), command.target)
    if first not in state.queues:
        return Refused(Reason.QUEUE_NOT_FOUND, first)

    def change() -> AnyReply:
        moved = _redrive(state, source, command.target, amount)
        dead_letters.room_made(state, source)
        return Moved(moved)

    return change


def _first_key(source: Queue) -> int:
    piece = source.returned.first()
    if piece is not None:
        return piece.key
    run = source.fresh.first()
    assert run is not None
    return run.key


def _target_name(source: Queue, key: int, target: str) -> str:
    """Return where a dead letter goes: the named queue, or its origin."""
    if target:
        return target
    origin = source.origins.get(key)
    if origin is None or origin.facts is None:
        return source.dead_letter_of  # it was published to the dead-letter queue itself
    return origin.facts.queue


def _redrive(state: "State", source: Queue, target: str, amount: int) -> int:
    left = amount
    while left and source.ready:
        piece = _take_first(source, left)
        moved = _move(state, source, piece, target)
        left -= moved
        if moved < piece.count:
            _put_back(source, piece, moved)
            break
    return amount - left


def _take_first(source: Queue, messages: int) -> Piece:
    """Take up to `messages` ready messages out, the oldest first."""
    piece = source.returned.first()
    if piece is not None:
        return source.take_returned(piece.key, min(piece.count, messages))
    run = source.fresh.first()
    assert run is not None
    taken = min(run.messages, messages)
    source.fresh.drop(*((1, 0) if taken == run.messages else (0, taken)))
    return Piece(run.key, taken, run.size_bytes, run.entered_s)


def _move(state: "State", source: Queue, piece: Piece, target: str) -> int:
    moved = 0
    for name, messages in list(_parts(source, piece, target)):
        queue = state.queues.get(name)
        if queue is None:
            break
        part = Piece(piece.key + moved, messages, piece.size_bytes, piece.entered_s)
        gone = dead_letters.transfer(state, source, queue, part, messages=messages, facts=None)
        source.counters.redriven += gone
        moved += gone
        if gone < messages:
            break
    return moved


def _parts(source: Queue, piece: Piece, target: str) -> Iterator[tuple[str, int]]:
    """Yield the messages of a piece by the queue they go to, in order."""
    name, messages = _target_name(source, piece.key, target), 0
    for key in range(piece.key, piece.end):
        other = _target_name(source, key, target)
        if other != name:
            yield name, messages
            name, messages = other, 0
        messages += 1
    yield name, messages


def _put_back(source: Queue, piece: Piece, moved: int) -> None:
    """Put what found no room back; it keeps its place, because returned messages come before fresh ones."""
    source.returned.add(piece.split(moved) if moved else piece)
