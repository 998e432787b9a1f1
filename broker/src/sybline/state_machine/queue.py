"""One queue: its messages by state, its counts, and the primitive steps that move messages between states.

A message is ready (fresh: never leased; or returned), leased, or parked. Every key of a returned, leased or parked
message is below every fresh one, because messages leave `fresh` at its head only and enter it at its tail only. The
steps cannot fail once decided. No rule is decided here: handlers and `dead_letters` do. A queue has a page of its own;
whoever changes a field of it directly calls `changes` first.
"""

from array import array
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, msgpack, structs

from sybline import limits
from sybline.state_machine.columns import column_from
from sybline.state_machine.origins import Origins
from sybline.state_machine.pages import NUMBERS as PAGE_NUMBERS
from sybline.state_machine.pages import Capture, Chunk, Reader
from sybline.state_machine.pieces import Piece, Pieces
from sybline.state_machine.runs import Runs, RunsPages
from sybline.state_machine.tables import Table

_SECOND_MAX = (1 << 32) - 1


class QueueConfig(Struct, frozen=True, array_like=True):
    """What DeclareQueue fixed."""

    size: int  # messages, in every state
    retry_limit: int  # -1: no limit; 0 means 1
    dead_letter: bool
    max_bytes: int  # 0: no limit


class Counters(Struct, array_like=True):
    """What happened in a queue since it was created; exact on every member."""

    published: int = 0
    moved_in: int = 0  # by dead-lettering or redrive
    merged: int = 0  # moves that found the message already here (P-6)
    delivered: int = 0  # leases granted, renewals not counted
    redelivered: int = 0  # of these, to messages leased before
    settled: int = 0
    returned: int = 0  # leases that ended without settle, discard or purge
    over_limit: int = 0  # returned at the limit, since there is no dead-letter queue (N-3)
    redriven: int = 0  # moved out by redrive
    dead_lettered: dict[str, int] = {}  # moved out, by reason; parked ones not yet
    removed: dict[str, int] = {}  # not settled, by reason
    refused: dict[str, int] = {}  # messages of refused publishes, by reason

    def copied(self) -> "Counters":
        """Return a copy that no later command changes."""
        return structs.replace(
            self,
            dead_lettered=dict(self.dead_lettered),
            removed=dict(self.removed),
            refused=dict(self.refused),
        )


def count(counters: dict[str, int], reason: str, messages: int) -> None:
    """Add to a counter by reason."""
    counters[reason] = counters.get(reason, 0) + messages


class Holding:
    """What one consumer leases in one queue; it stays, perhaps empty, until a tick looks at it at `due_ms`."""

    __slots__ = ("deadlines", "due_ms", "messages")

    def __init__(self, due_ms: int) -> None:
        self.due_ms = due_ms  # at or before the earliest deadline of its pieces
        self.messages = 0
        self.deadlines: dict[int, int] = {}  # of each piece, by key, in no particular order

    def sorted_keys(self) -> list[int]:
        """Return the keys of its pieces."""
        return sorted(self.deadlines)


class Parked(Struct, array_like=True):
    """Dead letters that wait for room in the dead-letter queue."""

    piece: Piece
    reason: str


class Parking:
    """Parked messages in the order of dead-lettering (D-4, D-5)."""

    __slots__ = ("_order", "pieces")

    def __init__(self, owner: Chunk) -> None:
        """`owner`'s page leads to the pages of what is parked."""
        # Reasons by the key behind each piece, which stays while messages are taken off its front.
        self._order: Table[int, str] = Table(_PARKED_PER_PAGE, _encode_order)
        self.pieces = Pieces(owner)

    @property
    def messages(self) -> int:
        return self.pieces.messages

    def __iter__(self) -> Iterator[Parked]:
        for end, reason in self._order.items():
            yield Parked(self._piece(end), reason)

    def _piece(self, end: int) -> Piece:
        piece = self.pieces.at(end - 1)
        assert piece is not None
        return piece

    def first(self) -> Parked:
        """Return what moves first."""
        return next(iter(self))

    def add(self, parked: Parked) -> None:
        """Park behind all others."""
        self.pieces.add(parked.piece)
        self._order.put(parked.piece.end, parked.reason)

    def take(self, messages: int) -> None:
        """Remove the first `messages` of the first piece."""
        piece = self.first().piece
        end = piece.end
        if messages < piece.count:
            self.pieces.split(piece, messages)
        else:
            self._order.remove(end)
        self.pieces.remove(piece)

    def clear(self) -> None:
        """Remove everything."""
        self._order.clear()
        self.pieces.clear()

    def capture(self, capture: Capture) -> "ParkingPages":
        """Include everything and return what leads to it."""
        return ParkingPages(self._order.capture(capture), self.pieces.capture(capture))

    def load_pages(self, saved: "ParkingPages", reader: Reader) -> None:
        """Fill it, while it is empty, from pages."""
        self._order.load(saved.order, reader, _order_decoder.decode)
        self.pieces.load_pages(saved.pieces, reader)


