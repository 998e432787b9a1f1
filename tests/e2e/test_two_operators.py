"""Two operator processes against a real API server: one acts, the other takes over, and never do both take steps.

Needs KUBECONFIG. No pod ever runs: drift that a test makes in a Service is what there is to act on.
"""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sybline_operator import limits, operate
from sybline_operator.names import CLUSTER_LABEL
from tests.e2e.host_operator import HostOperator
from tests.e2e.kube import Kube, wait_for

pytestmark = pytest.mark.kubernetes
LEASE = "operator"
TAKEN_OVER_S = limits.LEASE_S + 3 * limits.LEASE_RETRY_S + 10.0  # and the start of a look
SERVICE = "orders-peers"


class Pair:
    """Two operators of one namespace, which act for the same clusters."""

    def __init__(self, kube: Kube, directory: Path) -> None:
        self.kube = kube
        self.operators = {
            name: HostOperator(
                kube.namespace,
                log_file=directory / f"{name}.log",
                environment={"POD_NAME": name, "POD_NAMESPACE": kube.namespace},
                arguments=("--lease", LEASE),
            )
            for name in ("one", "two")
        }

    def holder(self) -> str:
        return str(self.kube.get("lease", LEASE)["spec"].get("holderIdentity") or "")

    def wait_for_holder(self, name: str, *, deadline_s: float = TAKEN_OVER_S) -> float:
        return wait_for(
            f"{name} acts", lambda: self.holder() == name, deadline_s=deadline_s
        )  # fmt: skip

    def stands_by(self, name: str) -> None:
        lines = self.operators[name].log_lines
        wait_for(
            f"{name} stands by",
            lambda: any(line.get("event") == "stands_by" for line in lines()),
            deadline_s=60.0,
        )

    def acts_on_drift(self) -> None:
        """Make a difference, and see it mended."""
        change = {"spec": {"publishNotReadyAddresses": False}}
        self.kube.patch("service", SERVICE, change)
        wait_for("the drift is mended", self._is_mended, deadline_s=60.0)

    def _is_mended(self) -> bool:
        return self.kube.get("service", SERVICE)["spec"].get("publishNotReadyAddresses") is True

    def times_of_acting(self, name: str) -> list[float]:
        """Return when an operator took steps or was told to watch."""
        events = ("step_taken", "watching")
        return [
            datetime.fromisoformat(line["timestamp"]).timestamp()
            for line in map(json.loads, _json_lines(self.operators[name].log_file))
            if line.get("event") in events
        ]


def wall_s() -> float:
    """Return the time by which log lines are stamped, on this one machine."""
    return datetime.now(UTC).timestamp()  # noqa: TID251


def _json_lines(log_file: Path) -> list[str]:
    return [line for line in log_file.read_text().splitlines() if line.startswith("{")]


@pytest.fixture
def pair(kube: Kube, tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(kube, tmp_path)
    kube.apply(
        {
            "apiVersion": "sybline.io/v1alpha1",
            "kind": "SyblineCluster",
            "metadata": {"name": "orders"},
            "spec": {"image": "nowhere/sybline:none", "tls": {"mode": "Disabled"}},
        }
    )
    try:
        pair.operators["one"].start()
        pair.wait_for_holder("one", deadline_s=60.0)
        pair.operators["two"].start()
        pair.stands_by("two")
        wait_for("children", lambda: bool(kube.list("service", CLUSTER_LABEL)), deadline_s=60.0)
        yield pair
    finally:
        for operator in pair.operators.values():
            operator.kill()


def test_the_other_takes_over_when_the_acting_one_is_killed(pair: Pair) -> None:
    pair.acts_on_drift()
    pair.operators["one"].kill()
    killed_s = wall_s()
    took_s = pair.wait_for_holder("two")
    pair.acts_on_drift()
    assert took_s <= TAKEN_OVER_S
    assert min(pair.times_of_acting("two")) > killed_s
    assert max(pair.times_of_acting("one")) < killed_s


def test_one_that_was_stopped_for_long_finds_that_it_no_longer_acts_and_ends(pair: Pair) -> None:
    one, two = pair.operators["one"], pair.operators["two"]
    one.signal(signal.SIGSTOP)
    stopped_s = wall_s()
    pair.wait_for_holder("two")
    pair.acts_on_drift()
    one.signal(signal.SIGCONT)
    assert one.wait_for_end(deadline_s=30.0) == operate.LEASE_LOST
    assert any(line.get("event") == "lease_lost" for line in one.log_lines())
    assert max(pair.times_of_acting("one")) < stopped_s < min(pair.times_of_acting("two"))
    one.start()
    pair.stands_by("one")
    assert two.is_running
    assert pair.holder() == "two"


def test_one_that_is_stopped_in_order_gives_the_lease_away_at_once(pair: Pair) -> None:
    assert pair.operators["one"].stop() == 0
    assert pair.wait_for_holder("two", deadline_s=limits.LEASE_S) < limits.LEASE_S
    pair.acts_on_drift()
