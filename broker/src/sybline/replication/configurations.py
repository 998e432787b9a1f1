"""Which configuration counts at each point of a log: sans I/O, owned by the node.

The one of the checkpoint, or the first one, is the base; behind it stand the entries of the log, in order. The latest
counts, committed or not; when entries are cut off the one before counts again.
"""

from bisect import bisect_right
from collections.abc import Sequence

from sybline.replication.configuration import Configuration


class Configurations:
    """A base and the configurations behind it."""

    def __init__(self, base: Configuration, base_index: int = 0) -> None:
        """`base` counts from `base_index` on."""
        self._indexes = [base_index]
        self._configurations = [base]

    @property
    def current(self) -> Configuration:
        """Return the configuration in force."""
        return self._configurations[-1]

    @property
    def index(self) -> int:
        """Return the index of the entry in force; that of the base is at most the checkpoint's."""
        return self._indexes[-1]

    def at(self, index: int) -> Configuration:
        """Return the configuration that counted when `index` was the last entry; the base for anything before it."""
        return self._configurations[max(0, bisect_right(self._indexes, index) - 1)]

    def since(self, index: int) -> Sequence[Configuration]:
        """Return the configuration that counted at `index`, and all later ones."""
        return self._configurations[max(0, bisect_right(self._indexes, index) - 1) :]

    def append(self, index: int, configuration: Configuration) -> None:
        """Add the configuration of a new entry."""
        self._indexes.append(index)
        self._configurations.append(configuration)

    def truncate_from(self, index: int) -> None:
        """Forget the entries from `index` on."""
        while len(self._indexes) > 1 and self._indexes[-1] >= index:
            self._indexes.pop()
            self._configurations.pop()

    def drop_before(self, index: int) -> None:
        """Make the configuration as of `index`, where a checkpoint is, the base."""
        runs = max(0, bisect_right(self._indexes, index) - 1)
        del self._indexes[:runs], self._configurations[:runs]

    def includes(self, member: int) -> bool:
        """Return whether any known configuration has the member."""
        return any(each.get(member) is not None for each in self._configurations)
