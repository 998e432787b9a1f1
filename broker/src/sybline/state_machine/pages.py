"""Pages: how a state of any size is saved as of one moment while it goes on changing.

A chunk is a part of the state that is saved as one page. It keeps the number of its page until it changes, so that an
unchanged one is never saved again. A capture numbers the pages of changed chunks at once and encodes them later, slice
by slice; a chunk that changes before its turn is encoded first. Pages are of one member: no command depends on them.
"""

from array import array
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

NUMBERS: Final = "Q"
_PAGE_COST_BYTES: Final = 4096


class Page(NamedTuple):
    """A part of the state; its number is above 0 and never used again by this member."""

    number: int
    data: bytes


class Chunk:
    """A part of the state with a page of its own; every change of it begins with `changes`."""

    __slots__ = ("capture", "page")

    def __init__(self) -> None:
        self.page = 0  # that holds it as it is; 0: none does
        self.capture: Capture | None = None  # that has numbered it and not encoded it yet

    def changes(self) -> None:
        """Hear that a change follows."""
        if self.page:
            if self.capture is not None:
                self.capture.save(self)
            self.page = 0

    def encode(self, capture: "Capture") -> bytes:
        """Return the page; chunks that it leads to are included into the capture."""
        raise AssertionError(f"{type(self).__name__} has no page")


def _cost(page: Page) -> int:
    """Return what a page counts for in a slice: small ones take time, too."""
    return max(len(page.data), _PAGE_COST_BYTES)


class Capture:
    """The state as of one moment on its way to disk; see the module."""

    def __init__(self, first_page: int) -> None:
        self.next_page = first_page  # no page has this number or a larger one
        self._first_page = first_page
        self._root = b""
        self._needed = array(NUMBERS)
        self._waiting: deque[Chunk] = deque()  # some are encoded already
        self._left = 0  # of these, not encoded yet
        self._ready: list[Page] = []  # encoded and not collected
        self._numbered: list[Chunk] = []

    # --- taking the state in ---
    def include(self, chunk: Chunk) -> int:
        """Return the number of a chunk's page; one that has none gets it, and its turn comes."""
        if not chunk.page:
            chunk.page = self.next_page
            chunk.capture = self
            self.next_page += 1
            self._waiting.append(chunk)
            self._numbered.append(chunk)
            self._left += 1
        self._needed.append(chunk.page)
        return chunk.page

    def include_known(self, pages: "array[int]") -> None:
        """Note pages that an unchanged one leads to."""
        self._needed.extend(pages)

    def set_root(self, root: bytes) -> None:
        """Set what leads to all pages."""
        self._root = root

    def save(self, chunk: Chunk) -> None:
        """Encode a chunk as it is now."""
        number = chunk.page
        chunk.capture = None
        self._left -= 1
        self._ready.append(Page(number, chunk.encode(self)))

    # --- giving it out ---
    def collect(self, bytes_max: int) -> list[Page]:
        """Return further new pages, until they are `bytes_max` or more."""
        ready, self._ready = self._ready, []
        left = bytes_max - sum(map(_cost, ready))
        while left > 0 and self._waiting:
            chunk = self._waiting.popleft()
            if chunk.capture is not self:
                continue
            self.save(chunk)
            ready += self._ready
            left -= sum(map(_cost, self._ready))
            self._ready = []
        return ready

    @property
    def is_whole(self) -> bool:
        """Return whether every new page was collected."""
        return not self._left and not self._ready

    def root(self) -> bytes:
        """Return what leads to all pages."""
        return self._root

    def pages(self) -> "array[int]":
        """Return the numbers of all pages of the state."""
        return self._needed

    def end(self, *, saved: bool) -> None:
        """Hear whether the pages are stored for good; if not, their chunks have none."""
        for chunk in self._numbered:
            if chunk.capture is self:
                chunk.capture = None
            if not saved and self._first_page <= chunk.page < self.next_page:
                chunk.page = 0


class Reader:
    """The pages of a saved state."""

    def __init__(self, read: Callable[[int], bytes], *, is_kept: bool) -> None:
        """`is_kept`: they stay stored under their numbers."""
        self.read = read
        self._is_kept = is_kept

    def adopt(self, chunk: Chunk, number: int) -> None:
        """Note that the chunk is as in the page."""
        chunk.page = number if self._is_kept else 0
