"""How many files a process may open, in a process of its own: the limit is of the whole process."""

import subprocess
import sys

PROGRAM = """
import errno
import resource
from sybline.process_files import open_files, open_files_max, raise_open_files_limit

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
assert open_files_max() == 64
assert raise_open_files_limit() == 128
assert open_files_max() == 128
before = open_files()
kept = [open("/dev/null")]
assert open_files() == before + 1
try:
    while True:
        kept.append(open("/dev/null"))
except OSError as error:
    assert error.errno == errno.EMFILE
assert open_files() == 128
"""


def test_a_process_gets_as_many_files_as_it_may_have_and_knows_when_none_is_left() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
