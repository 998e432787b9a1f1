"""What each session settled or returned lately, so that repeating it is safe (G-4 b).

Ids are kept as ranges of marks: number of the queue's incarnation << 64 | position, so one table serves a session on
all queues. Bounded by RETRY_IDS_MAX ids a session, oldest out first, and by RETRY_WINDOW_MS of log time.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec import Struct, msgpack

from sybline import limits
from sybline.state_machine.columns import KEYS, column_bytes, column_from
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.tables import Table

_POSITION_BITS = 64
_POSITION_MASK = (1 << _POSITION_BITS) - 1
_SESSIONS_PER_PAGE: Final = 32
_RANGES_PER_PAGE: Final = 256  # of one session; with more it has a page for itself
_GRAIN_MS = 10_000  # ranges of one grain join; a sweep comes at most once a grain


class Remembered(NamedTuple):
    """Part of a range of positions, and whether it was settled or returned lately."""

    position: int
    messages: int
    lately: bool


class RangesDump(Struct, frozen=True, array_like=True):
    """The ranges of one session, oldest first, column by column."""

    consumer: bytes
    numbers: bytes
    positions: bytes
    counts: bytes
    times: bytes


_decoder = msgpack.Decoder(list[RangesDump])


class _Ranges:
    """Disjoint ranges of marks in the order of their times."""

    __slots__ = ("by_start", "ids", "starts")

    def __init__(self) -> None:
        self.by_start: OrderedDict[int, tuple[int, int]] = OrderedDict()  # start -> end, time
        self.starts: list[int] = []
        self.ids = 0

    def last_ms(self) -> int:
        """Return the time of the newest range."""
        return self.by_start[next(reversed(self.by_start))][1]

    def remember(self, start: int, end: int, now_ms: int) -> None:
        """Add a range; what it overlaps becomes part of it."""
        self._forget_before(now_ms - limits.RETRY_WINDOW_MS)
        for other in self._touching(start, end):
            other_end = self._remove(other)
            start, end = min(start, other), max(end, other_end)
        if self.by_start:
            newest = next(reversed(self.by_start))
            newest_end, time_ms = self.by_start[newest]
            if newest_end == start and time_ms // _GRAIN_MS == now_ms // _GRAIN_MS:
                self._remove(newest)
                start = newest
        self._insert(start, end, now_ms)
        self._shrink()

    def lately(self, start: int, end: int, now_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of [start, end) that are remembered, in order."""
        for other in self._touching(start, end):
            other_end, time_ms = self.by_start[other]
            if time_ms + limits.RETRY_WINDOW_MS >= now_ms:
                yield max(start, other), min(end, other_end)

    def _touching(self, start: int, end: int) -> list[int]:
        first = max(bisect_right(self.starts, start) - 1, 0)
        stop = bisect_left(self.starts, end)
        return [other for other in self.starts[first:stop] if self.by_start[other][0] > start]

    def _insert(self, start: int, end: int, time_ms: int) -> None:
        self.by_start[start] = (end, time_ms)
        insort(self.starts, start)
        self.ids += end - start

    def _remove(self, start: int) -> int:
        end, _ = self.by_start.pop(start)
        del self.starts[bisect_left(self.starts, start)]
        self.ids -= end - start
        return end

    def _forget_before(self, time_ms: int) -> None:
        while self.by_start:
            oldest = next(iter(self.by_start))
            if self.by_start[oldest][1] >= time_ms:
                return
            self._remove(oldest)

    def _shrink(self) -> None:
        while self.ids > limits.RETRY_IDS_MAX:
            excess = self.ids - limits.RETRY_IDS_MAX
            oldest = next(iter(self.by_start))
            time_ms = self.by_start[oldest][1]
            end = self._remove(oldest)
            if end - oldest > excess:
                self._insert(oldest + excess, end, time_ms)
                self.by_start.move_to_end(oldest + excess, last=False)


