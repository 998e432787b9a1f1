"""The operator from the working tree as a process of this machine, for one namespace of a real Kubernetes cluster.

Pods' addresses must be reachable from here (they are on ../shared/cluster). It runs with the rights of KUBECONFIG; what
its own account may do is tested by the installed chart.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sybline_operator import crash_points
from tests.e2e.kube import Failed, wait_for

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 40.0  # a look under way ends by its own time-outs


class HostOperator:
    """One `sybline-operator run`. Stop it, or use it as a context."""

    def __init__(
        self,
        namespace: str,
        *,
        image: str = "sybline:dev",
        log_file: Path | None = None,
        crash_at: str = "",
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        """`image`: the broker's where the resource names none; `crash_at`: see crash_points.py."""
        self.namespace = namespace
        self.log_file = log_file or Path(f"/tmp/sybline-operator-{namespace}-{os.getpid()}.log")
        self._arguments = ("--namespace", namespace, *arguments)
        self._environment = {
            **os.environ,
            "SYBLINE_OPERATOR_BROKER_IMAGE": image,
            **({crash_points.VARIABLE: crash_at} if crash_at else {}),
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0  # bytes of the log file that earlier processes wrote

    def start(self) -> "HostOperator":
        """Start the process; its log is appended to the file."""
        self._log_from = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sybline_operator", "run", *self._arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_until_it_looks(self, *, deadline_s: float = START_S) -> None:
        """Wait until it watches its namespace.

        Raises:
            Failed: it ended, or not in time.
        """

        def watches() -> bool:
            if not self.is_running:
                raise AssertionError(f"the operator ended:\n{self.log_text()}")
            return any(line.get("event") == "watching" for line in self.log_lines())

        wait_for(f"the operator watches {self.namespace}", watches, deadline_s=deadline_s)

    def wait_for_end(self, *, deadline_s: float) -> int:
        """Return the exit status of a process that is to end by itself.

        Raises:
            Failed: not in time.
        """
        assert self._process is not None
        try:
            return self._process.wait(deadline_s)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"the operator has not ended within {deadline_s:g} s") from error

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_S)

    def stop(self) -> int | None:
        """End it as a pod is ended: SIGTERM, then SIGKILL; return its exit status, None: it never ran."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode

    # --- its log ---
    def log_text(self) -> str:
        """Return what the current process wrote."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the structured lines of the current process."""
        for line in self.log_text().splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue  # a half line, or a traceback
            if isinstance(found, dict):
                yield found

    def __enter__(self) -> "HostOperator":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
