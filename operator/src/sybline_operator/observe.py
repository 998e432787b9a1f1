"""Looking at one cluster: objects from the API server, membership from the members themselves.

Reads only. Lists are read from the API server, not from a cache, for a stale list may cost data.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any, Final

from sybline_operator.broker_admin import BrokerAdmin, Credentials
from sybline_operator.kubernetes_api import KubernetesApi
from sybline_operator.manifests.workload import template_hash
from sybline_operator.names import (
    CLIENT_PORT,
    SIZE_ANNOTATION,
    TEMPLATE_ANNOTATION,
    Names,
)
from sybline_operator.observation import (
    MembershipSeen,
    Observed,
    PodSeen,
    StopVerdict,
    WorkloadSeen,
)

Json = dict[str, Any]
AdminFactory = Callable[[Sequence[str], Credentials], BrokerAdmin]
_SLOW_REASONS: Final = {"ContainerCreating", "PodInitializing", ""}  # no trouble yet


def observe(
    api: KubernetesApi, names: Names, *, founded_uid: int, new_admin: AdminFactory
) -> tuple[Observed, BrokerAdmin | None]:
    """Return what is there, and the members' administration if there is anybody to ask; the caller closes it.

    Raises:
        ApiError: the API server does not answer.
    """
    namespace = names.namespace
    workload = api.get("apps/v1", "StatefulSet", namespace, names.stateful_set)
    pods = _pods(names, api.list("v1", "Pod", namespace, names.selector))
    claims = api.list("v1", "PersistentVolumeClaim", namespace, names.selector)
    seed = api.get("v1", "ConfigMap", namespace, names.seed_config_map)
    credentials = _credentials(api.get("v1", "Secret", namespace, names.admin_secret))
    targets = _targets(pods)
    admin = new_admin(targets, credentials) if credentials is not None and targets else None
    membership = admin.membership() if admin is not None else None
    seen = Observed(
        names=names,
        workload=_workload(workload),
        pods=pods,
        membership=membership,
        identities=(
            {}
            if admin is None or membership is None
            else _identities(admin, names, membership, pods)
        ),
        verdicts={} if admin is None or membership is None else _verdicts(admin, membership),
        claims={claim["metadata"]["name"]: _size(claim) for claim in claims},
        has_seed=seed is not None,
        founded_uid=founded_uid,
    )
    return seen, admin


def _workload(found: Json | None) -> WorkloadSeen | None:
    if found is None:
        return None
    template = found["spec"]["template"]
    return WorkloadSeen(
        replicas=found["spec"]["replicas"],
        template=template,
        template_hash=template_hash(template),
        storage_size=found["metadata"].get("annotations", {}).get(SIZE_ANNOTATION, ""),
    )


def _pods(names: Names, found: list[Json]) -> tuple[PodSeen, ...]:
    """Return the pods by ordinal, told by their exact names."""
    pods = []
    for pod in found:
        ordinal = names.ordinal(pod["metadata"]["name"])
        if ordinal is not None:
            pods.append(_pod(pod, ordinal))
    return tuple(sorted(pods, key=lambda pod: pod.ordinal))


def _pod(pod: Json, ordinal: int) -> PodSeen:
    status = pod.get("status", {})
    container: Json = next(iter(status.get("containerStatuses", ())), {})
    conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
    return PodSeen(
        name=pod["metadata"]["name"],
        ordinal=ordinal,
        uid=pod["metadata"]["uid"],
        ip=status.get("podIP", ""),
        node=pod["spec"].get("nodeName", ""),
        ready=conditions.get("Ready") == "True",
        terminating="deletionTimestamp" in pod["metadata"],
        running="running" in container.get("state", {}),
        template=pod["metadata"].get("annotations", {}).get(TEMPLATE_ANNOTATION, ""),
        trouble=_trouble(status, container),
    )


def _trouble(status: Json, container: Json) -> str:
    """Return why a pod does not get to run, as the scheduler or the kubelet says it; "": no trouble is known."""
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason"))
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    if waiting.get("reason", "") not in _SLOW_REASONS:
        return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    ended = state.get("terminated", {})
    if ended and ended.get("exitCode"):
        return f"ended with status {ended['exitCode']}"
    return ""


def _targets(pods: tuple[PodSeen, ...]) -> list[str]:
    """Return whom to ask: pods that serve first."""
    asked = sorted((pod for pod in pods if pod.ip and pod.running), key=lambda pod: not pod.ready)
    return [f"{pod.ip}:{CLIENT_PORT}" for pod in asked]


def _credentials(secret: Json | None) -> Credentials | None:
    if secret is None:
        return None
    values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    return Credentials(values["username"], values["password"])


def _identities(
    admin: BrokerAdmin, names: Names, membership: MembershipSeen, pods: tuple[PodSeen, ...]
) -> dict[str, int]:
    """Return whose disks the pods have, where it is not plain: a member that is connected has proved its own."""
    found = {
        pod.name: admin.identify(names.peer_address(pod.name))
        for pod in pods
        if pod.running
        and not pod.terminating
        and not any(member.connected for member in membership.named(pod.name))
    }
    return {name: identity for name, identity in found.items() if identity is not None}


def _verdicts(admin: BrokerAdmin, membership: MembershipSeen) -> dict[int, StopVerdict]:
    return {member.id: admin.may_stop(member.id) for member in membership.members}


def _size(claim: Json) -> str:
    return str(claim["spec"]["resources"]["requests"]["storage"])
