"""A table in the order of its keys' arrival, like a dict, that is saved in pages of a few rows each.

A row that is changed in place is announced with `changes`. Knows nothing of what is in the rows.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from sybline.state_machine.columns import column_bytes, column_from
from sybline.state_machine.pages import NUMBERS, Capture, Chunk, Reader

K = TypeVar("K")
V = TypeVar("V")


class _Rows(Chunk, Generic[K, V]):
    """Some rows that follow each other."""

    __slots__ = ("is_full", "number", "rows", "table")

    def __init__(self, table: "Table[K, V]", number: int) -> None:
        super().__init__()
        self.table = table
        self.number = number
        self.is_full = False  # gets no further row
        self.rows: dict[K, V] = {}

    def encode(self, capture: Capture) -> bytes:
        return self.table.encode_rows(self.rows)


class Table(Generic[K, V]):
    """See the module."""

    __slots__ = ("_chunk_of", "_chunks", "_numbers", "_rows_max", "encode_rows")

    def __init__(self, rows_max: int, encode_rows: Callable[[dict[K, V]], bytes]) -> None:
        """`rows_max`: of one page; `encode_rows` returns the bytes of a page."""
        self.encode_rows = encode_rows
        self._rows_max = rows_max
        self._chunks: OrderedDict[int, _Rows[K, V]] = OrderedDict()
        self._numbers = 0
        self._chunk_of: dict[K, _Rows[K, V]] = {}

    # --- asking ---
    def __len__(self) -> int:
        return len(self._chunk_of)

    def __contains__(self, key: K) -> bool:
        return key in self._chunk_of

    def __getitem__(self, key: K) -> V:
        return self._chunk_of[key].rows[key]

    def get(self, key: K) -> V | None:
        """Return the value of a key; None: no such row."""
        chunk = self._chunk_of.get(key)
        return None if chunk is None else chunk.rows[key]

    def __iter__(self) -> Iterator[K]:
        for chunk in self._chunks.values():
            yield from chunk.rows

    def values(self) -> Iterator[V]:
        """Yield the values, in order."""
        for chunk in self._chunks.values():
            yield from chunk.rows.values()

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield keys and values, in order."""
        for chunk in self._chunks.values():
            yield from chunk.rows.items()

    def first(self) -> tuple[K, V] | None:
        """Return the first row."""
        return next(self.items(), None)

    # --- changing ---
    def changes(self, key: K) -> V:
        """Hear that a change of this row's value follows, and return the value."""
        chunk = self._chunk_of[key]
        chunk.changes()
        return chunk.rows[key]

    def put(self, key: K, value: V, *, alone: bool = False) -> None:
        """Replace the value of a row, or add a row behind all others, perhaps with a page for itself."""
        chunk = self._chunk_of.get(key)
        if chunk is None:
            last = self._last_chunk()
            is_open = last is not None and not last.is_full and not alone
            chunk = self._chunk_of[key] = (
                last if last is not None and is_open else self._new_chunk()
            )
        chunk.changes()
        chunk.rows[key] = value
        chunk.is_full = chunk.is_full or alone or len(chunk.rows) >= self._rows_max

    def _last_chunk(self) -> _Rows[K, V] | None:
        return self._chunks[next(reversed(self._chunks))] if self._chunks else None

    def _new_chunk(self) -> _Rows[K, V]:
        self._numbers += 1
        chunk = self._chunks[self._numbers] = _Rows(self, self._numbers)
        return chunk

    def remove(self, key: K) -> V:
        """Remove a row and return its value."""
        chunk = self._chunk_of.pop(key)
        chunk.changes()
        value = chunk.rows.pop(key)
        if not chunk.rows:
            del self._chunks[chunk.number]
        return value

    def move_to_end(self, key: K, *, alone: bool = False) -> None:
        """Put a row behind all others; large ones need a page for themselves, so that no page takes long."""
        chunk = self._chunk_of[key]
        if len(chunk.rows) == 1 and (alone or self._rows_max == 1):
            self._chunks.move_to_end(chunk.number)  # the order of pages is not in them
            chunk.is_full = True
        elif alone or chunk is not self._last_chunk() or next(reversed(chunk.rows)) != key:
            self.put(key, self.remove(key), alone=alone)

    def clear(self) -> None:
        """Remove everything."""
        self._chunks.clear()
        self._chunk_of.clear()

    # --- pages ---
    def capture(self, capture: Capture) -> bytes:
        """Include all rows and return the numbers of their pages, in order."""
        return column_bytes(array(NUMBERS, map(capture.include, self._chunks.values())))

    def load(
        self, pages: bytes, reader: Reader, decode: Callable[[bytes], Iterable[tuple[K, V]]]
    ) -> None:
        """Fill an empty table from its pages."""
        for number in column_from(NUMBERS, pages):
            chunk = self._new_chunk()
            chunk.rows.update(decode(reader.read(number)))
            chunk.is_full = True  # rows that come later begin a page
            self._chunk_of.update(dict.fromkeys(chunk.rows, chunk))
            reader.adopt(chunk, number)
