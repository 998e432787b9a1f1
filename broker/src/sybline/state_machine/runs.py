"""Messages that were never leased, as columnar runs: the bulk of a queue in 20 bytes a run.

A run is a number of messages with consecutive order keys, equal size and the same time of entry. Runs enter at the tail
with rising keys and leave at the head, both in constant time: the columns are cut into chunks, and a chunk that is used
up is dropped. Knows nothing of positions, leases or queues.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec import Struct

from sybline import limits
from sybline.state_machine.columns import KEYS, NUMBERS, column_bytes, column_from
from sybline.state_machine.pages import NUMBERS as PAGE_NUMBERS
from sybline.state_machine.pages import Capture, Chunk, Reader

CHUNK_RUNS: Final = 1024
_COUNT_MAX: Final = (1 << 32) - 1  # of a 32-bit column
_NUMBER_MASK: Final = limits.BATCH_MESSAGES_MAX - 1


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


class RunsPages(Struct, frozen=True, array_like=True):
    """The pages of all runs, and what is gone of the first."""

    pages: bytes
    head: int
    taken: int


_PAGE_ROW_BYTES: Final = 20


class _Chunk(Chunk):
    """Up to CHUNK_RUNS runs; one array for each column. A full one never changes: what leaves it is counted outside."""

    __slots__ = ("counts", "entered", "keys", "sizes")

    def __init__(
        self, keys: "array[int]", counts: "array[int]", sizes: "array[int]", entered: "array[int]"
    ) -> None:
        super().__init__()
        self.keys = keys
        self.counts = counts
        self.sizes = sizes
        self.entered = entered

    def encode(self, capture: Capture) -> bytes:
        return b"".join(map(column_bytes, (self.keys, self.counts, self.sizes, self.entered)))

    @classmethod
    def decode(cls, page: bytes) -> "_Chunk":
        """Return the runs in a page."""
        runs = len(page) // _PAGE_ROW_BYTES
        parts = [page[: 8 * runs]]
        parts += [page[at : at + 4 * runs] for at in (8 * runs, 12 * runs, 16 * runs)]
        codes = (KEYS, NUMBERS, NUMBERS, NUMBERS)
        return cls(*map(column_from, codes, parts))

    def trim(self) -> None:
        """Give back what growing allocated in advance: most chunks never change again."""
        self.keys = self.keys[:]
        self.counts = self.counts[:]
        self.sizes = self.sizes[:]
        self.entered = self.entered[:]


class Runs:
    """A queue of runs with rising keys."""

    __slots__ = ("_chunks", "_head", "_owner", "_taken", "messages")

    def __init__(self, owner: Chunk) -> None:
        """`owner`'s page leads to the pages of the runs."""
        self._owner = owner
        self._chunks: list[_Chunk] = []
        self._head = 0  # runs of the first chunk that are gone
        self._taken = 0  # messages of the run after them that are gone
        self.messages = 0

    def append(self, key: int, count: int, size_bytes: int, entered_s: int) -> None:
        """Add messages behind all others; `key` is above every key held."""
        self._owner.changes()
        self.messages += count
        chunks = self._chunks
        if chunks:
            chunk = chunks[-1]
            if self._extend(chunk, key, count, size_bytes, entered_s):
                return
            if len(chunk.keys) < CHUNK_RUNS:
                chunk.changes()
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
        chunk.changes()
        chunk.counts[-1] = last + count
        return True

    def drop(self, whole_runs: int, messages: int) -> None:
        """Remove `whole_runs` runs at the head, then `messages` of the run that follows them.

        The caller has read both from `iterate()`; the run that follows keeps at least one message.
        """
        self._owner.changes()
        gone = messages
        if whole_runs:
            gone -= self._taken
            self._taken = 0
        while whole_runs:
            counts = self._chunks[0].counts
            step = min(whole_runs, len(counts) - self._head)
            gone += sum(counts[self._head : self._head + step])
            whole_runs -= step
            self._head += step
            if self._head == len(counts):
                del self._chunks[0]
                self._head = 0
        self._taken += messages
        self.messages -= gone

    def clear(self) -> None:
        """Remove everything."""
        self._owner.changes()
        self._chunks.clear()
        self._head = self._taken = 0
        self.messages = 0

    def iterate(self) -> Iterator[Run]:
        """Yield the runs from head to tail; nothing may change meanwhile."""
        head, taken = self._head, self._taken
        for chunk in self._chunks:
            for at in range(head, len(chunk.keys)):
                yield Run(
                    chunk.keys[at] + taken,
                    chunk.counts[at] - taken,
                    chunk.sizes[at],
                    chunk.entered[at],
                )
                taken = 0
            head = 0

    def first(self) -> Run | None:
        """Return the run at the head."""
        return next(self.iterate(), None)

    def first_key(self) -> int | None:
        """Return the smallest key held."""
        return self._chunks[0].keys[self._head] + self._taken if self._chunks else None

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
        if at == 0 and run == head and key < chunk.keys[run] + self._taken:
            return False
        return run >= head and key < chunk.keys[run] + chunk.counts[run]

    def columns_between(
        self, start: int, end: int
    ) -> "Iterator[tuple[array[int], array[int], array[int]]]":
        """Yield keys, counts and sizes of the runs with a key in [start, end), chunk by chunk, as copies."""
        at = max(bisect_right(self._chunks, start, key=lambda chunk: chunk.keys[0]) - 1, 0)
        while at < len(self._chunks):
            chunk = self._chunks[at]
            first = self._head if at == 0 else 0
            run = max(bisect_right(chunk.keys, start, lo=first) - 1, first)
            if chunk.keys[run] + chunk.counts[run] <= start:
                run += 1
            stop = bisect_left(chunk.keys, end, lo=run)
            if run < stop:
                keys, counts = chunk.keys[run:stop], chunk.counts[run:stop]
                if at == 0 and run == self._head:
                    keys[0] += self._taken
                    counts[0] -= self._taken
                yield keys, counts, chunk.sizes[run:stop]
            if stop < len(chunk.keys):
                return
            at += 1

    def size_at(self, key: int) -> int | None:
        """Return the body size of the message with this key, by bisection; None: not here."""
        for _, _, sizes in self.columns_between(key, key + 1):
            return sizes[0]
        return None

    def __len__(self) -> int:
        """Return the number of runs."""
        return sum(len(chunk.keys) for chunk in self._chunks) - self._head

    def dump(self) -> RunsDump:
        """Return the runs as bytes that do not depend on how they are cut into chunks."""
        keys, counts = self._joined("keys", KEYS), self._joined("counts", NUMBERS)
        if keys:
            keys[0] += self._taken
            counts[0] -= self._taken
        return RunsDump(
            keys=column_bytes(keys),
            counts=column_bytes(counts),
            sizes=column_bytes(self._joined("sizes", NUMBERS)),
            entered=column_bytes(self._joined("entered", NUMBERS)),
        )

    def _joined(self, name: str, typecode: str) -> "array[int]":
        joined = array(typecode)
        for chunk in self._chunks:
            joined.extend(getattr(chunk, name))
        return joined[self._head :]

    def load(self, dump: RunsDump) -> None:
        """Fill it, while it is empty, with the runs of a dump."""
        keys = column_from(KEYS, dump.keys)
        counts = column_from(NUMBERS, dump.counts)
        sizes = column_from(NUMBERS, dump.sizes)
        entered = column_from(NUMBERS, dump.entered)
        for at in range(0, len(keys), CHUNK_RUNS):
            part = slice(at, at + CHUNK_RUNS)
            self._chunks.append(_Chunk(keys[part], counts[part], sizes[part], entered[part]))
        self.messages = sum(counts)

    def capture(self, capture: Capture) -> RunsPages:
        """Include all runs and return what leads to them."""
        numbers = array(PAGE_NUMBERS, map(capture.include, self._chunks))
        return RunsPages(column_bytes(numbers), self._head, self._taken)

    def load_pages(self, saved: RunsPages, reader: Reader) -> None:
        """Fill it, while it is empty, from pages."""
        for number in column_from(PAGE_NUMBERS, saved.pages):
            chunk = _Chunk.decode(reader.read(number))
            reader.adopt(chunk, number)
            self._chunks.append(chunk)
            self.messages += sum(chunk.counts)
        self._head, self._taken = saved.head, saved.taken
        if self._chunks:
            self.messages -= sum(self._chunks[0].counts[: self._head]) + self._taken
