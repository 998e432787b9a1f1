"""Messages that were never leased, as columnar runs: the bulk of a queue in 20 bytes a run.

A run is a number of messages with consecutive order keys, equal size and the same time of entry. Runs enter at the tail
with rising keys and leave at the head, both in constant time: the columns are cut into chunks, and a chunk that is used
up is dropped. Knows nothing of positions, leases or queues.
"""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec import Struct

from sybline import limits

CHUNK_RUNS: Final = 1024
_COUNT_MAX: Final = (1 << 32) - 1  # of a 32-bit column
_NUMBER_MASK: Final = limits.BATCH_MESSAGES_MAX - 1
KEYS: Final = "Q"  # 8 bytes
NUMBERS: Final = "I"  # 4 bytes


def column_bytes(column: "array[int]") -> bytes:
    """Return a column as little-endian bytes, the same on every machine."""
    if sys.byteorder == "little":
        return column.tobytes()
    swapped = array(column.typecode, column)
    swapped.byteswap()
    return swapped.tobytes()


def column_from(typecode: str, data: bytes) -> "array[int]":
    """Return the column that `column_bytes` wrote."""
    column = array(typecode)
    column.frombytes(data)
    if sys.byteorder != "little":
        column.byteswap()
    return column


class Run(NamedTuple):
    """One run as a value."""

    key: int
    messages: int
    size_bytes: int
    entered_s: int  # log time in whole seconds when the run entered the queue


class RunsDump(Struct, frozen=True, array_like=True):
    """All runs, column by column, as raw bytes."""

    keys: bytes
    counts: bytes
    sizes: bytes
    entered: bytes


class _Chunk:
    """Up to CHUNK_RUNS runs; one array for each column."""

    __slots__ = ("counts", "entered", "keys", "sizes")

    def __init__(
        self, keys: "array[int]", counts: "array[int]", sizes: "array[int]", entered: "array[int]"
    ) -> None:
        self.keys = keys
        self.counts = counts
        self.sizes = sizes
        self.entered = entered

    def trim(self) -> None:
        """Give back what growing allocated in advance: most chunks never change again."""
        self.keys = self.keys[:]
        self.counts = self.counts[:]
        self.sizes = self.sizes[:]
        self.entered = self.entered[:]


class Runs:
    """A queue of runs with rising keys."""

    __slots__ = ("_chunks", "_head", "messages")

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        self._head = 0  # runs of the first chunk that are gone
        self.messages = 0

    def append(self, key: int, count: int, size_bytes: int, entered_s: int) -> None:
        """Add messages behind all others; `key` is above every key held."""
        self.messages += count
        chunks = self._chunks
        if chunks:
            chunk = chunks[-1]
            if self._extend(chunk, key, count, size_bytes, entered_s):
                return
            if len(chunk.keys) < CHUNK_RUNS:
                chunk.keys.append(key)
                chunk.counts.append(count)
                chunk.sizes.append(size_bytes)
                chunk.entered.append(entered_s)
                return
            chunk.trim()
        columns = ((KEYS, key), (NUMBERS, count), (NUMBERS, size_bytes), (NUMBERS, entered_s))
        chunks.append(_Chunk(*(array(typecode, (value,)) for typecode, value in columns)))

    def _extend(self, chunk: _Chunk, key: int, count: int, size_bytes: int, entered_s: int) -> bool:
        """Grow the last run when the messages continue it. Runs never cross entries of the log."""
        last = chunk.counts[-1]
        if (
            chunk.keys[-1] + last != key
            or chunk.sizes[-1] != size_bytes
            or chunk.entered[-1] != entered_s
            or key & _NUMBER_MASK == 0
            or last + count > _COUNT_MAX
        ):
            return False
        chunk.counts[-1] = last + count
        return True

    def drop(self, whole_runs: int, messages: int) -> None:
        """Remove `whole_runs` runs at the head, then `messages` of the run that follows them.

        The caller has read both from `iterate()`; the run that follows keeps at least one message.
        """
        gone = messages
        while whole_runs:
            counts = self._chunks[0].counts
            step = min(whole_runs, len(counts) - self._head)
            gone += sum(counts[self._head : self._head + step])
            whole_runs -= step
            self._head += step
            if self._head == len(counts):
                del self._chunks[0]
                self._head = 0
        if messages:
            chunk = self._chunks[0]
            chunk.keys[self._head] += messages
            chunk.counts[self._head] -= messages
        self.messages -= gone

    def clear(self) -> None:
        """Remove everything."""
        self._chunks.clear()
        self._head = 0
        self.messages = 0

    def iterate(self) -> Iterator[Run]:
        """Yield the runs from head to tail; nothing may change meanwhile."""
        head = self._head
        for chunk in self._chunks:
            for at in range(head, len(chunk.keys)):
                yield Run(chunk.keys[at], chunk.counts[at], chunk.sizes[at], chunk.entered[at])
            head = 0

    def first(self) -> Run | None:
        """Return the run at the head."""
        return next(self.iterate(), None)

    def last_key(self) -> int | None:
        """Return the largest key held."""
        if not self._chunks:
            return None
        chunk = self._chunks[-1]
        return chunk.keys[-1] + chunk.counts[-1] - 1

    def holds(self, key: int) -> bool:
        """Return whether a message has this key, by bisection."""
        at = bisect_right(self._chunks, key, key=lambda chunk: chunk.keys[0]) - 1
        if at < 0:
            return False
        chunk = self._chunks[at]
        head = self._head if at == 0 else 0
        run = bisect_right(chunk.keys, key, lo=head) - 1
        return run >= head and key < chunk.keys[run] + chunk.counts[run]

    def __len__(self) -> int:
        """Return the number of runs."""
        return sum(len(chunk.keys) for chunk in self._chunks) - self._head

    def dump(self) -> RunsDump:
        """Return the runs as bytes that do not depend on how they are cut into chunks."""
        return RunsDump(
            keys=self._joined("keys"),
            counts=self._joined("counts"),
            sizes=self._joined("sizes"),
            entered=self._joined("entered"),
        )

    def _joined(self, name: str) -> bytes:
        head = self._head
        parts: list[bytes] = []
        for chunk in self._chunks:
            column: array[int] = getattr(chunk, name)
            parts.append(column_bytes(column[head:] if head else column))
            head = 0
        return b"".join(parts)

    @classmethod
    def load(cls, dump: RunsDump) -> "Runs":
        """Return the runs of a dump."""
        runs = cls()
        keys = column_from(KEYS, dump.keys)
        counts = column_from(NUMBERS, dump.counts)
        sizes = column_from(NUMBERS, dump.sizes)
        entered = column_from(NUMBERS, dump.entered)
        for at in range(0, len(keys), CHUNK_RUNS):
            part = slice(at, at + CHUNK_RUNS)
            runs._chunks.append(_Chunk(keys[part], counts[part], sizes[part], entered[part]))
        runs.messages = sum(counts)
        return runs
