"""Which members are short of disk or memory, and whether publishes must be refused for it (Z-5).

Pure: members tell what they are short of; every member judges by itself from what it was told.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum

from sybline import limits


class Resource(Enum):
    """What a member can be short of so that publishes are refused; the first in this order is named."""

    DISK = "disk"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why publishes are refused."""

    member: int
    resource: Resource


@dataclass(frozen=True, slots=True)
class Marks:
    """When a member counts as short, and when no longer: well beyond the mark, so that it does not flap."""

    disk_low_bytes: int = limits.DISK_LOW_MARK_BYTES_DEFAULT
    disk_low_ratio: float = limits.DISK_LOW_MARK_RATIO_DEFAULT
    memory_high_bytes: int = 0  # 0: no mark

    def disk_low_mark_bytes(self, total_bytes: int) -> int:
        """Return the free bytes below which a disk of this size is almost full: the smaller of both marks."""
        return min(self.disk_low_bytes, int(total_bytes * self.disk_low_ratio))

    def is_disk_low(self, *, free_bytes: int, total_bytes: int, was_low: bool) -> bool:
        """Return whether a disk counts as almost full."""
        mark = self.disk_low_mark_bytes(total_bytes)
        return free_bytes < (int(mark * limits.DISK_RECOVERED_FACTOR) if was_low else mark)

    def is_memory_high(self, resident_bytes: int, *, was_high: bool) -> bool:
        """Return whether a process uses more memory than it should."""
        mark = self.memory_high_bytes
        if not mark:
            return False
        return resident_bytes > (int(mark * limits.MEMORY_RECOVERED_FACTOR) if was_high else mark)


class Pressure:
    """What is known of the resources of all members."""

    __slots__ = ("_members", "_quorum", "_short")

    def __init__(self, members: frozenset[int]) -> None:
        self._members = members
        self._quorum = len(members) // 2 + 1
        self._short: dict[int, AbstractSet[Resource]] = {}  # never empty sets

    def follow(self, members: frozenset[int]) -> None:
        """Judge by these members from now on: those whose disks count."""
        self._members = members
        self._quorum = len(members) // 2 + 1
        for member in self._short.keys() - members:
            del self._short[member]

    def reported(self, member: int, short_of: AbstractSet[Resource]) -> None:
        """Take a member's word for what it is short of."""
        if short_of and member in self._members:
            self._short[member] = short_of
        else:
            self._short.pop(member, None)

    def short_of(self, member: int) -> AbstractSet[Resource]:
        """Return what a member is short of as far as known."""
        return self._short.get(member, frozenset())

    def shortage(self, leader: int | None) -> Shortage | None:
        """Return what to name in the refusal of a publish; None: publishes may go on.

        They stop for the leader's own need, and when fewer members than a quorum have room for more.
        """
        if leader is not None and leader in self._short:
            return self._first_of(leader)
        if len(self._members) - len(self._short) < self._quorum and self._short:
            return self._first_of(min(self._short))
        return None

    def _first_of(self, member: int) -> Shortage:
        return Shortage(member, next(each for each in Resource if each in self._short[member]))