def _due_ms(ranges: _Ranges) -> int:
    due_ms = ranges.last_ms() + limits.RETRY_WINDOW_MS + 1
    return -(-due_ms // _GRAIN_MS) * _GRAIN_MS


class Retries:
    """The retry memory of all sessions, the least recently used session first."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: Table[bytes, _Ranges] = Table(_SESSIONS_PER_PAGE, _encode)

    def remember(
        self, consumer: bytes, number: int, position: int, count: int, now_ms: int
    ) -> None:
        """Note that the session settled or returned these messages of a queue."""
        known = self._sessions.get(consumer)
        if known is not None:
            self._sessions.move_to_end(consumer, alone=len(known.starts) > _RANGES_PER_PAGE)
        else:
            self._sessions.put(consumer, _Ranges())
        ranges = self._sessions.changes(consumer)
        start = number << _POSITION_BITS | position
        ranges.remember(start, start + count, now_ms)

    def cut(
        self, consumer: bytes, number: int, position: int, count: int, now_ms: int
    ) -> Iterator[Remembered]:
        """Yield the range in parts: those the session settled or returned lately, and the others."""
        ranges = self._sessions.get(consumer)
        at, end = position, position + count
        if ranges is not None:
            start = number << _POSITION_BITS | position
            for known, known_end in ranges.lately(start, start + count, now_ms):
                known, known_end = known & _POSITION_MASK, known_end & _POSITION_MASK
                if at < known:
                    yield Remembered(at, known - at, lately=False)
                yield Remembered(known, known_end - known, lately=True)
                at = known_end
        if at < end:
            yield Remembered(at, end - at, lately=False)

    def forget(self, consumer: bytes) -> None:
        """Drop the memory of a session that ended."""
        if consumer in self._sessions:
            self._sessions.remove(consumer)

    def next_due_ms(self) -> int | None:
        """Return when the next whole session's memory is out of date."""
        first = self._sessions.first()
        return None if first is None else _due_ms(first[1])

    def expire(self, now_ms: int, budget: int) -> int:
        """Drop memories that are out of date; return how many."""
        used = 0
        while used < budget:
            first = self._sessions.first()
            if first is None or _due_ms(first[1]) > now_ms:
                break
            self._sessions.remove(first[0])
            used += 1
        return used

    def dump(self) -> list[RangesDump]:
        """Return all ranges, in order."""
        return [_dump_ranges(consumer, ranges) for consumer, ranges in self._sessions.items()]

    @classmethod
    def load(cls, dump: list[RangesDump]) -> "Retries":
        """Return the memory of a dump."""
        retries = cls()
        for session in dump:
            retries._sessions.put(session.consumer, _load_ranges(session))
        return retries

    def capture(self, capture: Capture) -> bytes:
        """Include all ranges and return the numbers of their pages."""
        return self._sessions.capture(capture)

    @classmethod
    def load_pages(cls, pages: bytes, reader: Reader) -> "Retries":
        """Return the memory in pages."""
        retries = cls()
        retries._sessions.load(pages, reader, _decode)
        return retries

    def check_invariants(self) -> None:
        """Raise AssertionError when a table contradicts itself."""
        for ranges in self._sessions.values():
            assert ranges.starts == sorted(ranges.by_start)
            assert ranges.ids == sum(end - start for start, (end, _) in ranges.by_start.items())
            assert 0 < ranges.ids <= limits.RETRY_IDS_MAX
            ends = [ranges.by_start[start][0] for start in ranges.starts]
            assert all(end <= start for end, start in zip(ends, ranges.starts[1:], strict=False))


def _dump_ranges(consumer: bytes, ranges: _Ranges) -> RangesDump:
    by_start = ranges.by_start
    columns = (
        [start >> _POSITION_BITS for start in by_start],
        [start & _POSITION_MASK for start in by_start],
        [end - start for start, (end, _) in by_start.items()],
        [time_ms for _, time_ms in by_start.values()],
    )
    return RangesDump(consumer, *(column_bytes(array(KEYS, column)) for column in columns))


def _encode(rows: dict[bytes, _Ranges]) -> bytes:
    return msgpack.encode([_dump_ranges(consumer, ranges) for consumer, ranges in rows.items()])


def _decode(page: bytes) -> Iterator[tuple[bytes, _Ranges]]:
    for dump in _decoder.decode(page):
        yield dump.consumer, _load_ranges(dump)


def _load_ranges(dump: RangesDump) -> _Ranges:
    ranges = _Ranges()
    columns = (dump.numbers, dump.positions, dump.counts, dump.times)
    rows = zip(*(column_from(KEYS, column) for column in columns), strict=True)
    for number, position, count, time_ms in rows:
        start = number << _POSITION_BITS | position
        ranges.by_start[start] = (start + count, time_ms)
        ranges.ids += count
    ranges.starts = sorted(ranges.by_start)
    return ranges
