"""What the operator wants to exist: restricted pods, stable names, and templates that change only for a reason."""

from typing import Any

import pytest

from sybline_operator.manifests import configuration, disruption, network, workload
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.names import Names
from sybline_operator.resource.spec import SpecError, parse_spec

NAMES = Names("shop", "orders")
OWNER = Owner("orders", "0b6e0c9e-0000-4000-8000-000000000000")


def wanted(image: str = "sybline:1", **spec: Any) -> Wanted:
    return Wanted(parse_spec(spec), NAMES, OWNER, image)


def test_pods_fit_the_restricted_pod_security_standard() -> None:
    pod = workload.pod_template(wanted())["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False


def test_liveness_never_asks_for_a_quorum() -> None:
    container = workload.pod_template(wanted())["spec"]["containers"][0]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_workload_restarts_nothing_by_itself_and_starts_everything_at_once() -> None:
    desired = wanted()
    found = workload.stateful_set(
        desired,
        replicas=3,
        template=workload.pod_template(desired),
        storage_size="1Gi",
        generation=1,
    )
    assert found["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert found["spec"]["podManagementPolicy"] == "Parallel"
    assert found["spec"]["serviceName"] == NAMES.peer_service
    assert found["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid


def test_members_find_each_other_before_they_are_ready() -> None:
    service = network.peer_service(wanted())
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"image": "sybline:2"},
        {"resources": {"requests": {"cpu": "1"}}},
        {"config": {"raft": {"heartbeat_s": 0.2}}},
        {"scheduling": {"nodeSelector": {"disk": "fast"}}},
        {"podTemplate": {"labels": {"team": "shop"}}},
    ],
)
def test_what_a_pod_is_made_of_changes_its_template(change: dict[str, Any]) -> None:
    before = workload.template_hash(workload.pod_template(wanted()))
    assert workload.template_hash(workload.pod_template(wanted(**change))) != before


@pytest.mark.parametrize(
    "change", [{"replicas": 5}, {"service": {"type": "NodePort"}}, {"storage": {"size": "20Gi"}}]
)
def test_what_is_not_in_a_pod_restarts_none(change: dict[str, Any]) -> None:
    before = workload.template_hash(workload.pod_template(wanted()))
    assert workload.template_hash(workload.pod_template(wanted(**change))) == before


def test_labels_of_users_never_replace_those_that_find_the_pods() -> None:
    desired = wanted(podTemplate={"labels": {"app.kubernetes.io/name": "other", "team": "shop"}})
    labels = workload.pod_template(desired)["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "sybline"
    assert labels["team"] == "shop"


def test_the_budget_keeps_so_many_pods_ready() -> None:
    budget = disruption.disruption_budget(wanted(), pods_needed=2)
    assert budget["spec"]["minAvailable"] == 2
    assert budget["spec"]["selector"]["matchLabels"] == wanted().names.selector


def test_secrets_outlive_the_resource_as_the_disks_do() -> None:
    assert "ownerReferences" not in configuration.admin_secret(wanted(), "x")["metadata"]
    assert "ownerReferences" not in configuration.peer_secret(wanted(), "x")["metadata"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"replicas": 2}, "an even number of members"),
        ({"replicas": 0}, "spec.replicas"),
        ({"config": {"member": {"id": 7}}}, "spec.config.member is set by the operator"),
        ({"service": {"type": "ExternalName"}}, "spec.service.type"),
        (
            {
                "monitoring": {"podMonitor": True},
                "config": {"metrics": {"require_client_cert": True}},
            },
            "members would refuse Prometheus",
        ),
    ],
)
def test_a_spec_that_cannot_be_carried_out_is_refused_by_name(
    spec: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        parse_spec(spec)


@pytest.mark.parametrize(
    ("pod", "ordinal"),
    [
        ("orders-0", 0),
        ("orders-10", 10),
        ("orders-x", None),
        ("orders-01", None),
        ("other-1", None),
    ],
)
def test_a_pod_is_told_by_its_exact_name(pod: str, ordinal: int | None) -> None:
    assert NAMES.ordinal(pod) == ordinal
