"""Fetching: what a Checkout renews and leases, and how much of it fits into the answer (L-1, L-2, L-5, O-2, Z-3)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from sybline import limits
from sybline.state_machine import leases
from sybline.state_machine.access import authorise
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Caller, Checkout
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.pieces import Piece
from sybline.state_machine.queue import Holding, Queue
from sybline.state_machine.queue_access import may_consume
from sybline.state_machine.replies import AnyReply, CheckedOut, Delivery, Reason, Refused
from sybline.state_machine.runs import Run

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_ID_FIELD_BYTES: Final = 2 + limits.MESSAGE_ID_BYTES


def encoded_bytes(size_bytes: int) -> int:
    """Return what one message adds to an encoded MessageCollection (Z-3)."""
    body = 1 + _varint_bytes(size_bytes) + size_bytes if size_bytes else 0  # empty: left out
    inner = _ID_FIELD_BYTES + body
    return 1 + _varint_bytes(inner) + inner


def _varint_bytes(value: int) -> int:
    return max(1, (value.bit_length() + 6) // 7)


class _Basket:
    """What still fits into an answer. A message larger than all of it travels alone."""

    __slots__ = ("bytes", "is_empty", "is_full", "messages")

    def __init__(self, messages: int, answer_bytes: int) -> None:
        self.messages = messages
        self.bytes = answer_bytes
        self.is_empty = True
        self.is_full = messages <= 0

    def take(self, count: int, size_bytes: int) -> int:
        """Return how many of `count` messages fit, and put them in; order allows no gap."""
        each = encoded_bytes(size_bytes)
        fits = min(count, self.messages, self.bytes // each)
        if self.is_empty and not fits:
            fits = 1
        self.is_empty = False
        self.messages -= fits
        self.bytes = max(0, self.bytes - fits * each)
        self.is_full = fits < count or self.messages == 0
        return fits

    def shrink(self, messages: int) -> None:
        """Take at most so many further messages."""
        self.messages = min(self.messages, messages)
        self.is_full = self.is_full or self.messages <= 0


class _Plan:
    """What a checkout renews and leases: (piece, how many of it), all whole but the last of each list."""

    __slots__ = ("fresh", "renewed", "returned")

    def __init__(self) -> None:
        self.renewed: list[tuple[Piece, int]] = []
        self.returned: list[tuple[Piece, int]] = []
        self.fresh: list[tuple[Run, int]] = []


def decide_checkout(state: "State", meta: Meta, command: Checkout) -> Decision:
    """Decide GetMessages (L-1, L-2)."""
    caller = command.caller
    refused = authorise(state, caller, Action.GET_MESSAGES, (command.queue,))
    if refused is not None:
        return refused
    queue = state.queues.get(command.queue)
    if queue is None:
        return Refused(Reason.QUEUE_NOT_FOUND, command.queue)
    if not caller.consumer:
        return Refused(Reason.UNAUTHENTICATED)  # nobody cannot hold a lease (N-7)
    if not may_consume(state, queue, caller.user):
        return Refused(Reason.FORBIDDEN, queue.name, (Action.GET_MESSAGES.value,))
    plan = _plan(queue, command, state.now_ms)
    if not (plan.renewed or plan.returned or plan.fresh):
        return CheckedOut(())
    is_new = caller.consumer not in queue.holdings
    if is_new and len(queue.holdings) >= limits.CONSUMERS_PER_QUEUE_MAX:
        return Refused(Reason.LIMIT, "consumers of a queue", (limits.CONSUMERS_PER_QUEUE_MAX,))
    return lambda: _carry_out(state, queue, caller, plan, command.lease_ms)


def _plan(queue: Queue, command: Checkout, now_ms: int) -> _Plan:
    plan = _Plan()
    basket = _Basket(min(command.amount, limits.FETCH_AMOUNT_MAX), command.answer_bytes_max)
    consumer = command.caller.consumer
    holding = queue.holdings.get(consumer)
    if holding is not None and holding.deadlines:
        for piece in queue.leased_pieces(holding):
            if basket.is_full:
                break
            if _renewed_until(piece, command.lease_ms, now_ms) <= now_ms:
                continue  # its time is over (L-5): the next tick returns it
            _put(plan.renewed, piece, basket)
        basket.shrink(limits.LEASED_PER_CONSUMER_MAX - holding.messages)
    for piece in queue.returned:
        if basket.is_full:
            break
        if piece.avoid_until_ms > now_ms and piece.holder == consumer:
            continue
        _put(plan.returned, piece, basket)
    for run in queue.fresh.iterate():
        if basket.is_full:
            break
        fits = basket.take(run.messages, run.size_bytes)
        if fits:
            plan.fresh.append((run, fits))
    return plan


def _put(into: list[tuple[Piece, int]], piece: Piece, basket: _Basket) -> None:
    fits = basket.take(piece.count, piece.size_bytes)
    if fits:
        into.append((piece, fits))


def _renewed_until(piece: Piece, lease_ms: int, now_ms: int) -> int:
    return max(
        piece.deadline_ms,
        min(now_ms + lease_ms, piece.since_ms + limits.LEASE_RENEWAL_MS_MAX),
    )


def _carry_out(
    state: "State", queue: Queue, caller: Caller, plan: _Plan, lease_ms: int
) -> AnyReply:
    deadline_ms = state.now_ms + lease_ms
    holding = leases.holding_of(state, queue, caller.consumer, deadline_ms)
    pieces: list[Piece] = []
    for piece, messages in plan.renewed:
        if messages < piece.count:
            queue.split_leased(piece, messages)
        queue.renew(piece, _renewed_until(piece, lease_ms, state.now_ms))
        pieces.append(piece)
    for piece, messages in plan.returned:
        if messages < piece.count:
            queue.returned.split(piece, messages)
        queue.returned.remove(piece)
        queue.counters.redelivered += messages
        pieces.append(_grant(queue, holding, piece, caller.consumer, deadline_ms, state.now_ms))
    for (key, _, size_bytes, entered_s), messages in plan.fresh:
        piece = Piece(key, messages, size_bytes, entered_s)
        pieces.append(_grant(queue, holding, piece, caller.consumer, deadline_ms, state.now_ms))
    _drop_fresh(queue, plan.fresh)
    return CheckedOut(tuple(_deliveries(queue, pieces)))


def _grant(
    queue: Queue, holding: Holding, piece: Piece, consumer: bytes, deadline_ms: int, now_ms: int
) -> Piece:
    piece.acquired_count += 1
    piece.holder = consumer
    piece.deadline_ms = deadline_ms
    piece.since_ms = now_ms
    piece.avoid_until_ms = 0
    queue.lease(holding, piece)
    queue.counters.delivered += piece.count
    return piece


def _drop_fresh(queue: Queue, taken: list[tuple[Run, int]]) -> None:
    if not taken:
        return
    run, messages = taken[-1]
    if messages < run.messages:
        queue.fresh.drop(len(taken) - 1, messages)
    else:
        queue.fresh.drop(len(taken), 0)


def _deliveries(queue: Queue, pieces: list[Piece]) -> Iterable[Delivery]:
    if not len(queue.origins):
        for piece in pieces:
            yield _delivery(piece, piece.key, piece.count)
        return
    for piece in pieces:
        for segment in queue.origins.by_key(piece.key, piece.count):
            yield _delivery(piece, segment.position, segment.messages)


def _delivery(piece: Piece, position: int, messages: int) -> Delivery:
    return Delivery(
        position, messages, piece.size_bytes, piece.delivery_count, piece.acquired_count
    )
