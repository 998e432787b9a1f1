"""Crash points end a process at once, at the time they were asked for, and never else."""

import os
import subprocess
import sys

import pytest

from sybline_operator.crash_points import EXIT_STATUS, VARIABLE

PROGRAM = """
from sybline_operator.crash_points import reach
try:
    for name in ("before-AddMember", "after-AddMember", "before-AddMember"):
        reach(name)
        print(name, flush=True)
finally:
    print("tidied up", flush=True)
"""


@pytest.mark.parametrize(
    ("asked", "status", "lines"),
    [
        ("", 0, ["before-AddMember", "after-AddMember", "before-AddMember", "tidied up"]),
        ("other", 0, ["before-AddMember", "after-AddMember", "before-AddMember", "tidied up"]),
        ("after-AddMember", EXIT_STATUS, ["before-AddMember"]),
        ("before-AddMember:2", EXIT_STATUS, ["before-AddMember", "after-AddMember"]),
    ],
)
def test_the_process_ends_where_it_is_told_to(asked: str, status: int, lines: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, VARIABLE: asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status
    assert done.stdout.splitlines() == lines
    assert ("crash point" in done.stderr) == (status != 0)
