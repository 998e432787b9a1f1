"""Where each entry is: offsets and terms of the whole retained log in a few bytes an entry.

Pure bookkeeping of one log, on disk or on its way there; it does no I/O. Four bytes an entry for the offset; terms are
kept as runs, because a term changes only at an election.
"""

from bisect import bisect_right

from sybline.replication.segment import Segment
from sybline.replication.storage_errors import LogRangeError


class TermRuns:
    """The terms of the log from one index before its first entry to its last one."""

    def __init__(self, before: int, term: int) -> None:
        """Begin an empty log whose entry before the first is known to be (`before`, `term`)."""
        self._starts = [before]
        self._terms = [term]
        self.last = before

    def append(self, term: int) -> None:
        """Add the term of the next entry."""
        self.last += 1
        if term != self._terms[-1]:
            self._starts.append(self.last)
            self._terms.append(term)

    def truncate_from(self, index: int) -> None:
        """Forget the entries from `index` on."""
        while len(self._starts) > 1 and self._starts[-1] >= index:
            self._starts.pop()
            self._terms.pop()
        self.last = index - 1

    def drop_before(self, first: int) -> None:
        """Forget what comes before entry `first - 1`."""
        runs = bisect_right(self._starts, first - 1) - 1
        if runs >= 0:
            del self._starts[:runs], self._terms[:runs]
            self._starts[0] = first - 1

    def term(self, index: int) -> int:
        """Return the term of an entry.

        Raises:
            LogRangeError: not known.
        """
        if not self._starts[0] <= index <= self.last:
            raise LogRangeError(
                f"no term for index {index}, known are {self._starts[0]} to {self.last}"
            )
        return self._terms[bisect_right(self._starts, index) - 1]

    def start_of_run(self, index: int) -> int:
        """Return the first known index of consecutive entries with the term of `index`."""
        self.term(index)
        return self._starts[bisect_right(self._starts, index) - 1]


class LogIndex:
    """The segments of the log in their order, and the place of each entry in them."""

    def __init__(self, segments: list[Segment]) -> None:
        self.segments = segments

    @property
    def first(self) -> int:
        """Return the index of the first retained entry, or of the next one in an empty log."""
        return self.segments[0].base

    @property
    def next_index(self) -> int:
        """Return the index after the last placed entry."""
        return self.segments[-1].next_index

    @property
    def tail(self) -> Segment:
        """Return the segment that is written to."""
        return self.segments[-1]

    @property
    def total_bytes(self) -> int:
        """Return the valid bytes of all segments."""
        return sum(segment.length for segment in self.segments)

    def truncate_from(self, index: int) -> None:
        """Forget the places of the entries from `index` on."""
        for segment in reversed(self.segments):
            covers = segment.base < index
            segment.truncate_from(index)
            if covers:
                break

    def locate(self, index: int) -> Segment:
        """Return the segment that holds an entry.

        Raises:
            LogRangeError: the entry is not placed.
        """
        at = bisect_right(self.segments, index, key=lambda segment: segment.base) - 1
        if at < 0 or index >= self.segments[at].next_index:
            raise LogRangeError(f"entry {index} is not in the log, which begins at {self.first}")
        return self.segments[at]

    def droppable(self, floor: int) -> int:
        """Return how many leading segments hold only entries below `floor`; the tail always stays."""
        count = 0
        while count + 1 < len(self.segments) and self.segments[count + 1].base <= floor:
            count += 1
        return count
