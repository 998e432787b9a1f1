"""Where certificates are: our CA, what was issued, what pods mount, what clients trust; and cert-manager's order."""

from datetime import timedelta
from ipaddress import ip_address
from typing import Final

from sybline_operator.json_object import Json
from sybline_operator.manifests.common import Wanted, metadata
from sybline_operator.names import Names

TLS_DIRECTORY: Final = "/etc/sybline/tls"
CERTIFICATE_API: Final = "cert-manager.io/v1"
CERTIFICATE_KIND: Final = "Certificate"
REQUEST_ANNOTATION: Final = (
    "sybline.io/rotate-ca"  # on the CA: the spec.tls.rotateCA that it was made for
)
SINCE_ANNOTATION: Final = "sybline.io/trusted-since"  # on what pods mount: when a CA was added last
_TLS_TYPE: Final = "kubernetes.io/tls"


def host_names(wanted: Wanted) -> list[str]:
    """Return every name and address under which a member is dialled: one certificate serves for all of them."""
    names = wanted.names
    client, namespace = names.client_service, names.namespace
    members = f"*.{names.peer_service}.{namespace}.svc"
    return list(
        dict.fromkeys(
            (
                names.client_host, f"{names.client_host}.cluster.local", f"{client}.{namespace}", client,
                members, f"{members}.cluster.local", *wanted.spec.tls.extra_names,
            )
        )
    )  # fmt: skip


def needed_names(wanted: Wanted) -> list[str]:
    """Return the names without which members or clients would not find each other, whoever made the certificate."""
    names = wanted.names
    pods = (names.peer_host(names.pod(ordinal)) for ordinal in range(wanted.spec.replicas))
    return [names.client_host, *pods, *wanted.spec.tls.extra_names]


def ca_secret(wanted: Wanted, data: dict[str, str], *, request: str) -> Json:
    """Return the operator's CA; it outlives the resource, as what clients trust is not to change with it."""
    body = _secret(wanted, wanted.names.ca_secret, data, {REQUEST_ANNOTATION: request})
    del body["metadata"]["ownerReferences"]
    return body


def issued_secret(wanted: Wanted, data: dict[str, str]) -> Json:
    """Return what the operator's CA issued, in the place where cert-manager would put its own."""
    return _secret(wanted, wanted.names.issued_secret, data, {})


def tls_secret(wanted: Wanted, data: dict[str, str], *, trusted_since: str) -> Json:
    """Return what every pod mounts."""
    return _secret(wanted, wanted.names.tls_secret, data, {SINCE_ANNOTATION: trusted_since})


def client_ca(wanted: Wanted, bundle: bytes) -> Json:
    """Return the ConfigMap with the CAs that clients are to trust."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(wanted, wanted.names.client_ca_config_map),
        "data": {"ca.crt": bundle.decode()},
    }


def certificate(wanted: Wanted) -> Json:
    """Return the order to cert-manager."""
    tls, names = wanted.spec.tls, wanted.names
    assert tls.issuer_ref is not None
    hosts = host_names(wanted)
    addresses = [host for host in hosts if _is_address(host)]
    return {
        "apiVersion": CERTIFICATE_API,
        "kind": CERTIFICATE_KIND,
        "metadata": metadata(wanted, names.cluster),
        "spec": {
            "secretName": names.issued_secret,
            "issuerRef": tls.issuer_ref.model_dump(),
            "dnsNames": [host for host in hosts if not _is_address(host)],
            **({"ipAddresses": addresses} if addresses else {}),
            "uris": [names.peer_identity],
            "duration": _duration(tls.duration),
            "renewBefore": _duration(tls.renew_before),
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth", "client auth"],
        },
    }


def certificate_name(names: Names) -> str:
    """Return what the order to cert-manager is called."""
    return names.cluster


def _secret(wanted: Wanted, name: str, data: dict[str, str], annotations: dict[str, str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": _TLS_TYPE,
        "metadata": metadata(wanted, name, annotations=annotations or None),
        "data": data,
    }


def _duration(time: timedelta) -> str:
    return f"{int(time.total_seconds())}s"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
