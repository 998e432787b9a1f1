"""All metrics of one member (wire contract §11): what is counted as it happens, and what is read for the page.

Everything is counted and read on the loop, without locks. The page's parts are in `calls`, `member_metrics` and
`queue_metrics`; those of the process and of Python come from prometheus_client.
"""

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from sybline.clock import Clock, SystemClock
from sybline.replication.log_time import LogTime
from sybline.telemetry.calls import GrpcCalls, HttpRequests
from sybline.telemetry.exposition import (
    Durations,
    Family,
    label_text,
    write_family,
    write_histograms,
)
from sybline.telemetry.member_metrics import MetricsSource, write_clients, write_member
from sybline.telemetry.queue_metrics import write_queues
from sybline.telemetry.settings_metrics import SettingsSource, write_settings
from sybline.telemetry.tls_metrics import TlsSource, write_tls
from sybline.v1 import admin_pb2, mq_pb2

_FSYNC_BOUNDS_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
_PROPOSAL_BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_CHECKPOINT_BOUNDS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_FSYNC: Final = Family("sybline_log_fsync_seconds", "histogram", "One write and sync of the log.")
_PROPOSAL: Final = Family(
    "sybline_raft_proposal_seconds", "histogram", "One command, from proposal to reply."
)
_CHECKPOINT: Final = Family("sybline_checkpoint_seconds", "histogram", "Writing one checkpoint.")
_LOGIN_FAILURES: Final = Family(
    "sybline_login_failures_total", "counter", "Logins with a wrong password or user."
)
_BUILD: Final = Family("sybline_build_info", "gauge", "Which version runs; always 1.")


class Metrics:
    """Counts for one member and writes its page. Replication's `Observer`."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._calls = GrpcCalls(_list_methods())
        self._http = HttpRequests()
        self._fsyncs = Durations(_FSYNC_BOUNDS_S)
        self._proposals = Durations(_PROPOSAL_BOUNDS_S)
        self._checkpoints = Durations(_CHECKPOINT_BOUNDS_S)
        self._login_failures = 0
        self._build = label_text(version=version("sybline"), python=platform.python_version())
        self._log_time = LogTime(self._clock)  # how old messages get while nothing is applied
        self._stamp_seen_ms = 0
        self._member: MetricsSource | None = None
        self._tls: Sequence[TlsSource] = ()
        self._settings: SettingsSource | None = None
        self._process = _build_process_registry()

    # --- calls ---
    def grpc_started(self, method: str) -> None:
        """A call begins; `method` is its bare name."""
        self._calls.started(method)

    def grpc_handled(self, method: str, code_name: str, seconds: float) -> None:
        """It ended; `code_name` as in INVALID_ARGUMENT."""
        self._calls.handled(method, code_name, seconds)

    def grpc_panicked(self) -> None:
        """A call met a bug; it is counted by `grpc_handled`, too."""
        self._calls.panicked()

    def login_failed(self) -> None:
        """A login was refused for its user or password."""
        self._login_failures += 1

    def http_started(self, method: str) -> float:
        """An HTTP request begins; return what `http_ended` wants to know."""
        self._http.started(method)
        return self._clock.monotonic_s()

    def http_ended(self, method: str, path: str, status: int, *, started_s: float) -> None:
        """Its answer ended; `path` is the pattern of its route."""
        self._http.ended(method, path, status, self._clock.monotonic_s() - started_s)

    # --- Observer ---
    def fsync_seconds(self, seconds: float) -> None:
        """One write and sync of the log took this long."""
        self._fsyncs.observe(seconds)

    def proposal_seconds(self, seconds: float) -> None:
        """One command took this long from `propose` to its reply."""
        self._proposals.observe(seconds)

    def checkpoint_seconds(self, seconds: float) -> None:
        """One checkpoint took this long to write."""
        self._checkpoints.observe(seconds)

    # --- the page ---
    def watch(self, member: MetricsSource) -> None:
        """Read this member for every page from now on."""
        self._member = member

    def watch_tls(self, sources: Sequence[TlsSource]) -> None:
        """Show these certificates on every page from now on."""
        self._tls = sources

    def watch_settings(self, source: SettingsSource) -> None:
        """Show how changes of the configuration file fared on every page from now on."""
        self._settings = source

    def render(self) -> bytes:
        """Return the page, as of now."""
        parts = [
            write_family(_BUILD, [(self._build, 1)]),
            self._calls.write(),
            self._http.write(),
            write_family(_LOGIN_FAILURES, [("", self._login_failures)]),
            write_histograms(_FSYNC, [("", self._fsyncs)]),
            write_histograms(_PROPOSAL, [("", self._proposals)]),
            write_histograms(_CHECKPOINT, [("", self._checkpoints)]),
        ]
        if self._member is not None:
            parts += self._write_member(self._member)
        if self._tls:
            parts.append(write_tls(self._tls))
        if self._settings is not None:
            parts.append(write_settings(self._settings))
        return "".join(parts).encode() + generate_latest(self._process)

    def _write_member(self, member: MetricsSource) -> list[str]:
        machine = member.machine
        queues = list(machine.queue_stats())
        if machine.now_ms != self._stamp_seen_ms:
            self._stamp_seen_ms = machine.now_ms
            self._log_time.follow(machine.now_ms)
        return [
            write_member(member),
            write_clients(machine, queues),
            write_queues(queues, now_ms=self._log_time.now_ms()),
        ]


def _list_methods() -> Iterator[tuple[str, str]]:
    """Yield service and method of every call that is counted."""
    for file in (mq_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            for method in service.methods_by_name:
                yield service.full_name, method


def _build_process_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
