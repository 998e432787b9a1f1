"""Where moved messages come from: one record for each message of a queue that was not published to it (ADR-0004).

Translates between order keys, which the queue works with, and positions, which clients name. A queue without moved
messages has no records, and both are the same number.
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from msgspec import Struct

from sybline.state_machine.runs import KEYS, NUMBERS, column_bytes, column_from

_NOWHERE: Final = 1 << 64  # below zero by this much: a key that no message has


class Facts(Struct, frozen=True, array_like=True):
    """Why a message is in a dead-letter queue (D-2)."""

    queue: str  # it came from
    reason: str
    delivery_count: int  # failed attempts there
    first_failed_ms: int  # 0: never failed
    last_failed_ms: int


class Origin(Struct, frozen=True, gc=False):
    """One moved message."""

    position: int
    facts: Facts | None  # None: redriven, an ordinary message again


class Segment(NamedTuple):
    """Messages with consecutive keys and consecutive positions."""

    key: int
    position: int
    messages: int


class OriginsDump(Struct, frozen=True, array_like=True):
    """Records by rising key; `numbers` index `facts`, 0 is none."""

    keys: bytes
    positions: bytes
    numbers: bytes
    facts: list[Facts]


class Origins:
    """The moved messages of one queue."""

    __slots__ = ("_by_key", "_by_position")

    def __init__(self) -> None:
        self._by_key: dict[int, Origin] = {}  # in rising order of keys, as messages move in
        self._by_position: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[int]:
        """Yield the keys of all records, rising."""
        return iter(self._by_key)

    def add(self, key: int, position: int, facts: Facts | None) -> None:
        """Record a message that moves in; `key` is above all others."""
        self._by_key[key] = Origin(position, facts)
        self._by_position[position] = key

    def forget(self, key: int, count: int) -> None:
        """Drop the records of messages that leave."""
        if not self._by_key:
            return
        for gone in range(key, key + count):
            origin = self._by_key.pop(gone, None)
            if origin is not None:
                del self._by_position[origin.position]

    def clear(self) -> None:
        """Drop all records."""
        self._by_key.clear()
        self._by_position.clear()

    def keep_only(self, kept: Iterable[tuple[int, int]]) -> None:
        """Drop all records but those of the (key, count) ranges given, which rise."""
        if not self._by_key:
            return
        keys = [key for start, count in kept for key in range(start, start + count)]
        self._by_key = {key: self._by_key[key] for key in keys if key in self._by_key}
        self._by_position = {origin.position: key for key, origin in self._by_key.items()}

    def get(self, key: int) -> Origin | None:
        """Return the record of a key; None: published to the queue, its position is the key."""
        return self._by_key.get(key)

    def key_of(self, position: int) -> int:
        """Return the key under which the queue would hold a position; below zero: under none."""
        key = self._by_position.get(position)
        if key is not None:
            return key
        # A number that is the key of a moved message is no position of this queue: an invented id.
        return position - _NOWHERE if position in self._by_key else position

    def by_position(self, position: int, count: int) -> Iterator[Segment]:
        """Yield segments in order of positions."""
        if not self._by_key:
            yield Segment(position, position, count)
            return
        yield from _segments((self.key_of(at), at) for at in range(position, position + count))

    def by_key(self, key: int, count: int) -> Iterator[Segment]:
        """Yield segments in order of keys."""
        if not self._by_key:
            yield Segment(key, key, count)
            return
        yield from _segments((at, self._position(at)) for at in range(key, key + count))

    def _position(self, key: int) -> int:
        origin = self._by_key.get(key)
        return key if origin is None else origin.position

    def oldest_position(self) -> int | None:
        """Return the smallest position of a moved message."""
        return min(self._by_position, default=None)

    def dump(self) -> OriginsDump:
        """Return the records; facts that messages share are written once."""
        positions, numbers = array(KEYS), array(NUMBERS)
        facts: list[Facts] = []
        known: dict[int, int] = {}  # identity of a Facts object -> its number
        for origin in self._by_key.values():
            positions.append(origin.position)
            number = 0
            if origin.facts is not None:
                number = known.setdefault(id(origin.facts), len(facts) + 1)
                if number > len(facts):
                    facts.append(origin.facts)
            numbers.append(number)
        keys = array(KEYS, self._by_key)
        return OriginsDump(
            column_bytes(keys), column_bytes(positions), column_bytes(numbers), facts
        )

    @classmethod
    def load(cls, dump: OriginsDump) -> "Origins":
        """Return the records of a dump."""
        origins = cls()
        keys = column_from(KEYS, dump.keys)
        positions = column_from(KEYS, dump.positions)
        numbers = column_from(NUMBERS, dump.numbers)
        facts: list[Facts | None] = [None, *dump.facts]
        for key, position, number in zip(keys, positions, numbers, strict=True):
            origins.add(key, position, facts[number])
        return origins


def _segments(pairs: Iterator[tuple[int, int]]) -> Iterator[Segment]:
    first_key, first_position = next(pairs)
    count = 1
    for key, position in pairs:
        if key == first_key + count and position == first_position + count:
            count += 1
            continue
        yield Segment(first_key, first_position, count)
        first_key, first_position, count = key, position, 1
    yield Segment(first_key, first_position, count)
