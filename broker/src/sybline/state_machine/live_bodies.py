"""Which message bodies the queues still need, told by ranges of positions: what may leave the disk (design §5).

Pure reads. Each answer is of one moment and covers a whole range, because a message that moves between two looks would
be missed by both. A body that is not needed never is again, so an older answer may name too many but never too few.
Work is bounded by `runs_max`, plus a little for each queue that holds anything.
"""

from array import array
from collections.abc import Callable
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from sybline.state_machine.columns import KEYS, NUMBERS
from sybline.state_machine.pieces import Pieces
from sybline.state_machine.queue import Queue
from sybline.state_machine.runs import Runs

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_RUNS_EACH_MIN: Final = 16  # of one structure of one queue, when the others have used up `runs_max`
_Row = tuple[int, int, int]  # position, messages, bytes of each body
_IsMoved = Callable[[int], bool]  # by key


class LiveRuns(NamedTuple):
    """The needed messages of a range, as disjoint runs by rising position."""

    positions: "array[int]"
    counts: "array[int]"
    body_bytes: int  # of all of them; a message in several queues counts once
    end: int  # the position up to which this tells everything


class _Found:
    """What was found so far; complete up to the position `end`, which falls as more is found than may be told."""

    __slots__ = ("end", "left", "parts")

    def __init__(self, end: int, runs_max: int) -> None:
        self.end = end
        self.left = runs_max
        self.parts: list[list[_Row]] = []

    @property
    def runs_max(self) -> int:
        """Runs that the next structure may add."""
        return max(self.left, _RUNS_EACH_MIN)

    def add(self, rows: list[_Row]) -> None:
        """Take the rows of one structure, which are one more than `runs_max` if there are more."""
        if len(rows) > self.runs_max:
            self.end = min(self.end, rows.pop()[0])
        if rows:
            self.parts.append(rows)
            self.left -= len(rows)


def live_bodies(state: "State", start: int, end: int, runs_max: int) -> LiveRuns:
    """Return the needed messages with a position in [start, end), or in a first part of that range, never of no size.

    It is a part when it takes more than about `runs_max` runs.
    """
    found = _Found(end, runs_max)
    for queue in state.queues.values():
        if queue.held and queue.last_key >= start:
            _look_into(queue, start, found)
    rows = found.parts[0] if len(found.parts) == 1 else sorted(chain.from_iterable(found.parts))
    return _union(rows, start, found.end)


def _look_into(queue: Queue, start: int, found: _Found) -> None:
    """Add what each structure of a queue holds; the keys of moved messages are no positions, their records are."""
    is_moved = queue.origins.is_moved if len(queue.origins) else None
    first = queue.fresh.first_key()
    if first is not None and first < found.end:
        found.add(_fresh(queue.fresh, start, found, is_moved))
    for pieces in (queue.returned, queue.leased, queue.parked.pieces):
        if pieces.messages:
            found.add(_pieces(pieces, start, found, is_moved))
    if is_moved is not None:
        positions = queue.origins.positions_between(start, found.end)
        origins = queue.origins
        found.add(
            [
                (position, 1, _size_at(queue, origins.key_of(position)))
                for position in islice(positions, found.runs_max + 1)
            ]
        )


def _fresh(runs: Runs, start: int, found: _Found, is_moved: _IsMoved | None) -> list[_Row]:
    rows: list[_Row] = []
    for columns in runs.columns_between(start, found.end):
        rows += zip(*columns, strict=True)
        if is_moved is not None:
            rows = [row for row in rows if not is_moved(row[0])]
        if len(rows) > found.runs_max:
            return rows[: found.runs_max + 1]
    return rows


def _pieces(pieces: Pieces, start: int, found: _Found, is_moved: _IsMoved | None) -> list[_Row]:
    rows = (
        (piece.key, piece.count, piece.size_bytes)
        for piece in pieces.overlapping(start, found.end)
        if is_moved is None or not is_moved(piece.key)
    )
    return list(islice(rows, found.runs_max + 1))


def _size_at(queue: Queue, key: int) -> int:
    """Return the body size of a message that the queue holds."""
    for pieces in (queue.returned, queue.leased, queue.parked.pieces):
        piece = pieces.at(key)
        if piece is not None:
            return piece.size_bytes
    return queue.fresh.size_at(key) or 0


def _union(rows: list[_Row], start: int, end: int) -> LiveRuns:
    """Join rising rows; what they share counts once."""
    positions: list[int] = []
    counts: list[int] = []
    total, done = 0, start  # everything below `done` is told
    for position, count, size in rows:
        first = position if position > done else done
        last = position + count
        if last > end:
            last = end
        if first < last:
            total += (last - first) * size
            positions.append(first)
            counts.append(last - first)
            done = last
    return LiveRuns(array(KEYS, positions), array(NUMBERS, counts), total, end)
