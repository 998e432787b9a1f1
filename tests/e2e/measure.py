"""What a scenario cost: time, the longest gap between two confirmed publishes, elections, failures, API writes.

Figures come from outside: the clients' history, the metrics of members and operator read through the API server, and
its audit log. What cannot be read is None and shown as a dash.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.e2e.audit import AuditTrail
from tests.e2e.kube import Failed, Kube, ending
from tests.e2e.life import Life, Scenario
from tests.support.load import Load

MEMBER_PORT = 7878
OPERATOR_PORT = 8080
OPERATOR_LABEL = "app.kubernetes.io/name=sybline-operator"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    scenario: str
    seconds: float
    gap_s: float
    confirmed: int
    failed: int  # publish calls that were not confirmed; clients repeat them
    elections: int | None
    writes: int | None  # of the operator to the API server, its lease apart


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far, and uses."""

    cpu_s: float
    memory_bytes: float


class Meter:
    """Plays scenarios under a load, and measures each."""

    def __init__(self, life: Life, load: Load, trail: AuditTrail | None) -> None:
        self._life, self._load, self._trail = life, load, trail

    async def around(self, scenario: Scenario) -> Row:
        """Play a scenario while the load goes on.

        Raises:
            Failed, AssertionError: as the scenario does.
        """
        await self._follow_trust()
        before = await asyncio.to_thread(highest_term, self._life)
        if self._trail:
            self._trail.take_writes()
        confirmed, failed = self._load.confirmed, self._load.failed_attempts
        began_s = time.monotonic()
        await asyncio.to_thread(scenario.run, self._life)
        ended_s = time.monotonic()
        after = await asyncio.to_thread(highest_term, self._life)
        return Row(
            scenario=scenario.name,
            seconds=ended_s - began_s,
            gap_s=self._load.history.longest_gap_s(began_s, ended_s),
            confirmed=self._load.confirmed - confirmed,
            failed=self._load.failed_attempts - failed,
            elections=None if None in (before, after) else after - before,
            writes=self._trail.take_writes() if self._trail else None,
        )

    async def _follow_trust(self) -> None:
        """Trust what is published now, as a client does that mounts it: an earlier scenario may have changed the CA."""
        trust = await asyncio.to_thread(self._life.trust)
        if trust != self._load.trust:
            self._load.trust = trust
            self._load.move_to(await asyncio.to_thread(self._life.addresses))


def highest_term(life: Life) -> int | None:
    """Return the highest term that a member knows; None: none of them tells."""
    scheme = "https" if life.tls else "http"
    terms = [
        metric(_page(life.kube, f"{scheme}:{pod}:{MEMBER_PORT}"), "sybline_raft_term")
        for pod in life.pods()
    ]
    known = [int(term) for term in terms if term is not None]
    return max(known, default=None)


def operator_usage(kube: Kube) -> Usage | None:
    """Return what the operator's process used; None: it does not tell."""
    pods = kube.list("pod", OPERATOR_LABEL)
    page = _page(kube, f"http:{pods[0]['metadata']['name']}:{OPERATOR_PORT}") if pods else ""
    cpu_s = metric(page, "process_cpu_seconds_total")
    memory_bytes = metric(page, "process_resident_memory_bytes")
    if cpu_s is None or memory_bytes is None:
        return None
    return Usage(cpu_s, memory_bytes)


def metric(page: str, name: str) -> float | None:
    """Return the value of a metric on a page of the text format, of its first series; None: it is not there."""
    found = re.search(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


def _page(kube: Kube, target: str) -> str:
    """Return a pod's metrics page, through the API server; "": it does not answer."""
    path = f"/api/v1/namespaces/{kube.namespace}/pods/{target}/proxy/metrics"
    try:
        return kube.kubectl("get", "--raw", path)
    except Failed:
        return ""


def rest(seconds: float) -> Callable[[Life], None]:
    """Return a scenario in which nothing happens for a while."""

    def run(_: Life) -> None:
        ending.wait(seconds)

    return run
