"""Files that may be replaced while a member runs: what was made of them last, whatever they hold now.

Contents are compared, not times: that sees every way to replace a file, also the symlink that Kubernetes swaps for a
ConfigMap or a Secret. `check` runs in a thread, one at a time; `made` may be read from anywhere. Logs nothing.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

Content = TypeVar("Content")
Made = TypeVar("Made")


class BadContent(Exception):
    """Files that cannot be used; the text says which and why."""


class WatchedFiles(Generic[Content, Made]):
    """See the module. `load` or `adopt` comes first."""

    def __init__(
        self,
        read: Callable[[], Content],
        make: Callable[[Content], Made],
        on_refused: Callable[[BadContent], None],
    ) -> None:
        """`read` and `make` raise BadContent; `on_refused` hears once why a content is not used."""
        self._read = read
        self._make = make
        self._on_refused = on_refused
        self._made: Made | None = None
        self._tried: Content | str = ""  # content, or why it could not be read
        self.refusal: BadContent | None = None  # why what the files hold now is not in use
        self.replaced = 0  # times that new content came into use
        self.refused = 0  # contents that were not good enough

    @property
    def made(self) -> Made:
        """Return what was made of the last good content."""
        assert self._made is not None
        return self._made

    def load(self) -> None:
        """Take what the files hold.

        Raises:
            BadContent: it cannot be used.
        """
        content = self._read()
        self.adopt(content, self._make(content))

    def adopt(self, content: Content, made: Made) -> None:
        """Take what was made of this content elsewhere."""
        self._made, self._tried, self.refusal = made, content, None

    def check(self) -> bool:
        """Take what the files hold if it is new and good, and return whether it was."""
        try:
            content = self._read()
        except BadContent as error:
            self._refuse(str(error), error)
            return False
        return content != self._tried and self._try(content)

    def _try(self, content: Content) -> bool:
        """Make something of a content that is still there afterwards; else the next check sees the rest of a change."""
        try:
            made = self._make(content)
        except BadContent as error:
            if self._is_still(content):
                self._refuse(content, error)
            return False
        if not self._is_still(content):
            return False
        self.adopt(content, made)
        self.replaced += 1
        return True

    def _is_still(self, content: Content) -> bool:
        try:
            return self._read() == content
        except BadContent:
            return False

    def _refuse(self, tried: Content | str, error: BadContent) -> None:
        if tried == self._tried:
            return
        self._tried, self.refusal = tried, error
        self.refused += 1
        self._on_refused(error)
