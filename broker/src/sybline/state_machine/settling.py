"""The answers of consumers to what they lease: Settle, Return, Discard (N-1 to N-8, B-1 to B-4, L-6, G-4).

Owns the judgement of each named message: leased by the caller, still his after expiry, a repeat, leased to another, or
unknown. What can be carried out is, the others are reported (B-4).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from sybline import limits
from sybline.state_machine import dead_letters
from sybline.state_machine.access import authorise
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Caller, Discard, PositionRange, Return, Settle
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.origins import Segment
from sybline.state_machine.pieces import Piece
from sybline.state_machine.queue import Queue
from sybline.state_machine.replies import AnyReply, Reason, Refused, Settled, SettleFailure

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_Step: TypeAlias = Callable[[Piece], None]


class Judgement:
    """Which of the named messages may be acted on."""

    __slots__ = ("failed", "former", "held", "repeated")

    def __init__(self) -> None:
        self.held: list[Segment] = []  # leased by the caller
        self.former: list[Segment] = []  # ready again since the caller's lease expired (L-6)
        self.repeated = 0  # settled or returned by the caller lately (G-4)
        self.failed: list[SettleFailure] = []

    def reply(self) -> Settled:
        """Return the answer, once everything is carried out."""
        messages = sum(segment.messages for segment in (*self.held, *self.former))
        return Settled(messages + self.repeated, tuple(self.failed))


def decide_settle(state: "State", meta: Meta, command: Settle) -> Decision:
    """Decide Ack and BatchAck."""
    action = Action.BATCH_ACK if command.batch else Action.ACK
    judged = _judge_command(state, command, action)
    if isinstance(judged, Refused):
        return judged
    queue, judgement = judged

    def settle(piece: Piece) -> None:
        queue.counters.settled += piece.count
        queue.leave(piece.key, piece.count, piece.size_bytes)

    return _decision(state, queue, command.caller, judgement, held=settle, former=settle)


def decide_return(state: "State", meta: Meta, command: Return) -> Decision:
    """Decide Nack and BatchNack."""
    action = Action.BATCH_ACK if command.batch else Action.ACK
    judged = _judge_command(state, command, action)
    if isinstance(judged, Refused):
        return judged
    queue, judgement = judged

    def note_nacker(piece: Piece) -> None:
        """N-6: the nacker is not served the message for a while, if somebody else is there."""
        if command.others_polling:
            piece.avoid_until_ms = state.now_ms + limits.AVOID_NACKER_MS
        else:
            piece.holder = b""

    def fail(piece: Piece) -> None:
        note_nacker(piece)
        dead_letters.fail(state, queue, piece, by_client=True)

    def give_back(piece: Piece) -> None:
        note_nacker(piece)  # its expiry was counted already (L-6)
        queue.returned.add(piece)

    return _decision(state, queue, command.caller, judgement, held=fail, former=give_back)


def decide_discard(state: "State", meta: Meta, command: Discard) -> Decision:
    """Decide Discard: to the dead-letter queue at once, or away (N-8)."""
    judged = _judge_command(state, command, Action.BATCH_ACK)
    if isinstance(judged, Refused):
        return judged
    queue, judgement = judged

    def discard(piece: Piece) -> None:
        if queue.dead_letters is None:
            dead_letters.remove(queue, piece, dead_letters.DISCARDED)
        else:
            dead_letters.dead_letter(state, queue, piece, dead_letters.DISCARDED)

    return _decision(state, queue, command.caller, judgement, held=discard, former=discard)


def _judge_command(
    state: "State", command: Settle | Return | Discard, action: Action
) -> Refused | tuple[Queue, Judgement]:
    refused = authorise(state, command.caller, action, (command.queue,))
    if refused is not None:
        return refused
    if not command.caller.consumer:
        return Refused(Reason.UNAUTHENTICATED)  # nobody is no identity (N-7)
    queue = state.queues.get(command.queue)
    if queue is None:
        return Refused(Reason.QUEUE_NOT_FOUND, command.queue)
    _check_ranges(command.ranges)
    judgement = Judgement()
    for segment in _segments(queue, command.ranges):
        _judge(state, queue, command.caller.consumer, segment, judgement)
    return queue, judgement


def _check_ranges(ranges: tuple[PositionRange, ...]) -> None:
    """Raise ValueError when the edge has not done its part: sorted, disjoint, within one entry each."""
    end = 0
    for item in ranges:
        number = item.position % limits.BATCH_MESSAGES_MAX
        if item.position < end or not 0 < item.count <= limits.BATCH_MESSAGES_MAX - number:
            raise ValueError(f"range of {item.count} at {item.position}")
        end = item.position + item.count


def _segments(queue: Queue, ranges: tuple[PositionRange, ...]) -> Iterator[Segment]:
    for item in ranges:
        yield from queue.origins.by_position(item.position, item.count)


def _judge(
    state: "State", queue: Queue, consumer: bytes, segment: Segment, judgement: Judgement
) -> None:
    """Sort the messages of a segment by what the caller may do with them."""
    at = segment.key
    end = segment.key + segment.messages
    shift = segment.position - segment.key
    for piece in queue.leased.overlapping(at, end):
        start, stop = max(piece.key, at), min(piece.end, end)
        if at < start:
            _judge_unleased(state, queue, consumer, Segment(at, at + shift, start - at), judgement)
        part = Segment(start, start + shift, stop - start)
        if piece.holder == consumer:
            judgement.held.append(part)
        else:
            _judge_missing(state, queue, consumer, part, Reason.LEASE_LOST, judgement)
        at = stop
    if at < end:
        _judge_unleased(state, queue, consumer, Segment(at, at + shift, end - at), judgement)


def _judge_unleased(
    state: "State", queue: Queue, consumer: bytes, segment: Segment, judgement: Judgement
) -> None:
    at = segment.key
    end = segment.key + segment.messages
    shift = segment.position - segment.key
    unknown = Reason.MESSAGE_NOT_FOUND
    for piece in queue.returned.overlapping(at, end):
        if piece.holder != consumer or piece.avoid_until_ms:
            continue
        start, stop = max(piece.key, at), min(piece.end, end)
        if at < start:
            gap = Segment(at, at + shift, start - at)
            _judge_missing(state, queue, consumer, gap, unknown, judgement)
        judgement.former.append(Segment(start, start + shift, stop - start))
        at = stop
    if at < end:
        gap = Segment(at, at + shift, end - at)
        _judge_missing(state, queue, consumer, gap, unknown, judgement)


def _judge_missing(
    state: "State",
    queue: Queue,
    consumer: bytes,
    segment: Segment,
    reason: Reason,
    judgement: Judgement,
) -> None:
    parts = state.retries.cut(
        consumer, queue.number, segment.position, segment.messages, state.now_ms
    )
    for part in parts:
        if part.lately:
            judgement.repeated += part.messages
        else:
            judgement.failed.append(SettleFailure(part.position, part.messages, reason))


def _decision(
    state: "State",
    queue: Queue,
    caller: Caller,
    judgement: Judgement,
    *,
    held: _Step,
    former: _Step,
) -> Decision:
    if not judgement.held and not judgement.former:
        return judgement.reply()

    def change() -> AnyReply:
        for segment in judgement.held:
            held(queue.take_leased(segment.key, segment.messages))
        for segment in judgement.former:
            former(queue.take_returned(segment.key, segment.messages))
        for segment in (*judgement.held, *judgement.former):
            state.retries.remember(
                caller.consumer, queue.number, segment.position, segment.messages, state.now_ms
            )
        dead_letters.room_made(state, queue)
        return judgement.reply()

    return change
