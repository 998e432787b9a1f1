"""How this process uses memory: how much it has, when the collector looks for cycles, what goes back to the system.

Owns settings of the whole process, so only `app` calls `settle_memory`, once, when the member has been built.
"""

import ctypes
import gc
import os
from pathlib import Path
from typing import Final

GC_THRESHOLDS: Final = (10_000, 20, 50)  # the standard ones cost a publish a fifth of its time
# A buffer of this size is a mapping of its own, given back when it is freed. Otherwise glibc raises this bound to the
# largest buffer it has seen, and the heap keeps what batches of several MiB left: 175 instead of 109 MiB at a leader.
LARGE_BUFFER_BYTES: Final = 1 << 20
_M_TRIM_THRESHOLD: Final = -1  # glibc's malloc.h
_M_MMAP_THRESHOLD: Final = -3
_C_LIBRARY: Final = ctypes.CDLL(None)  # another one than glibc lacks what is looked up in it below

_STATM: Final = Path("/proc/self/statm")
_OWN_GROUPS: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")
_LIMIT_FILES: Final = ("memory.max", "memory.limit_in_bytes")  # of the second version, of the first


def settle_memory() -> None:
    """Look for cycles less often, never again among what exists now, and give large buffers back."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    mallopt = getattr(_C_LIBRARY, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGE_BUFFER_BYTES)


def give_back_memory() -> None:
    """Return free pages inside the heap to the system; takes milliseconds, so not on the loop."""
    malloc_trim = getattr(_C_LIBRARY, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def resident_bytes() -> int:
    """Return the memory that this process uses now.

    Raises:
        OSError: the system does not tell.
    """
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def usable_bytes() -> int:
    """Return what this process may use at most: the machine's memory, or less by its control groups."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *group_limits(_OWN_GROUPS, _GROUPS)])


def group_limits(own_groups: Path, root: Path) -> list[int]:
    """Return the memory limits of the control groups that a process is in, outer ones included.

    `own_groups` has lines like `0::/a/b` (second version) or `4:memory:/a/b` (first), paths below `root`; inside a
    container the path may be one of the host, and the container's own group stands at the root.
    """
    found = []
    for directory in _group_directories(own_groups, root):
        for name in _LIMIT_FILES:
            try:
                text = (directory / name).read_text().strip()
            except OSError:
                continue  # no such file, or none of ours
            if text.isdecimal():  # else "max": no limit
                found.append(int(text))
    return found


def _group_directories(own_groups: Path, root: Path) -> list[Path]:
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:
        return []
    directories = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top = root
        elif "memory" in controllers.split(","):
            top = root / "memory"
        else:
            continue
        group = top / path.lstrip("/")
        directories += [group, *(parent for parent in group.parents if parent.is_relative_to(top))]
    return directories
