"""Long commands whose progress is shown, and which end with whoever started them."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.e2e.kube import Failed

GRACE_S: Final = 150.0  # to delete a namespace and print what was found


def stream(
    command: Sequence[str],
    *,
    deadline_s: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command with its messages shown, and return what it printed.

    Raises:
        Failed: it ended with an error, or not in time; then its process group has been ended.
    """
    with subprocess.Popen(
        list(command),
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{' '.join(command)}: no end within {deadline_s:g} s") from error
        finally:
            _end(process)
    if process.returncode:
        raise Failed(f"{' '.join(command)}: exit status {process.returncode}")
    return printed


def follow(command: Sequence[str], *, deadline_s: float, environment: Mapping[str, str]) -> int:
    """Run a command in the foreground and return its exit status: 1 if it took too long and was ended."""
    process = subprocess.Popen(
        list(command), env={**os.environ, **environment}, start_new_session=True
    )
    try:
        return process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        print(f"e2e: ended after {deadline_s:g} s: {' '.join(command)}", file=sys.stderr)
        return 1
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """End a process and what it started: asked first, then by force."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
