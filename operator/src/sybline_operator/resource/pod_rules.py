"""What `spec.podTemplate` may not do: loosen the restrictions of the pods, or get at what members live on. Pure.

The rules of the resource definition say most of it; they cannot see what a definition of another version let in, nor
the kinds of volumes that there will be. So everything is looked at here again, and this side decides.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sybline.config.original_names import NAMES as ORIGINAL_NAMES
from sybline_operator.names import CLIENT_PORT, HTTP_PORT, PEER_PORT, Names

Json = Mapping[str, Any]

BROKER: Final = "broker"  # the members' container
OWN_PREFIX: Final = "sybline.io/"  # of labels and annotations
OWN_VOLUMES: Final = frozenset(
    {"data", "config", "peer", "admin", "seed", "recovery", "tls", "tmp"}
)
OWN_PORTS: Final = {"grpc": CLIENT_PORT, "http": HTTP_PORT, "peer": PEER_PORT}
OWN_VARIABLES: Final = ("SYBLINE_", "PYTHON")  # beginnings
READ_VARIABLES: Final = ORIGINAL_NAMES  # the broker takes these for settings
# The restricted pod security standard allows no others; whoever may write a SyblineCluster gets no further than that.
VOLUME_KINDS: Final = frozenset(
    {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
        "projected", "secret",
    }
)  # fmt: skip
_SECRET_REFERENCES: Final = {"secret", "secretRef", "secretKeyRef", "nodePublishSecretRef"}
CAPABILITIES: Final = frozenset({"NET_BIND_SERVICE"})


def own_names(where: str, keys: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the names of labels or annotations."""
    for key in keys:
        if key.startswith(OWN_PREFIX):
            yield f"{where}.{key}: names that begin with {OWN_PREFIX} are the operator's"


def variables(where: str, env: Sequence[Json]) -> Iterator[str]:
    """Yield what is wrong with variables of the broker's container."""
    for variable in env:
        name = str(variable["name"])
        if name.startswith(OWN_VARIABLES) or name in READ_VARIABLES:
            yield f"{where}.{name}: the broker is set by spec.config"


def volumes(where: str, found: Sequence[Json]) -> Iterator[str]:
    """Yield what is wrong with volumes of a pod."""
    for volume in found:
        name = volume["name"]
        if name in OWN_VOLUMES:
            yield f"{where}.{name}: this volume is the operator's"
        for kind in sorted(set(volume) - {"name"} - VOLUME_KINDS):
            yield f"{where}.{name}: {kind} is not allowed by the restricted pod security standard"


def containers(where: str, found: Sequence[Json]) -> Iterator[str]:
    """Yield what is wrong with containers beside the broker."""
    for container in found:
        here = f"{where}.{container['name']}"
        if container["name"] == BROKER:
            yield f"{here}: this container is the operator's"
        for mount in container.get("volumeMounts", ()):
            if mount["name"] in OWN_VOLUMES:
                yield f"{here}: the volume {mount['name']} is the operator's"
        for port in container.get("ports", ()):
            if port["containerPort"] in OWN_PORTS.values() or port.get("name") in OWN_PORTS:
                yield f"{here}: the port {port['containerPort']} or its name is the broker's"
            if port.get("hostPort"):
                yield f"{here}: it may not take a port of the node"
        for right in _rights(container.get("securityContext", {})):
            yield f"{here}: securityContext.{right} is against the restricted pod security standard"


def own_objects(where: str, found: Any, names: Names) -> Iterator[str]:
    """Yield where something names the Secrets and the disks of the members: they are for the broker's container."""
    if isinstance(found, list):
        for each in found:
            yield from own_objects(where, each, names)
    if not isinstance(found, dict):
        return
    for key, value in found.items():
        here = f"{where}.{key}"
        if key in _SECRET_REFERENCES and isinstance(value, dict):
            name = value.get("secretName") or value.get("name")
            if name in names.secrets:
                yield f"{here}: the Secret {name} is the operator's"
        if key == "persistentVolumeClaim" and isinstance(value, dict):
            claim = str(value.get("claimName", ""))
            if names.ordinal_of_claim(claim) is not None:
                yield f"{here}: the claim {claim} is a member's disk"
        yield from own_objects(here, value, names)


def _rights(context: Json) -> Iterator[str]:
    """Yield what a security context asks for beyond the standard."""
    for key, refused in (
        ("privileged", True), ("allowPrivilegeEscalation", True), ("runAsNonRoot", False),
    ):  # fmt: skip
        if context.get(key) is refused:
            yield key
    if context.get("runAsUser") == 0:
        yield "runAsUser"
    if set(context.get("seLinuxOptions", {})) - {"level"}:
        yield "seLinuxOptions"
    if context.get("appArmorProfile", {}).get("type") == "Unconfined":
        yield "appArmorProfile"
    if context.get("windowsOptions"):
        yield "windowsOptions"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"
    if context.get("seccompProfile", {}).get("type") == "Unconfined":
        yield "seccompProfile"
    if set(context.get("capabilities", {}).get("add", ())) - CAPABILITIES:
        yield "capabilities.add"
