"""How this process uses memory: when the collector looks for cycles, and when large buffers go back to the system.

Owns both settings; they are of the whole process, so only `app` calls this, once, when the member has been built.
"""

import ctypes
import gc
from typing import Final

GC_THRESHOLDS: Final = (10_000, 20, 50)  # the standard ones cost a publish a fifth of its time
# A buffer of this size is a mapping of its own, given back when it is freed. Otherwise glibc raises this bound to the
# largest buffer it has seen, and the heap keeps what batches of several MiB left: 175 instead of 109 MiB at a leader.
LARGE_BUFFER_BYTES: Final = 1 << 20
_M_TRIM_THRESHOLD: Final = -1  # glibc's malloc.h
_M_MMAP_THRESHOLD: Final = -3


def settle_memory() -> None:
    """Look for cycles less often, never again among what exists now, and give large buffers back."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library has no such trouble, or no such remedy
        mallopt(_M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGE_BUFFER_BYTES)
