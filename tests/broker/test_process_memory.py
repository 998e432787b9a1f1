"""What a member does about its memory, in a process of its own: the settings are of the whole process."""

import subprocess
import sys

PROGRAM = """
import gc
from pathlib import Path
from sybline.process_memory import GC_THRESHOLDS, settle_memory

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

settle_memory()
assert gc.get_threshold() == GC_THRESHOLDS
assert gc.get_freeze_count() > 1_000
before = resident_mib()
kept = []
for _ in range(64):  # what batches do: large buffers, with something small behind each of them
    large = bytearray(3 << 20)
    kept.append(bytearray(1_000))
    larger = bytes(large)
    del large, larger
assert resident_mib() - before < 8, resident_mib() - before
"""


def test_large_buffers_go_back_to_the_system_and_the_collector_is_calm() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
