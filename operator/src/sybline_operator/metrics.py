"""Everything the operator counts and measures, under one roof: docs/operations/operator.md lists it for people.

A registry of its own: two operators in one process, as in tests, do not mix. Nothing here decides.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Key = tuple[str, str]  # namespace, name
_LOOK_BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_CERTIFICATE_ENDS: Final = (("certificate", "notAfter"), ("ca", "caNotAfter"))  # in status.tls

# A second series for each counter, for a protocol that nobody speaks here.
disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated


class Metrics:
    """The series; their names begin with `sybline_operator_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.looks = self._counter("looks", "Looks at clusters that ended", "outcome")
        self.look_seconds = Histogram(
            "sybline_operator_look_seconds", "How long a look took",
            buckets=_LOOK_BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self.steps = self._counter("steps", "Steps taken", "step")
        self.refusals = self._counter("refusals", "Refusals told, once for each change", "reason")
        self.requests = self._counter("api_requests", "Requests to the API server", "verb", "code")
        self.acts = self._gauge("acts", "1: this replica acts, 0: it stands by")
        self._gauge("build_info", "Always 1", "version").labels(version("sybline")).set(1)
        self.clusters = _Clusters()
        self.registry.register(self.clusters)

    def answered(self, verb: str, status: int) -> None:
        """Count a request to the API server; status 0: no answer."""
        self.requests.labels(verb, str(status) if status else "none").inc()

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"sybline_operator_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sybline_operator_{name}", text, labels, registry=self.registry)


class _Clusters(Collector):
    """What was last told about each cluster, and how long ago that was."""

    def __init__(self) -> None:
        self._status: dict[Key, Mapping[str, Any]] = {}
        self.ages_s: Callable[[], Mapping[Key, float]] = dict  # since the last look that ended well

    def tell(self, key: Key, status: Mapping[str, Any]) -> None:
        """Remember the status of a cluster, as written or found unchanged."""
        self._status[key] = status

    def forget(self, key: Key) -> None:
        """Stop telling about a cluster that is gone."""
        self._status.pop(key, None)

    def collect(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "sybline_operator_look_age_seconds",
            "Since the last look at a cluster that ended well",
            labels=("namespace", "cluster"),
        )
        for key, age_s in self.ages_s().items():
            age.add_metric(key, age_s)
        condition = GaugeMetricFamily(
            "sybline_operator_cluster_condition",
            "A condition of a cluster: 1 true, 0 not",
            labels=("namespace", "cluster", "condition"),
        )
        ends = GaugeMetricFamily(
            "sybline_operator_certificate_not_after_seconds",
            "When what a cluster serves with ends, as Unix time",
            labels=("namespace", "cluster", "kind"),
        )
        for key, status in list(self._status.items()):  # looks tell from their threads
            for found in status.get("conditions", ()):
                condition.add_metric((*key, found["type"]), found["status"] == "True")
            tls = status.get("tls") or {}
            for kind, field in _CERTIFICATE_ENDS:
                if tls.get(field):
                    ends.add_metric((*key, kind), datetime.fromisoformat(tls[field]).timestamp())
        yield from (age, condition, ends)
