"""What passes between the replicated state and its checkpoints: a root and numbered pages, which are bytes to all here.

A page is written once and then only referred to by its number, until the state has no use for it. The numbers belong
to one member: two members with the same state have different pages.
"""

from array import array
from collections.abc import Callable
from typing import Protocol

from sybline.state_machine.pages import NUMBERS as PAGE_NUMBERS
from sybline.state_machine.pages import Page

__all__ = ["PAGE_NUMBERS", "Page", "SavedState", "StateDump", "WholeDump"]


class StateDump(Protocol):
    """The state as of one entry, collected slice by slice while the state goes on. Used on the loop."""

    def collect(self, bytes_max: int) -> list[Page]:
        """Return further pages that are not stored yet, until they are `bytes_max` or more."""

    @property
    def is_whole(self) -> bool:
        """Return whether there are no more pages to collect."""

    def root(self) -> bytes:
        """Return what leads to all pages; asked for once it is whole."""

    def pages(self) -> "array[int]":
        """Return the numbers of all pages the state needs, new and old, in any order; once it is whole."""

    @property
    def next_page(self) -> int:
        """Return a number above all it has given."""

    def end(self, *, saved: bool) -> None:
        """Hear whether root and pages are durable; if not, the next dump has all its pages again."""


class SavedState:
    """A state in a checkpoint, to be closed once it is read."""

    def __init__(
        self,
        root: bytes,
        page: Callable[[int], bytes] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        """`page` returns a page by its number, or raises CorruptData; None: the state has no pages."""
        self.root = root
        self.page = page or _no_page
        self.close = close or _nothing
        self.is_kept = True  # the pages stay stored: the next dump may refer to their numbers


def _no_page(number: int) -> bytes:
    raise KeyError(number)


def _nothing() -> None: ...


class WholeDump:
    """A small state that is all root."""

    is_whole = True
    next_page = 1

    def __init__(self, root: bytes) -> None:
        self._root = root

    def collect(self, _bytes_max: int) -> list[Page]:
        return []

    def root(self) -> bytes:
        return self._root

    def pages(self) -> "array[int]":
        return array(PAGE_NUMBERS)

    def end(self, *, saved: bool) -> None: ...
