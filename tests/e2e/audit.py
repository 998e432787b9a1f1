"""What the API server's audit log says of one account: which requests it made, and how many of them were writes."""

import json
from collections.abc import Iterator
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


def read_requests(log: Path, user: str, *, since_bytes: int = 0) -> Iterator[Request]:
    """Yield the requests of a user that the log has from an offset on."""
    with log.open("rb") as lines:
        lines.seek(since_bytes)
        for line in lines:
            if user.encode() not in line or not line.endswith(b"\n"):
                continue
            event = json.loads(line)
            if event["user"]["username"] == user and event["stage"] == COMPLETE:
                yield _request(event)


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


class WriteCounter:
    """Counts the writes of an account since the last time it was asked."""

    def __init__(self, log: Path, user: str) -> None:
        self._log, self._user = log, user
        self._offset_bytes = log.stat().st_size

    def take(self) -> int:
        """Return how many writes came since the last call, or since it was made."""
        since = self._offset_bytes
        self._offset_bytes = self._log.stat().st_size
        return sum(r.is_write for r in read_requests(self._log, self._user, since_bytes=since))
