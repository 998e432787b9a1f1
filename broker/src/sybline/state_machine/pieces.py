"""Messages with a history, as pieces: leased ones, and ready ones that were leased before.

A piece is a run of messages with consecutive order keys, equal size and equal history; it is cut only where a command
treats its messages differently. `Pieces` keeps them sorted by key. Knows nothing of queues or rules.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

_CHUNK_PIECES: Final = 512


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


class Pieces:
    """Disjoint pieces sorted by key; lists of lists, so that a change moves at most one chunk."""

    __slots__ = ("_firsts", "_keys", "_pieces", "messages")

    def __init__(self, pieces: Iterable[Piece] = ()) -> None:
        self._firsts: list[int] = []  # smallest key of each chunk
        self._keys: list[list[int]] = []
        self._pieces: list[list[Piece]] = []
        self.messages = 0
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        """Add a piece that overlaps none."""
        self.messages += piece.count
        key = piece.key
        if not self._firsts:
            self._firsts.append(key)
            self._keys.append([key])
            self._pieces.append([piece])
            return
        chunk = self._chunk(key)
        keys = self._keys[chunk]
        at = bisect_right(keys, key)
        keys.insert(at, key)
        self._pieces[chunk].insert(at, piece)
        if at == 0:
            self._firsts[chunk] = key
        if len(keys) > 2 * _CHUNK_PIECES:
            self._split_chunk(chunk)

    def remove(self, piece: Piece) -> None:
        """Remove a piece that is held."""
        chunk = self._chunk(piece.key)
        keys = self._keys[chunk]
        at = bisect_left(keys, piece.key)
        del keys[at]
        del self._pieces[chunk][at]
        self.messages -= piece.count
        if not keys:
            del self._firsts[chunk], self._keys[chunk], self._pieces[chunk]
        elif at == 0:
            self._firsts[chunk] = keys[0]

    def split(self, piece: Piece, count: int) -> Piece:
        """Cut a held piece after `count` messages and return the second part; both stay held."""
        rest = piece.split(count)
        self.messages -= rest.count
        self.add(rest)
        return rest

    def at(self, key: int) -> Piece | None:
        """Return the piece that covers the key."""
        if not self._firsts:
            return None
        chunk = self._chunk(key)
        at = bisect_right(self._keys[chunk], key) - 1
        if at < 0:
            return None
        piece = self._pieces[chunk][at]
        return piece if key < piece.end else None

    def overlapping(self, start: int, end: int) -> Iterator[Piece]:
        """Yield the pieces with a key in [start, end), in order; nothing may change meanwhile."""
        if not self._firsts:
            return
        chunk = self._chunk(start)
        at = max(bisect_right(self._keys[chunk], start) - 1, 0)
        while chunk < len(self._pieces):
            pieces = self._pieces[chunk]
            while at < len(pieces):
                piece = pieces[at]
                if piece.key >= end:
                    return
                if piece.end > start:
                    yield piece
                at += 1
            chunk, at = chunk + 1, 0

    def first(self) -> Piece | None:
        """Return the piece with the smallest key."""
        return self._pieces[0][0] if self._pieces else None

    def last(self) -> Piece | None:
        """Return the piece with the largest key."""
        return self._pieces[-1][-1] if self._pieces else None

    def clear(self) -> None:
        """Remove everything."""
        self._firsts.clear()
        self._keys.clear()
        self._pieces.clear()
        self.messages = 0

    def __iter__(self) -> Iterator[Piece]:
        for pieces in self._pieces:
            yield from pieces

    def __len__(self) -> int:
        """Return the number of pieces."""
        return sum(map(len, self._keys))

    def _chunk(self, key: int) -> int:
        return max(bisect_right(self._firsts, key) - 1, 0)

    def _split_chunk(self, chunk: int) -> None:
        keys, pieces = self._keys[chunk], self._pieces[chunk]
        self._keys.insert(chunk + 1, keys[_CHUNK_PIECES:])
        self._pieces.insert(chunk + 1, pieces[_CHUNK_PIECES:])
        self._firsts.insert(chunk + 1, keys[_CHUNK_PIECES])
        del keys[_CHUNK_PIECES:], pieces[_CHUNK_PIECES:]
