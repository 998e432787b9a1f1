"""Calls from outside: of gRPC services and of the HTTP listener, under the names old dashboards know (wire §11).

Counting one call costs about a microsecond: plain numbers on the loop, no locks; names and labels are put together
when somebody asks for the page. Refused calls count like any others.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from sybline.telemetry.exposition import (
    Durations,
    Family,
    label_text,
    write_family,
    write_histograms,
)

_CALL_BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_REQUEST_BOUNDS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_HTTP_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_OTHER: Final = "other"  # a method nobody serves: callers must not be able to make up series
_SERVICE: Final = "sybline"

_STARTED: Final = Family("grpc_server_started_total", "counter", "Calls begun.")
_HANDLED: Final = Family("grpc_server_handled_total", "counter", "Calls ended, by code.")
_RECEIVED: Final = Family("grpc_server_msg_received_total", "counter", "Requests read.")
_SENT: Final = Family("grpc_server_msg_sent_total", "counter", "Responses sent.")
_HANDLING: Final = Family("grpc_server_handling_seconds", "histogram", "Time from begin to end.")
_PANICS: Final = Family(
    "grpc_req_panics_recovered_total", "counter", "Calls that ended with INTERNAL by a bug."
)
_REQUESTS: Final = Family("http_requests_total", "counter", "HTTP requests answered.")
_REQUEST_TIME: Final = Family(
    "http_request_duration_seconds", "histogram", "Time to the end of the answer."
)
_IN_PROGRESS: Final = Family(
    "http_requests_in_progress_total", "gauge", "HTTP requests being answered."
)


class _Method:
    """Counts of one gRPC method."""

    __slots__ = ("durations", "handled", "labels", "started")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.started = 0
        self.handled: dict[str, int] = {}  # by name of the status code
        self.durations = Durations(_CALL_BOUNDS_S)


class GrpcCalls:
    """Calls of unary methods, whose bare names differ. One request and at most one response belong to each."""

    def __init__(self, methods: Iterable[tuple[str, str]]) -> None:
        """`methods`: pairs of service and method."""
        self._methods = {
            method: _Method(label_text(grpc_type="unary", grpc_service=service, grpc_method=method))
            for service, method in methods
        }
        self._panics = 0

    def started(self, method: str) -> None:
        """Count a call of a method."""
        self._methods[method].started += 1

    def handled(self, method: str, code: str, seconds: float) -> None:
        """Count its end; `code` is the name of a status code, as in INVALID_ARGUMENT."""
        found = self._methods[method]
        found.handled[code] = found.handled.get(code, 0) + 1
        found.durations.observe(seconds)

    def panicked(self) -> None:
        """Count a call that met a bug; it is also one that ended with INTERNAL."""
        self._panics += 1

    def write(self) -> str:
        """Return the page's part."""
        methods = self._methods.values()
        started = [(each.labels, each.started) for each in methods]
        return "".join(
            (
                write_family(_STARTED, started),
                write_family(_HANDLED, self._handled_samples()),
                write_family(_RECEIVED, started),
                write_family(_SENT, ((m.labels, m.handled.get("OK", 0)) for m in methods)),
                write_histograms(_HANDLING, ((each.labels, each.durations) for each in methods)),
                write_family(_PANICS, [("", self._panics)]),
            )
        )

    def _handled_samples(self) -> Iterator[tuple[str, int]]:
        for method in self._methods.values():
            for code, count in method.handled.items():
                yield f"{method.labels},{label_text(grpc_code=_old_name(code))}", count


def _old_name(code: str) -> str:
    """Return a status code as the earlier server spelled it: InvalidArgument."""
    match code:
        case "OK":
            return code
        case "CANCELLED":
            return "Canceled"
    return code.title().replace("_", "")


class HttpRequests:
    """Requests to the HTTP listener."""

    def __init__(self) -> None:
        self._ended: dict[tuple[int, str, str], Durations] = {}  # by status, method, path
        self._in_progress: dict[str, int] = {}

    def started(self, method: str) -> None:
        """Count a request that begins."""
        known = _known(method)
        self._in_progress[known] = self._in_progress.get(known, 0) + 1

    def ended(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count its end; `path` is the pattern of its route, never what the client wrote."""
        known = _known(method)
        self._in_progress[known] -= 1
        key = (status, known, path)
        if key not in self._ended:
            self._ended[key] = Durations(_REQUEST_BOUNDS_S)
        self._ended[key].observe(seconds)

    def write(self) -> str:
        """Return the page's part."""
        rows = [
            (label_text(service=_SERVICE, status_code=status, method=method, path=path), durations)
            for (status, method, path), durations in self._ended.items()
        ]
        in_progress = [
            (label_text(service=_SERVICE, method=method), count)
            for method, count in self._in_progress.items()
        ]
        return "".join(
            (
                write_family(_REQUESTS, ((labels, each.count) for labels, each in rows)),
                write_histograms(_REQUEST_TIME, rows),
                write_family(_IN_PROGRESS, in_progress),
            )
        )


def _known(method: str) -> str:
    return method if method in _HTTP_METHODS else _OTHER
