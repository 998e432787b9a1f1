"""One queue: its messages by state, its counts, and the primitive steps that move messages between states.

A message is ready (fresh: never leased; or returned), leased, or parked. Every key of a returned, leased or parked
message is below every fresh one, because messages leave `fresh` at its head only and enter it at its tail only. The
steps cannot fail once decided. No rule is decided here: handlers and `dead_letters` do.
"""

from collections import deque

from msgspec import Struct, structs

from sybline import limits
from sybline.state_machine.origins import Origins
from sybline.state_machine.pieces import Piece, Pieces
from sybline.state_machine.runs import Runs

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

    __slots__ = ("due_ms", "messages", "pieces")

    def __init__(self, due_ms: int) -> None:
        self.due_ms = due_ms  # at or before the earliest deadline of its pieces
        self.messages = 0
        self.pieces: dict[int, Piece] = {}  # by key, in no particular order

    def ordered(self) -> list[Piece]:
        """Return the pieces by rising key."""
        pieces = self.pieces
        return [pieces[key] for key in sorted(pieces)]


class Parked(Struct, array_like=True):
    """Dead letters that wait for room in the dead-letter queue."""

    piece: Piece
    reason: str


class Parking:
    """Parked messages in the order of dead-lettering (D-4, D-5)."""

    __slots__ = ("order", "pieces")

    def __init__(self) -> None:
        self.order: deque[Parked] = deque()
        self.pieces = Pieces()  # the same pieces by key

    @property
    def messages(self) -> int:
        return self.pieces.messages

    def add(self, parked: Parked) -> None:
        """Park behind all others."""
        self.order.append(parked)
        self.pieces.add(parked.piece)

    def take(self, messages: int) -> None:
        """Remove the first `messages` of the first piece."""
        first = self.order[0]
        rest = self.pieces.split(first.piece, messages) if messages < first.piece.count else None
        self.pieces.remove(first.piece)
        if rest is None:
            self.order.popleft()
        else:
            self.order[0] = Parked(rest, first.reason)

    def clear(self) -> None:
        """Remove everything."""
        self.order.clear()
        self.pieces.clear()


class Queue:
    """A queue and everything it holds."""

    __slots__ = (
        "bytes",
        "config",
        "consumers",
        "counters",
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
        self.number = number  # of this incarnation, never used again
        self.name = name
        self.config = config
        self.dead_letter_of = dead_letter_of  # name of the owner it was made for; "": ordinary
        self.owner: Queue | None = None  # dead-letter queue: the owner, while it exists
        self.dead_letters: Queue | None = None  # its dead-letter queue
        self.keys: dict[str, None] = {}  # routing keys bound to it
        self.producers: frozenset[str] | None = None  # None: no restriction
        self.consumers: frozenset[str] | None = None
        self.fresh = Runs()
        self.returned = Pieces()
        self.leased = Pieces()
        self.parked = Parking()
        self.origins = Origins()
        self.holdings: dict[bytes, Holding] = {}
        self.bytes = 0  # bodies of all messages held
        self.last_key = -1  # largest key ever given
        self.counters = Counters()

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
        holding.pieces[piece.key] = piece
        holding.messages += piece.count

    def split_leased(self, piece: Piece, messages: int) -> Piece:
        """Cut a leased piece after `messages` and return the second part; both stay leased."""
        rest = self.leased.split(piece, messages)
        self.holdings[piece.holder].pieces[rest.key] = rest
        return rest

    def end_lease(self, piece: Piece) -> None:
        """Take a leased piece out; it is in no state until the caller puts it somewhere."""
        self.leased.remove(piece)
        holding = self.holdings[piece.holder]
        del holding.pieces[piece.key]
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
        self.bytes -= messages * size_bytes
        self.origins.forget(key, messages)
