"""What the machine gives: free disk, how fast it writes, reads and copies, and what a member takes of it.

Owns the check that a section finds the room it needs before it starts.
"""

import os
import shutil
import time
from pathlib import Path

from tests.bench.report import MIB
from tests.support.cluster import Cluster, Member

LEFT_FREE_BYTES = 2 << 30  # for everybody else, and above the low-water mark of the members
CHUNK_BYTES = 4 * MIB


class NoRoom(Exception):
    """The disk has too little free for a section."""


def require_free(directory: Path, needed_bytes: int) -> None:
    """Return if a section that fills so much may start.

    Raises:
        NoRoom: it may not.
    """
    free = shutil.disk_usage(directory).free
    if free < needed_bytes + LEFT_FREE_BYTES:
        raise NoRoom(
            f"{needed_bytes / MIB:,.0f} MiB are needed and {LEFT_FREE_BYTES / MIB:,.0f} must stay, "
            f"{free / MIB:,.0f} are free in {directory}; try a smaller --scale"
        )


def stored_bytes(directory: Path) -> int:
    """Return what a directory takes on disk, allocated blocks counted."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:  # a segment that was dropped meanwhile
            continue
    return total


def worst_disk_bytes(cluster: Cluster) -> int:
    """Return the disk use of the member that takes most."""
    return max(stored_bytes(member.data_dir) for member in cluster.members.values())


def resident_bytes(cluster: Cluster) -> dict[int, int]:
    """Return the resident memory of each running member."""
    running = {n: member for n, member in cluster.members.items() if member.is_running}
    return {number: member.resident_bytes() for number, member in running.items()}


def copy_bytes_per_s(source: Path, directory: Path, *, bytes_max: int) -> float:
    """Return how fast files are read, written elsewhere and synced, as a member would receive them."""
    target, copied = directory / "raw-copy", 0
    start = time.perf_counter()
    try:
        with target.open("wb") as out:
            for path in sorted(p for p in source.rglob("*") if p.is_file()):
                with path.open("rb") as file:
                    while copied < bytes_max and (chunk := file.read(CHUNK_BYTES)):
                        out.write(chunk)
                        copied += len(chunk)
            out.flush()
            os.fsync(out.fileno())
        return copied / (time.perf_counter() - start)
    finally:
        target.unlink(missing_ok=True)


def read_seconds(directory: Path) -> float:
    """Return how long it takes to read everything in a directory once, as fast as the machine can."""
    start = time.perf_counter()
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(CHUNK_BYTES):
                    pass
    return time.perf_counter() - start


def last_start(member: Member) -> str:
    """Return what a member printed in its last life."""
    return member.log_text().rpartition("--- start ")[2]
