"""Checkpoints of the state: msgpack with a format version; the file around it has the checksum.

Equal states give equal bytes, whatever way led to them: columns are joined, tables are written in the order in which
they are iterated, and what can be computed is left out. A restored state iterates in the same order as the original.
"""

from typing import Final

import msgspec
from msgspec import Struct

from sybline.state_machine import accounts, dead_letters, dedup, requests, retries, sessions
from sybline.state_machine.origins import Origins, OriginsDump
from sybline.state_machine.pieces import Piece, Pieces
from sybline.state_machine.queue import Counters, Holding, Parked, Queue, QueueConfig
from sybline.state_machine.routing import Routing
from sybline.state_machine.runs import Runs, RunsDump
from sybline.state_machine.state import State

FORMAT_VERSION: Final = 1


class UnknownSnapshot(Exception):
    """The bytes are no state this version knows; the member must not start with them."""


class QueueDump(Struct, frozen=True, array_like=True):
    """One queue; leased pieces name their holders."""

    number: int
    name: str
    config: QueueConfig
    dead_letter_of: str
    owner: str  # "": none
    producers: list[str] | None  # sorted
    consumers: list[str] | None
    fresh: RunsDump
    returned: list[Piece]
    leased: list[Piece]
    parked: list[Parked]
    origins: OriginsDump
    holdings: list[tuple[bytes, int]]  # consumer, due_ms; sorted
    bytes: int
    last_key: int
    counters: Counters


class Snapshot(Struct, frozen=True, array_like=True):
    """The whole state."""

    format_version: int
    index: int
    now_ms: int
    next_number: int
    deleted_messages: int
    internal_errors: int
    queues: list[QueueDump]
    routing: list[tuple[str, list[str]]]
    idempotency: list[tuple[str, dedup.KeyRecord]]
    retries: list[retries.RangesDump]
    requests: list[requests.OriginDump]
    accounts: accounts.AccountsDump
    sessions: sessions.SessionsDump


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Snapshot)


def dump(state: State) -> bytes:
    """Return the state as bytes."""
    return _encoder.encode(
        Snapshot(
            format_version=FORMAT_VERSION,
            index=state.index,
            now_ms=state.now_ms,
            next_number=state.next_number,
            deleted_messages=state.deleted_messages,
            internal_errors=state.internal_errors,
            queues=[_dump_queue(queue) for queue in state.queues.values()],
            routing=state.routing.dump(),
            idempotency=state.idempotency.dump(),
            retries=state.retries.dump(),
            requests=state.requests.dump(),
            accounts=state.accounts.dump(),
            sessions=state.sessions.dump(),
        )
    )


def _dump_queue(queue: Queue) -> QueueDump:
    return QueueDump(
        number=queue.number,
        name=queue.name,
        config=queue.config,
        dead_letter_of=queue.dead_letter_of,
        owner=queue.owner.name if queue.owner is not None else "",
        producers=_sorted(queue.producers),
        consumers=_sorted(queue.consumers),
        fresh=queue.fresh.dump(),
        returned=list(queue.returned),
        leased=list(queue.leased),
        parked=list(queue.parked.order),
        origins=queue.origins.dump(),
        holdings=sorted((consumer, held.due_ms) for consumer, held in queue.holdings.items()),
        bytes=queue.bytes,
        last_key=queue.last_key,
        counters=queue.counters,
    )


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def load(data: bytes) -> State:
    """Return the state of a dump.

    Raises:
        UnknownSnapshot: it was not written by a version of this format, or it is damaged.
    """
    try:
        stored = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise UnknownSnapshot(str(error)) from error
    if stored.format_version != FORMAT_VERSION:
        raise UnknownSnapshot(f"format {stored.format_version}, known is {FORMAT_VERSION}")
    state = State()
    state.index = stored.index
    state.now_ms = stored.now_ms
    state.next_number = stored.next_number
    state.deleted_messages = stored.deleted_messages
    state.internal_errors = stored.internal_errors
    state.queues = {queue.name: _load_queue(queue) for queue in stored.queues}
    state.routing = Routing.load(stored.routing, state.queues)
    state.idempotency = dedup.IdempotencyKeys.load(stored.idempotency)
    state.retries = retries.Retries.load(stored.retries)
    state.requests = requests.Requests.load(stored.requests)
    state.accounts = accounts.Accounts.load(stored.accounts)
    state.sessions = sessions.Sessions.load(stored.sessions)
    _join_owners(state, stored.queues)
    _compute(state)
    return state


def _load_queue(stored: QueueDump) -> Queue:
    queue = Queue(stored.number, stored.name, stored.config, stored.dead_letter_of)
    queue.producers = _frozen(stored.producers)
    queue.consumers = _frozen(stored.consumers)
    queue.fresh = Runs.load(stored.fresh)
    queue.returned = Pieces(stored.returned)
    for parked in stored.parked:
        queue.parked.add(parked)
    queue.origins = Origins.load(stored.origins)
    queue.holdings = {consumer: Holding(due_ms) for consumer, due_ms in stored.holdings}
    for piece in stored.leased:
        queue.lease(queue.holdings[piece.holder], piece)
    queue.bytes = stored.bytes
    queue.last_key = stored.last_key
    queue.counters = stored.counters
    return queue


def _frozen(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _join_owners(state: State, stored: list[QueueDump]) -> None:
    for dumped in stored:
        if dumped.owner:
            letters, owner = state.queues[dumped.name], state.queues[dumped.owner]
            letters.owner = owner
            owner.dead_letters = letters


def _compute(state: State) -> None:
    """Fill what is not stored."""
    for queue in state.queues.values():
        state.numbers[queue.number] = queue
        state.holdings += len(queue.holdings)
        for consumer in queue.holdings:
            state.holders.setdefault(consumer, {})[queue.number] = queue
        if dead_letters.has_due(queue):
            state.unparking[queue.number] = queue
    state.dues.rebuild(state.queues.values())
