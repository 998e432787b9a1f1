"""The state as bytes, in two forms with a format version each. What can be computed is left out of both.

A dump is one piece, and equal states give equal bytes, whatever way led to them: columns are joined, and tables are
written in the order in which they are iterated. A capture is for checkpoints: a root and pages, of which only those
that changed since the last one are new. A restored state iterates in the same order as the original.
"""

from array import array
from typing import Final

import msgspec
from msgspec import Struct

from sybline.state_machine import accounts, dead_letters, dedup, requests, retries, sessions
from sybline.state_machine.columns import column_bytes, column_from
from sybline.state_machine.origins import OriginsDump
from sybline.state_machine.pages import NUMBERS as PAGE_NUMBERS
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.pieces import Piece
from sybline.state_machine.queue import (
    Counters,
    Holding,
    Parked,
    Queue,
    QueueConfig,
    sorted_names,
)
from sybline.state_machine.routing import Routing
from sybline.state_machine.runs import RunsDump
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
        producers=sorted_names(queue.producers),
        consumers=sorted_names(queue.consumers),
        fresh=queue.fresh.dump(),
        returned=list(queue.returned),
        leased=list(queue.leased),
        parked=list(queue.parked),
        origins=queue.origins.dump(),
        holdings=sorted((consumer, held.due_ms) for consumer, held in queue.holdings.items()),
        bytes=queue.bytes,
        last_key=queue.last_key,
        counters=queue.counted,
    )


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
    _join_owners(state, {queue.name: queue.owner for queue in stored.queues})
    _compute(state)
    return state


class Root(Struct, frozen=True, array_like=True):
    """What leads to all pages of a state."""

    format_version: int
    index: int
    now_ms: int
    next_number: int
    deleted_messages: int
    internal_errors: int
    queues: bytes
    routing: bytes
    idempotency: bytes
    retries: bytes
    requests: bytes
    accounts: accounts.AccountsPages
    sessions: bytes


_root_decoder = msgspec.msgpack.Decoder(Root)


def begin_capture(state: State, first_page: int) -> Capture:
    """Return the state as of now, to be collected while it goes on changing."""
    capture = Capture(first_page)
    queues = [queue.include_in(capture) for queue in state.queues.values()]
    root = Root(
        format_version=FORMAT_VERSION,
        index=state.index,
        now_ms=state.now_ms,
        next_number=state.next_number,
        deleted_messages=state.deleted_messages,
        internal_errors=state.internal_errors,
        queues=column_bytes(array(PAGE_NUMBERS, queues)),
        routing=state.routing.capture(capture),
        idempotency=state.idempotency.capture(capture),
        retries=state.retries.capture(capture),
        requests=state.requests.capture(capture),
        accounts=state.accounts.capture(capture),
        sessions=state.sessions.capture(capture),
    )
    capture.set_root(_encoder.encode(root))
    return capture


def load_capture(data: bytes, reader: Reader) -> State:
    """Return the state of a capture, from its root and its pages.

    Raises:
        UnknownSnapshot: it was not written by a version of this format.
    """
    try:
        return _load_capture(_root_decoder.decode(data), reader)
    except msgspec.DecodeError as error:
        raise UnknownSnapshot(str(error)) from error


def _load_capture(root: Root, reader: Reader) -> State:
    if root.format_version != FORMAT_VERSION:
        raise UnknownSnapshot(f"format {root.format_version}, known is {FORMAT_VERSION}")
    state = State()
    state.index = root.index
    state.now_ms = root.now_ms
    state.next_number = root.next_number
    state.deleted_messages = root.deleted_messages
    state.internal_errors = root.internal_errors
    owners: dict[str, str] = {}
    for number in column_from(PAGE_NUMBERS, root.queues):
        queue, owner = Queue.decode(reader.read(number), reader)
        state.queues[queue.name] = queue
        owners[queue.name] = owner
        reader.adopt(queue, number)
    state.routing = Routing.load_pages(root.routing, reader, state.queues)
    state.idempotency = dedup.IdempotencyKeys.load_pages(root.idempotency, reader)
    state.retries = retries.Retries.load_pages(root.retries, reader)
    state.requests = requests.Requests.load_pages(root.requests, reader)
    state.accounts = accounts.Accounts.load_pages(root.accounts, reader)
    state.sessions = sessions.Sessions.load_pages(root.sessions, reader)
    _join_owners(state, owners)
    _compute(state)
    return state


def _load_queue(stored: QueueDump) -> Queue:
    queue = Queue(stored.number, stored.name, stored.config, stored.dead_letter_of)
    queue.producers = _frozen(stored.producers)
    queue.consumers = _frozen(stored.consumers)
    queue.fresh.load(stored.fresh)
    queue.returned.load(stored.returned)
    for parked in stored.parked:
        queue.parked.add(parked)
    queue.origins.load(stored.origins)
    queue.holdings = {consumer: Holding(due_ms) for consumer, due_ms in stored.holdings}
    for piece in stored.leased:
        queue.lease(queue.holdings[piece.holder], piece)
    queue.bytes = stored.bytes
    queue.last_key = stored.last_key
    queue.restore_counters(stored.counters)
    return queue


def _frozen(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _join_owners(state: State, owners: dict[str, str]) -> None:
    for name, owner_name in owners.items():
        if owner_name:
            letters, owner = state.queues[name], state.queues[owner_name]
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
