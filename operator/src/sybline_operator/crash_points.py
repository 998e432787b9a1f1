"""Named points at which a test ends the operator as a power cut would: at once, with nothing tidied up.

SYBLINE_OPERATOR_CRASH_AT=NAME ends it the first time the point is reached, NAME:N the N-th time. Without the variable
`reach` does nothing.
"""

import os
import sys
from collections import Counter
from threading import Lock
from typing import Final

VARIABLE: Final = "SYBLINE_OPERATOR_CRASH_AT"
EXIT_STATUS: Final = 86  # tells a crash on request from every other end

_reached: Counter[str] = Counter()
_lock = Lock()


def reach(name: str) -> None:
    """End the process here if the variable asks for it."""
    wanted, _, times = os.environ.get(VARIABLE, "").partition(":")
    if wanted != name:
        return
    with _lock:  # looks at several clusters run in threads
        _reached[name] += 1
        if _reached[name] < int(times or 1):
            return
        sys.stderr.write(f"crash point {name}\n")
        sys.stderr.flush()
        os._exit(EXIT_STATUS)
