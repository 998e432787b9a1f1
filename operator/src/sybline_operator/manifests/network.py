"""How members find each other, how clients find members, and who else may not."""

from typing import Final

from sybline_operator.json_object import Json
from sybline_operator.manifests.common import Wanted, metadata
from sybline_operator.names import CLIENT_PORT, HTTP_PORT, OPERATOR_LABELS, PEER_PORT

POLICY: Final = ("networking.k8s.io/v1", "NetworkPolicy")
NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"  # Kubernetes sets it on every namespace
_PORTS = {"grpc": CLIENT_PORT, "http": HTTP_PORT, "peer": PEER_PORT}


def _port(name: str) -> Json:
    return {"name": name, "port": _PORTS[name], "targetPort": name, "protocol": "TCP"}


def peer_service(wanted: Wanted) -> Json:
    """Return the headless Service: names for pods that are not ready, for they get ready only together."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(wanted, wanted.names.peer_service),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": wanted.names.selector,
            "ports": [_port("peer"), _port("grpc"), _port("http")],
        },
    }


def client_service(wanted: Wanted) -> Json:
    """Return the Service of the pods that serve."""
    service = wanted.spec.service
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(
            wanted, wanted.names.client_service, annotations=service.annotations or None
        ),
        "spec": {
            "type": service.type,
            "selector": wanted.names.selector,
            "ports": [{**_port("grpc"), "appProtocol": _protocol(wanted)}],
        },
    }


def _protocol(wanted: Wanted) -> str:
    """Return what gateways and meshes are told of the clients' port."""
    return "https" if wanted.spec.tls.enabled else "kubernetes.io/h2c"


def network_policy(wanted: Wanted) -> Json:
    """Return the policy: members and the operator reach what they need, everybody else what the spec gives them."""
    members: Json = {"podSelector": {"matchLabels": wanted.names.selector}}
    allowed = wanted.spec.network_policy
    return {
        "apiVersion": POLICY[0],
        "kind": POLICY[1],
        "metadata": metadata(wanted, wanted.names.network_policy),
        "spec": {
            "podSelector": {"matchLabels": wanted.names.selector},
            "policyTypes": ["Ingress"],
            "ingress": [
                _rule([members], PEER_PORT),
                _rule([members, *_operator(wanted)], CLIENT_PORT, HTTP_PORT),
                *_rules_for(allowed.clients, CLIENT_PORT),
                *_rules_for(allowed.metrics, HTTP_PORT),
            ],
        },
    }


def _operator(wanted: Wanted) -> list[Json]:
    """Return the operator's pods in its own namespace; a pod elsewhere could give itself the same label."""
    if not wanted.operator_namespace:
        return []
    return [
        {
            "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: wanted.operator_namespace}},
            "podSelector": {"matchLabels": OPERATOR_LABELS},
        }
    ]


def _rule(peers: list[Json], *ports: int) -> Json:
    return {"from": peers, "ports": [{"protocol": "TCP", "port": port} for port in ports]}


def _rules_for(peers: list[Json] | None, port: int) -> list[Json]:
    """Return the rule for outsiders. To Kubernetes an empty list of peers is everybody; here it is nobody."""
    if peers is None:
        return [{"ports": [{"protocol": "TCP", "port": port}]}]
    return [_rule(peers, port)] if peers else []
