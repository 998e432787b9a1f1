"""Messages with a history, as pieces: leased ones, and ready ones that were leased before.

A piece is a run of messages with consecutive order keys, equal size and equal history; it is cut only where a command
treats its messages differently. `Pieces` keeps them sorted by key, packed into chunks: a piece that is asked for is a
value, and changing it changes nothing that is held. Knows nothing of queues or rules.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from sybline.state_machine.columns import KEYS, NUMBERS, column_bytes, column_from
from sybline.state_machine.pages import NUMBERS as PAGE_NUMBERS
from sybline.state_machine.pages import Capture, Chunk, Reader

CHUNK_PIECES: Final = 1024
_ROW: Final = struct.Struct("<IIH")  # body size, second of entry, number of the history
_HISTORY: Final = struct.Struct("<II17pQQQQQ")  # the other fields of a piece, in their order
_PAGE: Final = struct.Struct("<II")  # pieces, histories


class Piece(Struct, array_like=True, gc=False, eq=False):
    """`count` messages from `key` on.

    `holder`: while leased, who leases them. While ready, who may still settle them after its lease expired (L-6) or,
    when `avoid_until_ms` is set, who gave them back and is not served them until then (N-6); b"" is nobody, and equal
    to no identity (N-7).
    """

    key: int
    count: int
    size_bytes: int
    entered_s: int
    delivery_count: int = 0  # failed attempts
    acquired_count: int = 0  # leases granted
    holder: bytes = b""
    deadline_ms: int = 0  # leased: when the lease ends
    since_ms: int = 0  # leased: when the lease was granted, renewals not counted (L-5)
    avoid_until_ms: int = 0
    first_failed_ms: int = 0
    last_failed_ms: int = 0

    @property
    def end(self) -> int:
        """Return the key behind the last message."""
        return self.key + self.count

    def split(self, count: int) -> "Piece":
        """Keep the first `count` messages and return the others as a piece with the same history."""
        rest = Piece(
            self.key + count,
            self.count - count,
            self.size_bytes,
            self.entered_s,
            self.delivery_count,
            self.acquired_count,
            self.holder,
            self.deadline_ms,
            self.since_ms,
            self.avoid_until_ms,
            self.first_failed_ms,
            self.last_failed_ms,
        )
        self.count = count
        return rest


class _Chunk(Chunk):
    """Up to CHUNK_PIECES pieces. Pieces that went through the same commands mostly share a history."""

    __slots__ = ("counts", "histories", "keys", "rows")

    def __init__(self) -> None:
        super().__init__()
        self.keys = array(KEYS)
        self.counts = array(NUMBERS)
        self.rows = bytearray()
        self.histories: list[bytes] = []

    def piece(self, at: int) -> Piece:
        """Return a piece as a value."""
        size_bytes, entered_s, history = _ROW.unpack_from(self.rows, at * _ROW.size)
        return Piece(
            self.keys[at], self.counts[at], size_bytes, entered_s,
            *_HISTORY.unpack(self.histories[history]),
        )  # fmt: skip

    def insert(self, at: int, piece: Piece) -> None:
        """Insert a piece before the one at `at`."""
        start = at * _ROW.size
        self.keys.insert(at, piece.key)
        self.counts.insert(at, piece.count)
        self.rows[start:start] = self._row(piece)

    def replace(self, at: int, piece: Piece) -> None:
        """Give the piece at `at` another history."""
        start = at * _ROW.size
        self.rows[start : start + _ROW.size] = self._row(piece)

    def _row(self, piece: Piece) -> bytes:
        history = _HISTORY.pack(
            piece.delivery_count, piece.acquired_count, piece.holder, piece.deadline_ms,
            piece.since_ms, piece.avoid_until_ms, piece.first_failed_ms, piece.last_failed_ms,
        )  # fmt: skip
        histories = self.histories
        if not histories or histories[-1] != history:
            if len(histories) >= 2 * CHUNK_PIECES:
                self._forget_histories()
            self.histories.append(history)
        return _ROW.pack(piece.size_bytes, piece.entered_s, len(self.histories) - 1)

    def _forget_histories(self) -> None:
        """Drop the histories that no piece has any more."""
        numbers: dict[bytes, int] = {}
        rows = bytearray()
        for size_bytes, entered_s, old in _ROW.iter_unpack(self.rows):
            number = numbers.setdefault(self.histories[old], len(numbers))
            rows += _ROW.pack(size_bytes, entered_s, number)
        self.rows, self.histories = rows, list(numbers)

    def delete(self, at: int) -> None:
        """Remove the piece at `at`."""
        del self.keys[at], self.counts[at], self.rows[at * _ROW.size : (at + 1) * _ROW.size]

    def cut(self, at: int) -> "_Chunk":
        """Keep the pieces before `at` and return the others."""
        rest = _Chunk()
        rest.keys, self.keys = self.keys[at:], self.keys[:at]
        rest.counts, self.counts = self.counts[at:], self.counts[:at]
        rest.rows, self.rows = self.rows[at * _ROW.size :], self.rows[: at * _ROW.size]
        rest.histories = self.histories
        rest._forget_histories()
        self._forget_histories()
        return rest

    def encode(self, capture: Capture) -> bytes:
        columns = (column_bytes(self.keys), column_bytes(self.counts), self.rows)
        counts = _PAGE.pack(len(self.keys), len(self.histories))
        return b"".join((counts, *columns, *self.histories))

    @classmethod
    def decode(cls, page: bytes) -> "_Chunk":
        """Return the pieces in a page."""
        pieces, histories = _PAGE.unpack_from(page)
        ends = [_PAGE.size]
        for row_bytes in (8, 4, _ROW.size):
            ends.append(ends[-1] + pieces * row_bytes)
        chunk = cls()
        chunk.keys = column_from(KEYS, page[ends[0] : ends[1]])
        chunk.counts = column_from(NUMBERS, page[ends[1] : ends[2]])
        chunk.rows = bytearray(page[ends[2] : ends[3]])
        starts = range(ends[3], ends[3] + histories * _HISTORY.size, _HISTORY.size)
        chunk.histories = [page[start : start + _HISTORY.size] for start in starts]
        return chunk


class Pieces:
    """Disjoint pieces sorted by key; in chunks, so that a change moves at most one of them."""

    __slots__ = ("_chunks", "_firsts", "_owner", "messages")

    def __init__(self, owner: Chunk) -> None:
        """`owner`'s page leads to the pages of the pieces."""
        self._owner = owner
        self._firsts: list[int] = []  # smallest key of each chunk
        self._chunks: list[_Chunk] = []
        self.messages = 0

    # --- changing ---
    def add(self, piece: Piece) -> None:
        """Add a piece that overlaps none."""
        self._owner.changes()
        self.messages += piece.count
        number, at = self._place_for(piece.key)
        chunk = self._chunks[number]
        chunk.changes()
        chunk.insert(at, piece)
        if at == 0:
            self._firsts[number] = piece.key

    def _place_for(self, key: int) -> tuple[int, int]:
        """Return the number of a chunk with room, and the place in it, where a piece with this key belongs."""
        if not self._firsts:
            self._open_chunk(0, key, _Chunk())
            return 0, 0
        number = self._chunk(key)
        chunk = self._chunks[number]
        at = bisect_right(chunk.keys, key)
        if len(chunk.keys) < CHUNK_PIECES:
            return number, at
        if at == len(chunk.keys):  # full chunks stay full where keys rise
            self._open_chunk(number + 1, key, _Chunk())
            return number + 1, 0
        chunk.changes()
        rest = chunk.cut(CHUNK_PIECES // 2)
        self._open_chunk(number + 1, rest.keys[0], rest)
        return self._place_for(key)

    def _open_chunk(self, number: int, first: int, chunk: _Chunk) -> None:
        self._firsts.insert(number, first)
        self._chunks.insert(number, chunk)

    def remove(self, piece: Piece) -> None:
        """Remove a piece that is held."""
        self._owner.changes()
        number, at = self._find(piece)
        chunk = self._chunks[number]
        chunk.changes()
        chunk.delete(at)
        self.messages -= piece.count
        if not chunk.keys:
            del self._firsts[number], self._chunks[number]
        elif at == 0:
            self._firsts[number] = chunk.keys[0]

    def replace(self, piece: Piece) -> None:
        """Give a held piece the history of this one, which has the same key and count."""
        self._owner.changes()
        number, at = self._find(piece)
        chunk = self._chunks[number]
        chunk.changes()
        chunk.replace(at, piece)

    def split(self, piece: Piece, count: int) -> Piece:
        """Cut a held piece after `count` messages and return the second part; both stay held."""
        self._owner.changes()
        number, at = self._find(piece)
        chunk = self._chunks[number]
        chunk.changes()
        chunk.counts[at] = count
        rest = piece.split(count)
        self.messages -= rest.count
        self.add(rest)
        return rest

    def clear(self) -> None:
        """Remove everything."""
        self._owner.changes()
        self._firsts.clear()
        self._chunks.clear()
        self.messages = 0

    # --- asking ---
    def at(self, key: int) -> Piece | None:
        """Return the piece that covers the key."""
        if not self._firsts:
            return None
        chunk = self._chunks[self._chunk(key)]
        at = bisect_right(chunk.keys, key) - 1
        if at < 0 or key >= chunk.keys[at] + chunk.counts[at]:
            return None
        return chunk.piece(at)

    def overlapping(self, start: int, end: int) -> Iterator[Piece]:
        """Yield the pieces with a key in [start, end), in order; nothing may change meanwhile."""
        if not self._firsts:
            return
        number = self._chunk(start)
        at = max(bisect_right(self._chunks[number].keys, start) - 1, 0)
        while number < len(self._chunks):
            chunk = self._chunks[number]
            for place in range(at, len(chunk.keys)):
                key = chunk.keys[place]
                if key >= end:
                    return
                if key + chunk.counts[place] > start:
                    yield chunk.piece(place)
            number, at = number + 1, 0

    def first(self) -> Piece | None:
        """Return the piece with the smallest key."""
        return self._chunks[0].piece(0) if self._chunks else None

    def __iter__(self) -> Iterator[Piece]:
        for chunk in self._chunks:
            for at in range(len(chunk.keys)):
                yield chunk.piece(at)

    def __len__(self) -> int:
        """Return the number of pieces."""
        return sum(len(chunk.keys) for chunk in self._chunks)

    def _chunk(self, key: int) -> int:
        return max(bisect_right(self._firsts, key) - 1, 0)

    def _find(self, piece: Piece) -> tuple[int, int]:
        number = self._chunk(piece.key)
        return number, bisect_left(self._chunks[number].keys, piece.key)

    # --- checkpoints ---
    def load(self, pieces: Iterable[Piece]) -> None:
        """Fill it, while it is empty, with pieces by rising key."""
        for piece in pieces:
            self.add(piece)

    def capture(self, capture: Capture) -> bytes:
        """Include all pieces and return the numbers of their pages."""
        return column_bytes(array(PAGE_NUMBERS, map(capture.include, self._chunks)))

    def load_pages(self, pages: bytes, reader: Reader) -> None:
        """Fill it, while it is empty, from pages."""
        for number in column_from(PAGE_NUMBERS, pages):
            chunk = _Chunk.decode(reader.read(number))
            reader.adopt(chunk, number)
            self._open_chunk(len(self._chunks), chunk.keys[0], chunk)
            self.messages += sum(chunk.counts)
