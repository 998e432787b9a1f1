"""The newest entries of the log in memory, bounded by bytes.

Followers and consumers that keep up read from here. Entries that are not on disk yet are always here.
"""

from collections.abc import Iterable

from sybline.replication.records import Entry

ENTRY_COST_BYTES = 256  # what an entry of Python objects takes besides its payload


class RecentEntries:
    """Consecutive entries that end with the last one of the log."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: dict[int, Entry] = {}
        self.bytes = 0

    def get(self, index: int) -> Entry | None:
        """Return an entry if it is here."""
        return self._entries.get(index)

    def add(self, entries: Iterable[Entry]) -> None:
        """Add the next entries."""
        for entry in entries:
            self._entries[entry.index] = entry
            self.bytes += len(entry.payload) + ENTRY_COST_BYTES

    def truncate_from(self, index: int) -> None:
        """Forget the entries from `index` on."""
        while self._entries:
            newest, entry = self._entries.popitem()
            if newest < index:
                self._entries[newest] = entry
                return
            self.bytes -= len(entry.payload) + ENTRY_COST_BYTES

    def evict(self, durable: int) -> None:
        """Forget the oldest entries above the bound, none above index `durable`."""
        while self.bytes > self._bytes_max:
            oldest = next(iter(self._entries))
            if oldest > durable:
                return
            self.bytes -= len(self._entries.pop(oldest).payload) + ENTRY_COST_BYTES

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.bytes = 0
