"""What can be wrong with stored state. A member stops, or refuses to start; it never goes on."""

from pathlib import Path

REJOIN_ADVICE = (
    "Restore the disk, or remove this member from the cluster and add it again as a new one with an empty "
    "directory; never empty the directory of a member that stays, it would forget its votes."
)

DISK_ADVICE = "Check the disk and its file system, then start this member again."


class CorruptData(Exception):
    """Stored bytes cannot be trusted; the member must not start, or must stop (C-7, C-8)."""

    def __init__(self, path: Path, offset: int, reason: str, advice: str = REJOIN_ADVICE) -> None:
        super().__init__(f"{path} at byte {offset}: {reason}. {advice}")
        self.path = path
        self.offset = offset
        self.reason = reason
        self.advice = advice


class DirectoryInUse(Exception):
    """Another process has this data directory open."""


class LogRangeError(Exception):
    """An index or term that this log does not hold, or may not take: a bug of the caller."""


class BadImage(Exception):
    """A received image is not what it says; nothing has changed, the installation is abandoned."""
