"""kubectl and helm as an administrator uses them, with deadlines; the cluster is whatever KUBECONFIG names."""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

Json = dict[str, Any]
COMMAND_S = 120.0
POLL_S = 0.5
ending = threading.Event()  # set: the run is being ended, and whoever waits gives up


class Failed(Exception):
    """A command failed, or what was waited for did not come."""


def run(command: Sequence[str], *, text: str = "", deadline_s: float = COMMAND_S) -> str:
    """Run a command and return what it printed.

    Raises:
        Failed: it ended with an error or not in time.
    """
    try:
        done = subprocess.run(
            list(command),
            input=text,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)}: no end within {deadline_s:g} s") from error
    except OSError as error:  # there is no such program
        raise Failed(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_for(
    what: str | Callable[[], str], condition: Callable[[], bool], *, deadline_s: float
) -> float:
    """Wait for a condition and return the seconds it took; a failing command counts as not yet.

    `what` may be a function: then the message tells how it stood at the end.

    Raises:
        Failed: not in time.
    """
    began_s, last = time.monotonic(), ""
    while time.monotonic() - began_s < deadline_s:
        try:
            if condition():
                return time.monotonic() - began_s
        except Failed as error:
            last = f" ({error})"
        if ending.wait(POLL_S):
            raise Failed("the run is being ended")
    awaited = what if isinstance(what, str) else what()
    raise Failed(f"not within {deadline_s:g} s: {awaited}{last}")


class Kube:
    """One namespace of a Kubernetes cluster."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *arguments: str, text: str = "") -> str:
        return run(["kubectl", "-n", self.namespace, *arguments], text=text)

    def get(self, kind: str, name: str) -> Json:
        found: Json = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def list(self, kind: str, selector: str = "") -> list[Json]:
        arguments = ["get", kind, "-o", "json", *(["-l", selector] if selector else [])]
        return list(json.loads(self.kubectl(*arguments))["items"])

    def apply(self, body: Json) -> None:
        self.kubectl("apply", "-f", "-", text=json.dumps(body))

    def patch(self, kind: str, name: str, body: Json) -> None:
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(body))

    def secret(self, name: str) -> dict[str, str]:
        data = self.get("secret", name)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
