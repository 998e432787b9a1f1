"""Numbers in order, each with another number, 16 bytes a pair: searched by number and by range.

In chunks, so that a change moves at most one of them.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from sybline.state_machine.columns import KEYS

CHUNK_PAIRS: Final = 1024


class SortedPairs:
    """Distinct numbers, rising, and what belongs to each."""

    __slots__ = ("_firsts", "_numbers", "_values")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        """Take pairs in any order."""
        self._firsts: list[int] = []
        self._numbers: list[array[int]] = []
        self._values: list[array[int]] = []
        ordered = sorted(pairs)
        for start in range(0, len(ordered), CHUNK_PAIRS):
            numbers, values = zip(*ordered[start : start + CHUNK_PAIRS], strict=True)
            self._insert_chunk(len(self._firsts), array(KEYS, numbers), array(KEYS, values))

    def _insert_chunk(self, at: int, numbers: "array[int]", values: "array[int]") -> None:
        self._firsts.insert(at, numbers[0])
        self._numbers.insert(at, numbers)
        self._values.insert(at, values)

    def add(self, number: int, value: int) -> None:
        """Add a number that is not here."""
        if not self._firsts:
            self._insert_chunk(0, array(KEYS, (number,)), array(KEYS, (value,)))
            return
        at = self._chunk(number)
        numbers, values = self._numbers[at], self._values[at]
        place = bisect_right(numbers, number)
        numbers.insert(place, number)
        values.insert(place, value)
        self._firsts[at] = numbers[0]
        if len(numbers) > 2 * CHUNK_PAIRS:
            self._numbers[at], self._values[at] = numbers[:CHUNK_PAIRS], values[:CHUNK_PAIRS]
            self._insert_chunk(at + 1, numbers[CHUNK_PAIRS:], values[CHUNK_PAIRS:])

    def remove(self, number: int) -> None:
        """Remove a number that is here."""
        at = self._chunk(number)
        numbers = self._numbers[at]
        place = bisect_left(numbers, number)
        del numbers[place], self._values[at][place]
        if numbers:
            self._firsts[at] = numbers[0]
        else:
            del self._firsts[at], self._numbers[at], self._values[at]

    def clear(self) -> None:
        """Remove everything."""
        self._firsts.clear()
        self._numbers.clear()
        self._values.clear()

    def get(self, number: int) -> int | None:
        """Return what belongs to a number; None: it is not here."""
        if not self._firsts:
            return None
        at = self._chunk(number)
        numbers = self._numbers[at]
        place = bisect_left(numbers, number)
        if place == len(numbers) or numbers[place] != number:
            return None
        return self._values[at][place]

    def first(self) -> int | None:
        """Return the smallest number."""
        return self._firsts[0] if self._firsts else None

    def between(self, start: int, end: int) -> Iterator[int]:
        """Yield the numbers in [start, end), rising; nothing may change meanwhile."""
        if not self._firsts:
            return
        at = self._chunk(start)
        skip = bisect_left(self._numbers[at], start)
        while at < len(self._numbers):
            for number in self._numbers[at][skip:]:
                if number >= end:
                    return
                yield number
            at, skip = at + 1, 0

    def _chunk(self, number: int) -> int:
        return max(bisect_right(self._firsts, number) - 1, 0)
