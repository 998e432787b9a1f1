"""What a member knows and does about its memory; settings of the whole process, in a process of its own."""

import subprocess
import sys
from pathlib import Path

from sybline.process_memory import (
    give_back_memory,
    group_limits,
    resident_bytes,
    usable_bytes,
)

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


def test_a_process_knows_what_it_uses_and_what_it_may_use() -> None:
    give_back_memory()
    assert 1 << 20 < resident_bytes() < usable_bytes()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_limits_of_all_groups_around_a_process_count(tmp_path: Path) -> None:
    root, own = tmp_path / "groups", tmp_path / "own"
    write(own, "0::/pods/broker\n")
    write(root / "pods/broker/memory.max", "max\n")
    write(root / "pods/memory.max", "2000\n")
    write(root / "memory.max", "9000\n")
    write(root / "others/memory.max", "1\n")
    assert group_limits(own, root) == [2000, 9000]


def test_inside_a_container_its_own_group_stands_at_the_root(tmp_path: Path) -> None:
    write(tmp_path / "own", "0::/kubepods/pod1/abc\n")
    write(tmp_path / "groups/memory.max", "3000\n")
    assert group_limits(tmp_path / "own", tmp_path / "groups") == [3000]


def test_groups_of_the_first_version_are_known(tmp_path: Path) -> None:
    write(tmp_path / "own", "5:cpu,cpuacct:/a\n4:memory:/a\n")
    write(tmp_path / "groups/memory/a/memory.limit_in_bytes", "4000\n")
    write(tmp_path / "groups/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert group_limits(tmp_path / "own", tmp_path / "groups") == [4000, 9223372036854771712]


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert group_limits(tmp_path / "own", tmp_path) == []
