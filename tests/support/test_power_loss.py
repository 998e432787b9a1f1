"""The power loss of the tests: it takes what was not synced, and nothing else."""

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sybline.clock import SystemClock
from tests.support.disk_shim import DiskShim
from tests.support.power_loss import ALL, BLOCKS, FIRST, KEPT, NOTHING, SECTORS, lose_power

pytestmark = pytest.mark.integration
PRELUDE = """
import os, signal, sys
root = sys.argv[1]
os.chdir("/")
def path(name): return os.path.join(root, name)
def make(name): return os.open(path(name), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
def sync_names():
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)
def die(): os.kill(os.getpid(), signal.SIGKILL)
"""
DURABLE = """
file = make("file")
os.pwrite(file, b"old" * 2000, 0)
os.fdatasync(file)
sync_names()
"""


@pytest.fixture
def shim(tmp_path: Path) -> DiskShim:
    return DiskShim(tmp_path / "disk")


def run(shim: DiskShim, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program on the disk, until it kills itself."""
    return subprocess.run(
        [sys.executable, "-IS", "-c", PRELUDE + program + "\ndie()", str(shim.root)],
        env={**os.environ, **shim.environment()},
        capture_output=True,
        text=True,
        timeout=20,
    )


def contents(shim: DiskShim) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shim.root.iterdir() if path.is_file()}


def outcomes(
    shim: DiskShim, program: str, *, kept: tuple[str, ...] = KEPT, times: int = 16
) -> set[bytes]:
    """Return what `file` may hold after the program and a power loss; b"missing" without it."""
    found = set()
    for seed in range(times):
        result = run(shim, program)
        assert result.returncode == -9, result.stderr
        lose_power(shim, random.Random(seed), kept=kept)
        found.add(contents(shim).get("file", b"missing"))
        for path in shim.root.iterdir():
            path.unlink()
    return found


def test_what_was_synced_stays_whatever_chance_says(shim: DiskShim) -> None:
    program = DURABLE + "os.pwrite(file, b'new', 0); os.fdatasync(file)"
    assert outcomes(shim, program, times=10) == {b"new" + b"old" * 1999}


def test_what_was_not_synced_can_be_lost(shim: DiskShim) -> None:
    assert outcomes(shim, DURABLE + "os.pwrite(file, b'new', 0)", kept=(NOTHING,), times=1) == {
        b"old" * 2000
    }


def test_what_was_not_synced_can_stay(shim: DiskShim) -> None:
    program = DURABLE + "os.pwrite(file, b'new', 0)"
    assert outcomes(shim, program, kept=(ALL,), times=1) == {b"new" + b"old" * 1999}


def test_the_first_of_two_writes_can_stay_alone(shim: DiskShim) -> None:
    program = DURABLE + "os.pwrite(file, b'A', 0); os.pwritev(file, [b'B', b'B'], 1)"
    found = {body[:3] for body in outcomes(shim, program, kept=(FIRST,))}
    assert found == {b"old", b"Ald", b"ABB"}


def test_blocks_and_sectors_of_one_write_are_lost_each_by_itself(shim: DiskShim) -> None:
    program = DURABLE + "os.pwrite(file, b'n' * 6000, 0)"
    by_block = {(body[0], body[5999]) for body in outcomes(shim, program, kept=(BLOCKS,))}
    old = b"old" * 2000
    assert by_block == {(a, b) for a in (old[0], ord("n")) for b in (old[5999], ord("n"))}
    mixed = outcomes(shim, program, kept=(SECTORS,), times=10)
    assert any(
        len({body[at : at + 1] == b"n" for at in range(0, 4096, 512)}) == 2 for body in mixed
    )


def test_a_length_that_was_not_synced_can_be_lost_and_a_cut_undone(shim: DiskShim) -> None:
    longer = DURABLE + "os.posix_fallocate(file, 0, 9000); os.pwrite(file, b'x', 8999)"
    assert outcomes(shim, longer, kept=(NOTHING,), times=1) == {b"old" * 2000}
    cut = DURABLE + "os.ftruncate(file, 3)"
    assert outcomes(shim, cut, kept=(NOTHING,), times=1) == {b"old" * 2000}
    emptied = DURABLE + "make('file')"
    assert outcomes(shim, emptied, kept=(NOTHING,), times=1) == {b"old" * 2000}


def test_a_name_needs_a_sync_of_its_directory(shim: DiskShim) -> None:
    unnamed = "file = make('file'); os.write(file, b'a'); os.fdatasync(file)"
    assert outcomes(shim, unnamed) == {b"a", b"missing"}
    assert outcomes(shim, unnamed + "; sync_names()", times=5) == {b"a"}


def test_a_replaced_or_removed_file_can_come_back_whole(shim: DiskShim) -> None:
    replaced = (
        DURABLE + "other = make('other'); os.write(other, b'a'); os.fdatasync(other)\n"
        "os.rename(path('other'), path('file'))"
    )
    assert outcomes(shim, replaced) == {b"old" * 2000, b"a"}
    assert outcomes(shim, replaced + "; sync_names()", times=5) == {b"a"}
    removed = DURABLE + "os.unlink(path('file'))"
    assert outcomes(shim, removed) == {b"old" * 2000, b"missing"}
    assert outcomes(shim, removed + "; sync_names()", times=5) == {b"missing"}


def test_a_removed_directory_can_come_back(shim: DiskShim) -> None:
    made = "os.mkdir(path('directory')); sync_names()"
    run(shim, made)
    run(shim, "os.rmdir(path('directory'))")
    assert not (shim.root / "directory").exists()
    lose_power(shim, random.Random(1), kept=(NOTHING,))
    assert (shim.root / "directory").is_dir()


def test_what_a_process_before_did_not_sync_is_lost_with_the_next_one(shim: DiskShim) -> None:
    run(shim, DURABLE + "os.pwrite(file, b'new', 0)")
    run(shim, "open(path('file'), 'rb').read()")
    assert contents(shim)["file"].startswith(b"new"), "a kill alone loses nothing"
    lose_power(shim, random.Random(1), kept=(NOTHING,))
    assert contents(shim)["file"] == b"old" * 2000


def test_faults_reach_the_files_they_are_meant_for(shim: DiskShim) -> None:
    shim.fail(only="wanted", sync_error=errno.EIO, open_error=errno.EMFILE)
    result = run(
        shim,
        "file = make('other'); os.fdatasync(file)\n"
        "os.rename(path('other'), path('wanted'))\n"
        "for work in (lambda: os.fdatasync(file), lambda: make('wanted')):\n"
        "    try: work()\n"
        "    except OSError as error: print(error.errno, flush=True)",
    )
    assert result.stdout.split() == [str(errno.EIO), str(errno.EMFILE)], result.stderr
    assert shim.control.faults == 2
    shim.heal()
    assert outcomes(shim, DURABLE, times=1) == {b"old" * 2000}


def test_syncs_can_be_lost_without_a_word(shim: DiskShim) -> None:
    shim.fail(only="file", lose_syncs=1)
    assert outcomes(shim, DURABLE, kept=(NOTHING,), times=1) == {b""}


def test_the_wall_clock_can_be_set(shim: DiskShim) -> None:
    now_s = SystemClock().wall_ms() // 1000
    shim.control.wall_clock_s = -7200
    result = run(shim, "import time; print(int(time.time()), time.time_ns() // 10**9, flush=True)")
    assert all(abs(int(told) - (now_s - 7200)) < 30 for told in result.stdout.split())
