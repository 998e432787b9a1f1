"""An operator whose way to the API server is cut or goes silent while it watches: it gets over both, without a restart.

Needs KUBECONFIG. A proxy stands between the two; no pod ever runs: drift in a Service is what there is to act on.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sybline_operator import limits
from tests.e2e.api_proxy import ApiProxy
from tests.e2e.host_operator import HostOperator
from tests.e2e.kube import Json, Kube, wait_for

pytestmark = pytest.mark.kubernetes
SERVICE = "orders-peers"
MENDED_S = limits.ERROR_BACKOFF_MAX_S + 30.0


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ApiProxy]:
    with ApiProxy(Path(os.environ["KUBECONFIG"]), tmp_path) as proxy:
        yield proxy


@pytest.fixture
def operator(kube: Kube, proxy: ApiProxy, tmp_path: Path) -> Iterator[HostOperator]:
    operator = HostOperator(
        kube.namespace,
        log_file=tmp_path / "operator.log",
        environment={"KUBECONFIG": str(proxy.kubeconfig)},
    )
    try:
        yield operator
    finally:
        operator.kill()


def cluster(name: str) -> Json:
    return {
        "apiVersion": "sybline.io/v1alpha1",
        "kind": "SyblineCluster",
        "metadata": {"name": name},
        "spec": {"image": "nowhere/sybline:none", "tls": {"mode": "Disabled"}},
    }


def service_of(kube: Kube, name: str) -> bool:
    return any(body["metadata"]["name"] == f"{name}-peers" for body in kube.list("service"))


def drift(kube: Kube) -> None:
    kube.patch("service", SERVICE, {"spec": {"publishNotReadyAddresses": False}})


def is_mended(kube: Kube) -> bool:
    return kube.get("service", SERVICE)["spec"].get("publishNotReadyAddresses") is True


@pytest.fixture
def watching(kube: Kube, operator: HostOperator) -> HostOperator:
    """An operator that has made a cluster's objects."""
    kube.apply(cluster("orders"))
    operator.start()
    wait_for("the objects are made", lambda: service_of(kube, "orders"), deadline_s=MENDED_S)
    return operator


def has_failed(operator: HostOperator) -> bool:
    return any(line.get("event") == "look_failed" for line in operator.log_lines())


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_what_happened_while_the_api_server_was_out_of_reach_is_found_afterwards(
    kube: Kube, proxy: ApiProxy, watching: HostOperator, fault: str
) -> None:
    {"cut": proxy.cut, "silence": proxy.silence}[fault]()
    drift(kube)  # by another way; the watch does not hear of it
    kube.apply(cluster("invoices"))
    # A look that is due while nothing answers fails, and says so; a watch that is cut wakes none.
    wait_for(
        "a look has failed",
        lambda: has_failed(watching),
        deadline_s=limits.RECONCILE_IDLE_S + 2 * limits.API_TIMEOUT_S,
    )
    proxy.heal()
    wait_for("the drift is mended", lambda: is_mended(kube), deadline_s=MENDED_S)
    wait_for("the new one is seen", lambda: service_of(kube, "invoices"), deadline_s=MENDED_S)
    assert watching.is_running


def test_an_operator_that_starts_while_nobody_answers_begins_when_somebody_does(
    kube: Kube, proxy: ApiProxy, operator: HostOperator
) -> None:
    proxy.cut()
    kube.apply(cluster("orders"))
    operator.start()
    lines = operator.log_lines
    wait_for(
        "it waits",
        lambda: any(line.get("event") == "definition_not_there" for line in lines()),
        deadline_s=60.0,
    )
    proxy.heal()
    wait_for("the objects are made", lambda: service_of(kube, "orders"), deadline_s=MENDED_S)
    assert operator.is_running
