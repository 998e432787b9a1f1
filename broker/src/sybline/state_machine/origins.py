"""Where moved messages come from: one record for each message of a queue that was not published to it (ADR-0004).

Translates between order keys, which the queue works with, and positions, which clients name. A queue without moved
messages has no records, and both are the same number.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from msgspec import Struct, msgpack

from sybline.state_machine.columns import KEYS, NUMBERS, column_bytes, column_from
from sybline.state_machine.pages import NUMBERS as PAGE_NUMBERS
from sybline.state_machine.pages import Capture, Chunk, Reader
from sybline.state_machine.sorted_pairs import SortedPairs

CHUNK_RECORDS: Final = 1024
_FACT_NUMBERS: Final = "H"  # 2 bytes
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


_encoder = msgpack.Encoder()
_decoder = msgpack.Decoder(OriginsDump)


class _Chunk(Chunk):
    """Up to CHUNK_RECORDS records by rising key."""

    __slots__ = ("facts", "keys", "numbers", "positions")

    def __init__(self) -> None:
        super().__init__()
        self.keys = array(KEYS)
        self.positions = array(KEYS)
        self.numbers = array(_FACT_NUMBERS)  # index `facts`
        self.facts: list[Facts | None] = [
            None
        ]  # each once, where messages that share them follow each other

    def append(self, key: int, position: int, facts: Facts | None) -> None:
        """Add a record behind the others."""
        number = 0
        if facts is not None:
            if self.facts[-1] != facts:
                self.facts.append(facts)
            number = len(self.facts) - 1
        self.keys.append(key)
        self.positions.append(position)
        self.numbers.append(number)

    def find(self, key: int) -> int:
        """Return the place of a key; -1: it has no record."""
        at = bisect_left(self.keys, key)
        return at if at < len(self.keys) and self.keys[at] == key else -1

    def delete(self, at: int) -> None:
        """Remove a record."""
        del self.keys[at], self.positions[at], self.numbers[at]

    def encode(self, capture: Capture) -> bytes:
        dump = OriginsDump(
            column_bytes(self.keys),
            column_bytes(self.positions),
            column_bytes(self.numbers),
            [facts for facts in self.facts if facts is not None],
        )
        return _encoder.encode(dump)

    @classmethod
    def decode(cls, page: bytes) -> "_Chunk":
        """Return the records in a page."""
        dump = _decoder.decode(page)
        chunk = cls()
        chunk.keys = column_from(KEYS, dump.keys)
        chunk.positions = column_from(KEYS, dump.positions)
        chunk.numbers = column_from(_FACT_NUMBERS, dump.numbers)
        chunk.facts += dump.facts
        return chunk


class Origins:
    """The moved messages of one queue."""

    __slots__ = ("_chunks", "_firsts", "_keys_by_position", "_owner", "_records")

    def __init__(self, owner: Chunk) -> None:
        """`owner`'s page leads to the pages of the records."""
        self._owner = owner
        self._chunks: list[_Chunk] = []
        self._firsts: list[int] = []  # a key at or below the smallest of each chunk
        self._records = 0
        self._keys_by_position = SortedPairs()

    def __len__(self) -> int:
        return self._records

    def __iter__(self) -> Iterator[int]:
        """Yield the keys of all records, rising."""
        for chunk in self._chunks:
            yield from chunk.keys

    def add(self, key: int, position: int, facts: Facts | None) -> None:
        """Record a message that moves in; `key` is above all others."""
        self._owner.changes()
        if not self._chunks or len(self._chunks[-1].keys) >= CHUNK_RECORDS:
            self._chunks.append(_Chunk())
            self._firsts.append(key)
        chunk = self._chunks[-1]
        chunk.changes()
        chunk.append(key, position, facts)
        self._keys_by_position.add(position, key)
        self._records += 1

    def forget(self, key: int, count: int) -> None:
        """Drop the records of messages that leave."""
        if not self._records:
            return
        for gone in range(key, key + count):
            self._forget(gone)

    def _forget(self, key: int) -> None:
        number, at = self._find(key)
        if at < 0:
            return
        self._owner.changes()
        chunk = self._chunks[number]
        chunk.changes()
        self._keys_by_position.remove(chunk.positions[at])
        chunk.delete(at)
        self._records -= 1
        if not chunk.keys:
            del self._chunks[number], self._firsts[number]

    def _find(self, key: int) -> tuple[int, int]:
        """Return the chunk of a record and its place there; the place is -1 when there is none."""
        number = bisect_right(self._firsts, key) - 1
        return number, -1 if number < 0 else self._chunks[number].find(key)

    def clear(self) -> None:
        """Drop all records."""
        self._owner.changes()
        self._chunks.clear()
        self._firsts.clear()
        self._keys_by_position.clear()
        self._records = 0

    def keep_only(self, kept: Iterable[tuple[int, int]]) -> None:
        """Drop all records but those of the (key, count) ranges given, which rise."""
        if not self._records:
            return
        records = [
            (key, origin)
            for start, count in kept
            for key in range(start, start + count)
            if (origin := self.get(key)) is not None
        ]
        self.clear()
        for key, origin in records:
            self.add(key, origin.position, origin.facts)

    def get(self, key: int) -> Origin | None:
        """Return the record of a key; None: published to the queue, its position is the key."""
        number, at = self._find(key)
        if at < 0:
            return None
        chunk = self._chunks[number]
        return Origin(chunk.positions[at], chunk.facts[chunk.numbers[at]])

    def key_of(self, position: int) -> int:
        """Return the key under which the queue would hold a position; below zero: under none."""
        key = self._keys_by_position.get(position)
        if key is not None:
            return key
        # A number that is the key of a moved message is no position of this queue: an invented id.
        return position - _NOWHERE if self.is_moved(position) else position

    def by_position(self, position: int, count: int) -> Iterator[Segment]:
        """Yield segments in order of positions."""
        if not self._records:
            yield Segment(position, position, count)
            return
        yield from _segments((self.key_of(at), at) for at in range(position, position + count))

    def by_key(self, key: int, count: int) -> Iterator[Segment]:
        """Yield segments in order of keys."""
        if not self._records:
            yield Segment(key, key, count)
            return
        yield from _segments((at, self._position(at)) for at in range(key, key + count))

    def _position(self, key: int) -> int:
        number, at = self._find(key)
        return key if at < 0 else self._chunks[number].positions[at]

    def positions_between(self, start: int, end: int) -> Iterator[int]:
        """Yield the positions of moved messages in [start, end), rising; nothing may change meanwhile."""
        return self._keys_by_position.between(start, end)

    def is_moved(self, key: int) -> bool:
        """Return whether a key is that of a moved message."""
        return self._find(key)[1] >= 0

    def dump(self) -> OriginsDump:
        """Return the records as bytes that do not depend on how they are cut into chunks."""
        keys, positions, numbers = array(KEYS), array(KEYS), array(NUMBERS)
        known: dict[Facts | None, int] = {None: 0}
        for chunk in self._chunks:
            keys.extend(chunk.keys)
            positions.extend(chunk.positions)
            numbers.extend(known.setdefault(chunk.facts[n], len(known)) for n in chunk.numbers)
        return OriginsDump(
            column_bytes(keys),
            column_bytes(positions),
            column_bytes(numbers),
            [facts for facts in known if facts is not None],
        )

    def load(self, dump: OriginsDump) -> None:
        """Fill it, while it is empty, with the records of a dump."""
        keys = column_from(KEYS, dump.keys)
        positions = column_from(KEYS, dump.positions)
        numbers = column_from(NUMBERS, dump.numbers)
        facts: list[Facts | None] = [None, *dump.facts]
        for key, position, number in zip(keys, positions, numbers, strict=True):
            self.add(key, position, facts[number])

    def capture(self, capture: Capture) -> bytes:
        """Include all records and return the numbers of their pages."""
        return column_bytes(array(PAGE_NUMBERS, map(capture.include, self._chunks)))

    def load_pages(self, pages: bytes, reader: Reader) -> None:
        """Fill it, while it is empty, from pages."""
        for number in column_from(PAGE_NUMBERS, pages):
            chunk = _Chunk.decode(reader.read(number))
            reader.adopt(chunk, number)
            self._chunks.append(chunk)
            self._firsts.append(chunk.keys[0])
            self._records += len(chunk.keys)
        self._keys_by_position = SortedPairs(
            pair for chunk in self._chunks for pair in zip(chunk.positions, chunk.keys, strict=True)
        )


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
