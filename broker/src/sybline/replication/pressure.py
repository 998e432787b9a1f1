"""Which members are short of disk, and whether publishes must be refused for it (Z-5).

Pure: members report whether they are below the low-water mark; every member judges by itself from what it was told.
"""

from sybline import limits

RECOVERED_FACTOR = 1.1  # a disk counts as low until this much above the mark is free


def low_water_bytes(total_bytes: int) -> int:
    """Return the free bytes below which a disk of this size counts as almost full."""
    return min(limits.DISK_LOW_WATER_BYTES, int(total_bytes * limits.DISK_LOW_WATER_RATIO))


class DiskPressure:
    """What is known of the disks of all members."""

    __slots__ = ("_low", "_members", "_quorum")

    def __init__(self, members: frozenset[int]) -> None:
        self._members = members
        self._quorum = len(members) // 2 + 1
        self._low: set[int] = set()

    def measured(self, member: int, *, free_bytes: int, total_bytes: int, is_full: bool) -> bool:
        """Take this member's own measurement and return whether its disk is low.

        `is_full`: the log could not reserve its next segment, whatever the file system says.
        """
        mark = low_water_bytes(total_bytes)
        if member in self._low:
            mark = int(mark * RECOVERED_FACTOR)
        self.reported(member, is_low=is_full or free_bytes < mark)
        return member in self._low

    def reported(self, member: int, *, is_low: bool) -> None:
        """Take a member's word for its disk."""
        if is_low and member in self._members:
            self._low.add(member)
        else:
            self._low.discard(member)

    def is_low(self, member: int) -> bool:
        """Return whether a member's disk is low as far as known."""
        return member in self._low

    def blocking_member(self, leader: int | None) -> int | None:
        """Return the member to name in the refusal of a publish; None: publishes may go on."""
        if leader in self._low:
            return leader
        if len(self._members) - len(self._low) < self._quorum:
            return min(self._low)
        return None
