"""What users may add to the operator's objects, what is refused, and who may reach the members."""

from typing import Any

import pytest

from sybline_operator.json_object import Json
from sybline_operator.manifests import network, workload
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.manifests.monitoring import pod_monitor
from sybline_operator.names import Names
from sybline_operator.observe import pod_seen
from sybline_operator.resource import pod_rules
from sybline_operator.resource.spec import SpecError, check_references, parse_spec
from tests.operator.forbidden import FORBIDDEN

OWNER = Owner("orders", "0b6e0c9e-0000-4000-8000-000000000000")
CLIENT, HTTP, PEER = 2221, 7878, 1111
MEMBERS = {"podSelector": {"matchLabels": Names("shop", "orders").selector}}
SHOP = {"podSelector": {"matchLabels": {"app": "shop"}}}


def wanted(operator: str = "sybline-system", **spec: Any) -> Wanted:
    return Wanted(parse_spec(spec), Names("shop", "orders"), OWNER, "sybline:1", operator)


def who(body: Json, port: int) -> list[Json] | None:
    """Return the peers that may reach a port; None: everybody."""
    peers: list[Json] = []
    for rule in body["spec"]["ingress"]:
        if port in [allowed["port"] for allowed in rule["ports"]]:
            if "from" not in rule:
                return None
            assert rule["from"], "to Kubernetes an empty list is everybody"
            peers += rule["from"]
    return peers


# --- containers beside the broker ---
@pytest.mark.parametrize("case", FORBIDDEN, ids=lambda case: str(case.name))
def test_what_would_break_safety_is_refused(case: Any) -> None:
    with pytest.raises(SpecError, match=case.words):
        parse_spec(case.spec)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"volumes": [{"name": "x", "secret": {"secretName": "orders-ca"}}]}, "Secret orders-ca"),
        (
            {
                "volumes": [
                    {"name": "x", "projected": {"sources": [{"secret": {"name": "orders-peer"}}]}}
                ]
            },
            "Secret orders-peer",
        ),
        (
            {"volumes": [{"name": "x", "persistentVolumeClaim": {"claimName": "data-orders-0"}}]},
            "claim data-orders-0",
        ),
        (
            {
                "containers": [
                    {
                        "name": "a",
                        "image": "a",
                        "envFrom": [{"secretRef": {"name": "orders-admin"}}],
                    }
                ]
            },
            "Secret orders-admin",
        ),
    ],
)
def test_containers_beside_the_broker_get_at_no_secret_and_no_disk_of_the_members(
    extra: Json, words: str
) -> None:
    spec = parse_spec({"podTemplate": extra})
    with pytest.raises(SpecError, match=words):
        check_references(spec, Names("shop", "orders"))
    check_references(spec, Names("shop", "others"))  # their Secrets and disks have other names


def test_a_container_that_says_nothing_is_restricted_as_the_broker_is() -> None:
    desired = wanted(podTemplate={"containers": [{"name": "audit", "image": "audit:1"}]})
    broker, audit = workload.pod_template(desired)["spec"]["containers"]
    assert broker["name"] == pod_rules.BROKER
    assert audit["securityContext"] == broker["securityContext"]


def test_a_container_keeps_what_it_says_within_the_restrictions() -> None:
    context = {"runAsUser": 4711, "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": []}}
    desired = wanted(
        podTemplate={"containers": [{"name": "a", "image": "a:1", "securityContext": context}]}
    )
    found = workload.pod_template(desired)["spec"]["containers"][1]["securityContext"]
    assert found["runAsUser"] == 4711
    assert found["capabilities"] == {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}
    assert found["allowPrivilegeEscalation"] is False


def test_the_rules_name_every_volume_and_port_of_the_members() -> None:
    pod = workload.pod_template(wanted())["spec"]
    claims = {"data"}
    assert {volume["name"] for volume in pod["volumes"]} | claims == pod_rules.OWN_VOLUMES
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports == pod_rules.OWN_PORTS


def test_the_state_of_a_pod_is_that_of_the_broker_whatever_runs_beside_it() -> None:
    statuses = [
        {"name": "audit", "state": {"running": {}}},  # the kubelet sorts them by name
        {"name": "broker", "state": {"waiting": {"reason": "ImagePullBackOff"}}},
    ]
    pod = {
        "metadata": {"name": "orders-0", "uid": "1"},
        "spec": {},
        "status": {"containerStatuses": statuses},
    }
    seen = pod_seen(pod, 0, "2026-01-01T00:00:00Z")
    assert seen.running is False
    assert "ImagePullBackOff" in seen.trouble


# --- who may reach members ---
def test_only_members_reach_the_port_between_members() -> None:
    assert who(network.network_policy(wanted()), PEER) == [MEMBERS]


def test_without_a_list_everybody_reaches_clients_port_and_metrics() -> None:
    policy = network.network_policy(wanted())
    assert who(policy, CLIENT) is None
    assert who(policy, HTTP) is None


def test_with_a_list_only_those_and_members_and_the_operator_get_in() -> None:
    policy = network.network_policy(wanted(networkPolicy={"clients": [SHOP], "metrics": []}))
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "sybline-system"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "sybline-operator"}},
    }
    assert who(policy, CLIENT) == [MEMBERS, operator, SHOP]
    assert who(policy, HTTP) == [MEMBERS, operator]


def test_an_empty_list_is_nobody_and_never_everybody() -> None:
    policy = network.network_policy(
        wanted(operator="", networkPolicy={"clients": [], "metrics": []})
    )
    assert who(policy, CLIENT) == [MEMBERS]
    assert who(policy, HTTP) == [MEMBERS]


# --- monitoring ---
def test_prometheus_is_told_how_to_trust_members() -> None:
    asked = {"podMonitor": True, "labels": {"release": "p"}, "interval": "15s"}
    body = pod_monitor(wanted(monitoring=asked))
    endpoint = body["spec"]["podMetricsEndpoints"][0]
    assert body["metadata"]["labels"]["release"] == "p"
    assert endpoint["interval"] == "15s"
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"] == {
        "ca": {"configMap": {"name": "orders-ca", "key": "ca.crt"}},
        "serverName": "orders.shop.svc",
    }


def test_without_tls_prometheus_speaks_plain_text() -> None:
    endpoint = pod_monitor(wanted(tls={"mode": "Disabled"}))["spec"]["podMetricsEndpoints"][0]
    assert endpoint["scheme"] == "http"
    assert "tlsConfig" not in endpoint
