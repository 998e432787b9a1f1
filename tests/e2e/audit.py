"""What the API server's audit log says of one account: which requests it made, and how many of them were writes."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
COMPLETE: Final = "ResponseComplete"


@dataclass(frozen=True, slots=True)
class Request:
    """One answered request."""

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    status: int

    @property
    def is_write(self) -> bool:
        """Return whether it could change an object. A renewed lease does not count: it is due at rest as well."""
        return self.verb in WRITES and self.resource != "leases"


def account(namespace: str, name: str) -> str:
    """Return how the log names a service account."""
    return f"system:serviceaccount:{namespace}:{name}"


def _request(event: dict) -> Request:
    target = event.get("objectRef", {})
    return Request(
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        status=event.get("responseStatus", {}).get("code", 0),
    )


class AuditTrail:
    """The requests of an account from now on; follows the log when it is turned over, if it is read in between."""

    def __init__(self, log: Path, user: str) -> None:
        self._log, self._user = log, user
        self._file = log.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._begun = b""  # a line that is not whole yet
        self._counted = 0
        self.requests: list[Request] = []

    def close(self) -> None:
        """Let the log go."""
        self._file.close()

    def read(self) -> list[Request]:
        """Return all requests so far."""
        while True:
            is_current = os.fstat(self._file.fileno()).st_ino == self._log.stat().st_ino
            self._read_on()  # after the look: what was written before the log was turned over is there
            if is_current:
                return self.requests
            self._file.close()
            self._file, self._begun = self._log.open("rb"), b""

    def take_writes(self) -> int:
        """Return how many writes came since the last call, or since it was made."""
        found = self.read()[self._counted :]
        self._counted += len(found)
        return sum(request.is_write for request in found)

    def _read_on(self) -> None:
        *lines, self._begun = (self._begun + self._file.read()).split(b"\n")
        for line in lines:
            if self._user.encode() not in line:
                continue
            event = json.loads(line)
            if event["user"]["username"] == self._user and event["stage"] == COMPLETE:
                self.requests.append(_request(event))