class ParkingPages(Struct, frozen=True, array_like=True):
    """The pages of what is parked."""

    order: bytes
    pieces: bytes


def _encode_order(rows: dict[int, str]) -> bytes:
    return _encoder.encode(list(rows.items()))


_PARKED_PER_PAGE: Final = 1024
_encoder = msgpack.Encoder(order="deterministic")
_order_decoder = msgpack.Decoder(list[tuple[int, str]])


class QueuePage(Struct, frozen=True, array_like=True):
    """A queue but for its messages; pages of these are named by columns of their numbers."""

    number: int
    name: str
    config: QueueConfig
    dead_letter_of: str
    owner: str  # "": none
    producers: list[str] | None  # sorted
    consumers: list[str] | None
    fresh: RunsPages
    returned: bytes
    leased: bytes
    parked: ParkingPages
    origins: bytes
    holdings: list[tuple[bytes, int]]  # consumer, due_ms; sorted
    bytes: int
    last_key: int
    counters: Counters


def sorted_names(names: frozenset[str] | None) -> list[str] | None:
    """Return an access list as it is stored."""
    return None if names is None else sorted(names)


class Queue(Chunk):
    """A queue and everything it holds."""

    __slots__ = (
        "_counters",
        "_pages",
        "bytes",
        "config",
        "consumers",
        "dead_letter_of",
        "dead_letters",
        "fresh",
        "holdings",
        "keys",
        "last_key",
        "leased",
        "name",
        "number",
        "origins",
        "owner",
        "parked",
        "producers",
        "returned",
    )

    def __init__(self, number: int, name: str, config: QueueConfig, dead_letter_of: str) -> None:
        super().__init__()
        self.number = number  # of this incarnation, never used again
        self.name = name
        self.config = config
        self.dead_letter_of = dead_letter_of  # name of the owner it was made for; "": ordinary
        self.owner: Queue | None = None  # dead-letter queue: the owner, while it exists
        self.dead_letters: Queue | None = None  # its dead-letter queue
        self.keys: dict[str, None] = {}  # routing keys bound to it
        self.producers: frozenset[str] | None = None  # None: no restriction
        self.consumers: frozenset[str] | None = None
        self.fresh = Runs(self)
        self.returned = Pieces(self)
        self.leased = Pieces(self)
        self.parked = Parking(self)
        self.origins = Origins(self)
        self.holdings: dict[bytes, Holding] = {}
        self.bytes = 0  # bodies of all messages held
        self.last_key = -1  # largest key ever given
        self._counters = Counters()
        self._pages = array(PAGE_NUMBERS)  # that its page leads to, when it was encoded last

    @property
    def counters(self) -> Counters:
        """Return the counters, to be changed."""
        self.changes()
        return self._counters

    @property
    def counted(self) -> Counters:
        """Return the counters, to be looked at."""
        return self._counters

    # --- what it holds ---
    @property
    def ready(self) -> int:
        """Messages that a consumer may be given."""
        return self.fresh.messages + self.returned.messages

    @property
    def held(self) -> int:
        """Messages in every state (Q-2)."""
        return (
            self.fresh.messages
            + self.returned.messages
            + self.leased.messages
            + self.parked.pieces.messages
        )

    @property
    def delivery_limit(self) -> int | None:
        """Failed attempts after which a message leaves (N-3, N-4); None: no limit (D-3)."""
        if self.dead_letter_of or self.config.retry_limit < 0:
            return None
        return max(1, self.config.retry_limit)

    def has_room(self, size_bytes: int) -> bool:
        """Return whether one more message fits."""
        config = self.config
        return self.held < config.size and (
            config.max_bytes == 0 or self.bytes + size_bytes <= config.max_bytes
        )

    def holds_position(self, position: int) -> bool:
        """Return whether the message is here in any state (P-6)."""
        key = self.origins.key_of(position)
        if key != position:
            return key >= 0
        if len(self.origins) == self.held:
            return False
        return (
            self.fresh.holds(key)
            or self.returned.at(key) is not None
            or self.leased.at(key) is not None
            or self.parked.pieces.at(key) is not None
        )

    # --- in ---
    def enter(self, key: int, messages: int, size_bytes: int, now_ms: int) -> None:
        """Add messages at the tail, as fresh."""
        self.fresh.append(key, messages, size_bytes, min(now_ms // 1000, _SECOND_MAX))
        self.bytes += messages * size_bytes
        self.last_key = key + messages - 1

    def next_key(self, index: int) -> int | None:
        """Return the key for a message that the entry moves in; None: the entry has used up its numbers."""
        key = max(self.last_key + 1, index * limits.BATCH_MESSAGES_MAX)
        return key if key < (index + 1) * limits.BATCH_MESSAGES_MAX else None

    # --- leased ---
    def lease(self, holding: Holding, piece: Piece) -> None:
        """Add a piece that its holder leases from now on."""
        self.leased.add(piece)
        holding.deadlines[piece.key] = piece.deadline_ms
        holding.messages += piece.count

    def leased_pieces(self, holding: Holding) -> Iterator[Piece]:
        """Yield what the holder leases, by rising key; what was yielded may change meanwhile."""
        for key in holding.sorted_keys():
            piece = self.leased.at(key)
            assert piece is not None
            yield piece

    def renew(self, piece: Piece, deadline_ms: int) -> None:
        """Let a lease end later."""
        piece.deadline_ms = deadline_ms
        self.leased.replace(piece)
        self.holdings[piece.holder].deadlines[piece.key] = deadline_ms

    def split_leased(self, piece: Piece, messages: int) -> Piece:
        """Cut a leased piece after `messages` and return the second part; both stay leased."""
        rest = self.leased.split(piece, messages)
        self.holdings[piece.holder].deadlines[rest.key] = rest.deadline_ms
        return rest

    def end_lease(self, piece: Piece) -> None:
        """Take a leased piece out; it is in no state until the caller puts it somewhere."""
        self.leased.remove(piece)
        holding = self.holdings[piece.holder]
        del holding.deadlines[piece.key]
        holding.messages -= piece.count

    def take_leased(self, key: int, messages: int) -> Piece:
        """Take messages out that one leased piece covers."""
        piece = self.leased.at(key)
        assert piece is not None
        if piece.key < key:
            piece = self.split_leased(piece, key - piece.key)
        if piece.count > messages:
            self.split_leased(piece, messages)
        self.end_lease(piece)
        return piece

    # --- returned ---
    def take_returned(self, key: int, messages: int) -> Piece:
        """Take messages out that one returned piece covers."""
        piece = self.returned.at(key)
        assert piece is not None
        if piece.key < key:
            piece = self.returned.split(piece, key - piece.key)
        if piece.count > messages:
            self.returned.split(piece, messages)
        self.returned.remove(piece)
        return piece

    # --- out ---
    def leave(self, key: int, messages: int, size_bytes: int) -> None:
        """Let go of messages that were taken out of their state."""
        self.changes()
        self.bytes -= messages * size_bytes
        self.origins.forget(key, messages)

    # --- checkpoints ---
    def restore_counters(self, counters: Counters) -> None:
        """Set the counters of a saved queue."""
        self._counters = counters

    def include_in(self, capture: Capture) -> int:
        """Include the queue with all it holds and return the number of its page."""
        if self.page:
            capture.include_known(self._pages)
        return capture.include(self)

    def encode(self, capture: Capture) -> bytes:
        below = len(capture.pages())
        page = QueuePage(
            number=self.number,
            name=self.name,
            config=self.config,
            dead_letter_of=self.dead_letter_of,
            owner=self.owner.name if self.owner is not None else "",
            producers=sorted_names(self.producers),
            consumers=sorted_names(self.consumers),
            fresh=self.fresh.capture(capture),
            returned=self.returned.capture(capture),
            leased=self.leased.capture(capture),
            parked=self.parked.capture(capture),
            origins=self.origins.capture(capture),
            holdings=sorted((consumer, held.due_ms) for consumer, held in self.holdings.items()),
            bytes=self.bytes,
            last_key=self.last_key,
            counters=self._counters,
        )
        self._pages = capture.pages()[below:]
        return _encoder.encode(page)

    @classmethod
    def decode(cls, page: bytes, reader: Reader) -> tuple["Queue", str]:
        """Return the queue of a page, and the name of the queue whose dead letters it takes."""
        saved = _page_decoder.decode(page)
        queue = cls(saved.number, saved.name, saved.config, saved.dead_letter_of)
        queue.producers = None if saved.producers is None else frozenset(saved.producers)
        queue.consumers = None if saved.consumers is None else frozenset(saved.consumers)
        queue.fresh.load_pages(saved.fresh, reader)
        queue.returned.load_pages(saved.returned, reader)
        queue.leased.load_pages(saved.leased, reader)
        queue.parked.load_pages(saved.parked, reader)
        queue.origins.load_pages(saved.origins, reader)
        queue.holdings = {consumer: Holding(due_ms) for consumer, due_ms in saved.holdings}
        for piece in queue.leased:
            holding = queue.holdings[piece.holder]
            holding.deadlines[piece.key] = piece.deadline_ms
            holding.messages += piece.count
        queue.bytes = saved.bytes
        queue.last_key = saved.last_key
        queue._counters = saved.counters
        for column in (
            saved.fresh.pages, saved.returned, saved.leased, saved.parked.order,
            saved.parked.pieces, saved.origins,
        ):  # fmt: skip
            queue._pages.extend(column_from(PAGE_NUMBERS, column))
        return queue, saved.owner


_page_decoder = msgpack.Decoder(QueuePage)
