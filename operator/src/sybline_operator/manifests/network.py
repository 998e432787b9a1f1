"""How members find each other, how clients find members, and who else may not."""

from sybline_operator.manifests.common import Json, Wanted, metadata
from sybline_operator.names import CLIENT_PORT, HTTP_PORT, PEER_PORT

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
            "ports": [{**_port("grpc"), "appProtocol": "kubernetes.io/h2c"}],
        },
    }


def network_policy(wanted: Wanted) -> Json:
    """Return the policy: members alone reach the peer port, everybody the clients' port and the metrics."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(wanted, wanted.names.network_policy),
        "spec": {
            "podSelector": {"matchLabels": wanted.names.selector},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": wanted.names.selector}}],
                    "ports": [{"protocol": "TCP", "port": PEER_PORT}],
                },
                {
                    "ports": [
                        {"protocol": "TCP", "port": CLIENT_PORT},
                        {"protocol": "TCP", "port": HTTP_PORT},
                    ]
                },
            ],
        },
    }
