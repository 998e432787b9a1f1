"""How many files this process may have open: connections of clients and members, log segments, checkpoints.

Owns the limit of the whole process, so only `app` raises it, once, before anything is opened.
"""

import errno
import resource
from pathlib import Path
from typing import Final

_OPEN: Final = Path("/proc/self/fd")


def raise_open_files_limit() -> int:
    """Allow this process as many open files as the system lets it, and return how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def open_files_max() -> int:
    """Return how many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_files() -> int:
    """Return how many files this process has open.

    Raises:
        OSError: the system does not tell.
    """
    try:
        return sum(1 for _ in _OPEN.iterdir())
    except OSError as error:
        if error.errno == errno.EMFILE:  # none is left to look with
            return open_files_max()
        raise
