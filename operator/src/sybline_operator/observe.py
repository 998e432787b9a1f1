"""Looking at one cluster: objects from the API server, membership from the members themselves.

Reads only. Lists are read from the API server, not from a cache, for a stale list may cost data.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from sybline_operator import limits
from sybline_operator.broker_admin import BrokerAdmin, Credentials
from sybline_operator.claims import look_at_claims
from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import KubernetesApi
from sybline_operator.manifests.common import is_ours
from sybline_operator.manifests.configuration import CONFIG_KEY
from sybline_operator.manifests.made_of import MADE_OF_ANNOTATION
from sybline_operator.manifests.workload import template_hash
from sybline_operator.names import (
    CLIENT_PORT,
    KIND,
    LEFT_ANNOTATION,
    TEMPLATE_ANNOTATION,
    Names,
)
from sybline_operator.observation import (
    IdentitySeen,
    MembershipSeen,
    MemberStatusSeen,
    Observed,
    PodSeen,
    Recorded,
    StopVerdict,
    WorkloadSeen,
)
from sybline_operator.recovery_record import look_at_recovery, seconds_between
from sybline_operator.resource.pod_rules import BROKER

AdminFactory = Callable[[Sequence[str], Credentials], BrokerAdmin]
_SLOW_REASONS: Final = {"ContainerCreating", "PodInitializing", ""}  # no trouble yet
_NO_IMAGE: Final = {"ErrImagePull", "ImagePullBackOff"}  # they take turns


def observe(
    api: KubernetesApi,
    names: Names,
    *,
    founded_uid: int,
    recorded: Mapping[int, Recorded],
    storage_size: str,
    status: Json,
    now: str,
    new_admin: AdminFactory,
) -> tuple[Observed, BrokerAdmin | None]:
    """Return what is there, and the members' administration if there is anybody to ask; the caller closes it.

    `storage_size`: what disks are to have, which is asked of those that have less.
    `status`: as an earlier look wrote it.

    Raises:
        ApiError: the API server does not answer.
    """
    namespace = names.namespace
    seed = api.get("v1", "ConfigMap", namespace, names.seed_config_map)
    workload = api.get("apps/v1", "StatefulSet", namespace, names.stateful_set)
    in_the_way = ""
    if workload is not None and not _is_ours(workload, names):
        workload, in_the_way = None, f"StatefulSet {names.stateful_set}"
    if seed is not None and not _is_ours(seed, names):
        in_the_way = in_the_way if founded_uid else f"ConfigMap {names.seed_config_map}"
        seed = None
    pods = _pods(names, api.list("v1", "Pod", namespace, names.selector), now)
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
        statuses={} if admin is None else _statuses(admin, pods),
        claims=look_at_claims(api, names, storage_size),
        recorded=recorded,
        revision=_revision(api, names) if workload is None else None,
        recovery=look_at_recovery(api, names, status, now),
        settings_file=_settings_file(api, names),
        has_seed=seed is not None,
        in_the_way=in_the_way,
        founded_uid=founded_uid,
    )
    return seen, admin


def _is_ours(found: Json, names: Names) -> bool:
    owner = {"kind": KIND, "name": names.cluster}
    return is_ours(found, {"metadata": {"labels": names.labels, "ownerReferences": [owner]}})


def _workload(found: Json | None) -> WorkloadSeen | None:
    if found is None:
        return None
    template = found["spec"]["template"]
    return WorkloadSeen(
        replicas=found["spec"]["replicas"],
        template=template,
        template_hash=template_hash(template),
        storage_size=_claim_size(found),
        uid=found["metadata"]["uid"],
        generation=found["metadata"]["generation"],
        left=found["metadata"].get("annotations", {}).get(LEFT_ANNOTATION, ""),
        deleting="deletionTimestamp" in found["metadata"],
        made_of=template["metadata"].get("annotations", {}).get(MADE_OF_ANNOTATION, ""),
    )


def _settings_file(api: KubernetesApi, names: Names) -> str:
    found = api.get("v1", "ConfigMap", names.namespace, names.config_map)
    return "" if found is None else str(found.get("data", {}).get(CONFIG_KEY, ""))


def _claim_size(workload: Json) -> str:
    claim = workload["spec"]["volumeClaimTemplates"][0]
    return str(claim["spec"]["resources"]["requests"]["storage"])


def _revision(api: KubernetesApi, names: Names) -> Json | None:
    """Return the pod template that was in force in a StatefulSet that left its pods; None: it left nothing.

    Its history stays as its pods do. Pods that come back are to be as they were, whatever the spec says by now.
    """
    history = api.list("apps/v1", "ControllerRevision", names.namespace, names.selector)
    templates = [
        (each["revision"], {k: v for k, v in template.items() if k != "$patch"})
        for each in history
        if TEMPLATE_ANNOTATION
        in (template := each["data"]["spec"]["template"])["metadata"].get("annotations", {})
    ]
    return max(templates, key=lambda pair: pair[0])[1] if templates else None


def _pods(names: Names, found: list[Json], now: str) -> tuple[PodSeen, ...]:
    """Return the pods by ordinal, told by their exact names."""
    pods = []
    for pod in found:
        ordinal = names.ordinal(pod["metadata"]["name"])
        if ordinal is not None:
            pods.append(pod_seen(pod, ordinal, now))
    return tuple(sorted(pods, key=lambda pod: pod.ordinal))


def pod_seen(pod: Json, ordinal: int, now: str) -> PodSeen:
    """Return a pod of the StatefulSet as values."""
    status = pod.get("status", {})
    container: Json = next(
        (found for found in status.get("containerStatuses", ()) if found["name"] == BROKER), {}
    )
    conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
    node, is_ready = pod["spec"].get("nodeName", ""), conditions.get("Ready") == "True"
    # A kubelet takes both away together. Ready alone is taken away by who watches nodes, when one falls silent.
    is_lost = not is_ready and conditions.get("ContainersReady") == "True"
    return PodSeen(
        name=pod["metadata"]["name"],
        ordinal=ordinal,
        uid=pod["metadata"]["uid"],
        ip=status.get("podIP", ""),
        node=node,
        ready=is_ready,
        terminating="deletionTimestamp" in pod["metadata"],
        running="running" in container.get("state", {}),
        template=pod["metadata"].get("annotations", {}).get(TEMPLATE_ANNOTATION, ""),
        trouble=f"{node} does not answer"
        if is_lost
        else _trouble(status, container) or _beside(status),
        is_lost=is_lost,
        made_of=pod["metadata"].get("annotations", {}).get(MADE_OF_ANNOTATION, ""),
        unready_s=_unready_s(pod, now),
        running_s=seconds_between(
            container.get("state", {}).get("running", {}).get("startedAt") or now, now
        ),
    )


def _unready_s(pod: Json, now: str) -> float:
    """Return for how long a pod has not been ready: since it last was, or since it was made."""
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition["type"] == "Ready" and condition.get("lastTransitionTime"):
            is_ready = condition["status"] == "True"
            return 0.0 if is_ready else seconds_between(condition["lastTransitionTime"], now)
    return seconds_between(pod["metadata"].get("creationTimestamp") or now, now)


def _trouble(status: Json, container: Json) -> str:
    """Return why a pod does not get to run, as the scheduler or the kubelet says it; "": no trouble is known."""
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return str(condition.get("message") or condition["reason"])
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason = waiting.get("reason", "")
    # Words that change with every attempt would make a status that never rests.
    if reason in _NO_IMAGE:
        return f"ImagePullBackOff: {container.get('image', '')}"
    if reason == "CrashLoopBackOff":
        code = (container.get("lastState", {}).get("terminated") or {}).get("exitCode")
        return f"CrashLoopBackOff: ended with status {code}"
    if reason not in _SLOW_REASONS:
        return f"{reason}: {waiting.get('message', '')}".rstrip(": ")
    ended = state.get("terminated", {})
    if ended and ended.get("exitCode"):
        return f"ended with status {ended['exitCode']}"
    if "running" in state and not container.get("ready"):
        return _short_life(container.get("lastState", {}).get("terminated") or {})
    return ""


def _beside(status: Json) -> str:
    """Return what is wrong with a container beside the broker: the pod is not ready without it."""
    for container in status.get("containerStatuses", ()):
        trouble = _trouble({}, container) if container["name"] != BROKER else ""
        if trouble:
            return f"{container['name']}: {trouble}"
    return ""


def _short_life(ended: Json) -> str:
    """Return what is wrong with a container that runs again after it ended soon and badly: it may do so once more."""
    if not ended.get("exitCode") or not ended.get("startedAt"):
        return ""
    lived = datetime.fromisoformat(ended["finishedAt"]) - datetime.fromisoformat(ended["startedAt"])
    if lived.total_seconds() > limits.SHORT_LIFE_S:
        return ""
    return f"ended soon after its start with status {ended['exitCode']}, and was started again"


def _targets(pods: tuple[PodSeen, ...]) -> list[str]:
    """Return whom to ask: pods that serve first."""
    asked = sorted((pod for pod in pods if pod.ip and pod.running), key=lambda pod: not pod.ready)
    return [f"{pod.ip}:{CLIENT_PORT}" for pod in asked]


def _credentials(secret: Json | None) -> Credentials | None:
    """Return how to log in; None: there is no Secret, or it is one of the user's that lacks what is needed."""
    data = secret.get("data", {}) if secret is not None else {}
    if not (data.get("username") and data.get("password")):
        return None
    try:
        name, password = (base64.b64decode(data[key]).decode() for key in ("username", "password"))
    except ValueError:  # not base64, or not UTF-8
        return None
    # As members read their file: many a tool leaves a line break at the end.
    return Credentials(name, password.removesuffix("\n").removesuffix("\r"))


def _identities(
    admin: BrokerAdmin, names: Names, membership: MembershipSeen, pods: tuple[PodSeen, ...]
) -> dict[str, IdentitySeen]:
    """Return whose disks the pods have, where it is not plain: a member that is connected has proved its own.

    Names are resolved late, and addresses used again: an answer counts only under the name of the pod.
    """
    found = {
        pod.name: admin.identify(names.peer_address(pod.name))
        for pod in pods
        if pod.running
        and not pod.terminating
        and not any(member.connected for member in membership.named(pod.name))
    }
    return {
        name: identity
        for name, identity in found.items()
        if identity is not None and identity.name == name
    }


def _verdicts(admin: BrokerAdmin, membership: MembershipSeen) -> dict[int, StopVerdict]:
    return {member.id: admin.may_stop(member.id) for member in membership.members}


def _statuses(admin: BrokerAdmin, pods: tuple[PodSeen, ...]) -> dict[str, MemberStatusSeen]:
    """Return what the members say of themselves, each asked at its own pod."""
    found = {
        pod.name: admin.member_status(f"{pod.ip}:{CLIENT_PORT}")
        for pod in pods
        if pod.running and pod.ip
    }
    return {name: status for name, status in found.items() if status is not None}
