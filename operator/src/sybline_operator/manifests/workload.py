"""The StatefulSet and its pods.

OnDelete and Parallel: the operator decides every restart, and pods of a cluster that was down start together, for they
form a quorum only together. Pods are restricted: no root, no capabilities, no token, a read-only root file system.
"""

from typing import Final

from sybline_operator.json_object import Json
from sybline_operator.manifests.beside import RESTRICTED, restricted
from sybline_operator.manifests.certificates import TLS_DIRECTORY
from sybline_operator.manifests.common import Wanted, digest, metadata
from sybline_operator.manifests.configuration import (
    ADMIN_DIRECTORY,
    CONFIG_DIRECTORY,
    CONFIG_KEY,
    ORDER_KEY,
    PEER_DIRECTORY,
    RECOVERY_DIRECTORY,
    SEED_DIRECTORY,
    restart_settings,
)
from sybline_operator.manifests.made_of import MADE_OF_ANNOTATION, made_of
from sybline_operator.names import (
    CLIENT_PORT,
    HTTP_PORT,
    LEFT_ANNOTATION,
    PEER_PORT,
    TEMPLATE_ANNOTATION,
    Names,
)
from sybline_operator.resource.pod_rules import BROKER

USER_ID: Final = 10_001
STOP_S: Final = 40  # the broker drains for 25 s at most
ZONE: Final = "topology.kubernetes.io/zone"
NODE: Final = "kubernetes.io/hostname"


def stateful_set(
    wanted: Wanted, *, replicas: int, template: Json, storage_size: str, generation: int
) -> Json:
    """Return the StatefulSet with a pod template: the new one only once a roll may begin (restarts are announced).

    `storage_size` is the one in force, unless it is made anew: claim templates cannot be changed. `generation`: of its
    spec once it is applied. It is noted, so that a spec that somebody changed later is known, and mended.
    """
    storage = wanted.spec.storage
    claim: Json = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage_size}},
    }
    if storage.class_name is not None:
        claim["storageClassName"] = storage.class_name
    always: Json = {
        "serviceName": wanted.names.peer_service,
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "revisionHistoryLimit": 3,
        "persistentVolumeClaimRetentionPolicy": {
            "whenDeleted": storage.retention.on_delete,
            "whenScaled": "Retain",  # the operator deletes a claim after the member is out
        },
        "selector": {"matchLabels": wanted.names.selector},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    left = {LEFT_ANNOTATION: f"{generation}-{digest(always)}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(wanted, wanted.names.stateful_set, annotations=left),
        "spec": {**always, "replicas": replicas, "template": template},
    }


def pod_template(wanted: Wanted) -> Json:
    """Return the pod template that the spec asks for, with its hash as an annotation."""
    names, extra = wanted.names, wanted.spec.pod_template
    settings = restart_settings(wanted)
    body: Json = {
        "metadata": {
            "labels": {**extra.labels, **names.labels},
            "annotations": dict(extra.annotations),
        },
        "spec": _pod(wanted),
    }
    body["metadata"]["annotations"] |= {
        TEMPLATE_ANNOTATION: digest([body, settings]),
        MADE_OF_ANNOTATION: made_of(wanted, settings).annotation(),
    }
    return body


def template_hash(template: Json) -> str:
    """Return the hash in a template; "": somebody took it away, or the template is not ours."""
    return str(template.get("metadata", {}).get("annotations", {}).get(TEMPLATE_ANNOTATION, ""))


def _pod(wanted: Wanted) -> Json:
    spec, names = wanted.spec, wanted.names
    scheduling = spec.scheduling
    spread = scheduling.topology_spread_constraints
    pod: Json = {
        "serviceAccountName": names.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": STOP_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": _spread(wanted) if spread is None else spread,
        "containers": [
            _container(wanted),
            *(restricted(extra) for extra in spec.pod_template.containers),
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": names.config_map}},
            {"name": "peer", "secret": {"secretName": names.peer_secret, "defaultMode": 0o440}},
            {"name": "admin", "secret": {"secretName": names.admin_secret, "defaultMode": 0o440}},
            {"name": "seed", "configMap": {"name": names.seed_config_map, "optional": True}},
            _recovery_volume(names),
            {"name": "tmp", "emptyDir": {}},
            *_tls_volumes(wanted),
            *spec.pod_template.volumes,
        ],
    }
    optional = {
        "affinity": scheduling.affinity or (_apart(wanted) if spread is None else {}),
        "tolerations": scheduling.tolerations,
        "nodeSelector": scheduling.node_selector,
        "priorityClassName": scheduling.priority_class_name,
        "imagePullSecrets": spec.image_pull_secrets,
        "runtimeClassName": spec.pod_template.runtime_class_name,
    }
    pod.update({key: value for key, value in optional.items() if value})
    return pod


def _spread(wanted: Wanted) -> list[Json]:
    """Return the default: three members on one node are one failure."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": wanted.names.selector},
        }
        for key in (ZONE, NODE)
    ]


def _apart(wanted: Wanted) -> Json:
    """Return the wish for different nodes once more: the scheduler counts no spread over zones where nodes have none.

    It leaves out a node that lacks the label of any of the constraints, and so all nodes of many clusters.
    """
    term = {
        "topologyKey": NODE,
        "labelSelector": {"matchLabels": wanted.names.selector},
    }
    wish = {"weight": 100, "podAffinityTerm": term}
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def _container(wanted: Wanted) -> Json:
    names = wanted.names
    return {
        "name": BROKER,
        "image": wanted.image,
        "imagePullPolicy": wanted.spec.image_pull_policy,
        "args": ["serve", "--config", f"{CONFIG_DIRECTORY}/{CONFIG_KEY}"],
        "env": [
            {"name": "SYBLINE_MEMBER__NAME", "valueFrom": _field("metadata.name")},
            {
                "name": "SYBLINE_MEMBER__ADDRESS",
                "value": f"$(SYBLINE_MEMBER__NAME).{names.peer_service}.{names.namespace}.svc:{PEER_PORT}",
            },
            {
                "name": "SYBLINE_ADMIN__USERNAME",
                "valueFrom": {"secretKeyRef": {"name": names.admin_secret, "key": "username"}},
            },
            *wanted.spec.pod_template.env,
        ],
        "ports": [
            {"name": "grpc", "containerPort": CLIENT_PORT, "protocol": "TCP"},
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "peer", "containerPort": PEER_PORT, "protocol": "TCP"},
        ],
        **({"resources": wanted.spec.resources} if wanted.spec.resources else {}),
        # The log may be long: until it is read, only this probe counts.
        "startupProbe": {**_probe(wanted, "/livez"), "periodSeconds": 2, "failureThreshold": 300},
        # Its own event loop only: a restart never restores a quorum.
        "livenessProbe": {**_probe(wanted, "/livez"), "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**_probe(wanted, "/readyz"), "periodSeconds": 2, "failureThreshold": 2},
        "securityContext": RESTRICTED,
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": "peer", "mountPath": PEER_DIRECTORY, "readOnly": True},
            {"name": "admin", "mountPath": ADMIN_DIRECTORY, "readOnly": True},
            {"name": "seed", "mountPath": SEED_DIRECTORY, "readOnly": True},
            {"name": "recovery", "mountPath": RECOVERY_DIRECTORY, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
            *_tls_mounts(wanted),
        ],
    }


def _recovery_volume(names: Names) -> Json:
    """Return what is empty but while a lost quorum is recovered: in every pod, so that it needs no other template."""
    order = [{"key": ORDER_KEY, "path": ORDER_KEY}]
    source = {"name": names.recovery_config_map, "optional": True, "items": order}
    return {"name": "recovery", "configMap": source}


def _field(path: str) -> Json:
    return {"fieldRef": {"fieldPath": path}}


def _probe(wanted: Wanted, path: str) -> Json:
    scheme = "HTTPS" if wanted.spec.tls.enabled else "HTTP"
    return {"httpGet": {"path": path, "port": "http", "scheme": scheme}, "timeoutSeconds": 3}


def _tls_volumes(wanted: Wanted) -> list[Json]:
    """Return the Secret as a directory: what it holds is followed there, which a `subPath` would not be."""
    if not wanted.spec.tls.enabled:
        return []
    return [
        {"name": "tls", "secret": {"secretName": wanted.names.tls_secret, "defaultMode": 0o440}}
    ]


def _tls_mounts(wanted: Wanted) -> list[Json]:
    if not wanted.spec.tls.enabled:
        return []
    return [{"name": "tls", "mountPath": TLS_DIRECTORY, "readOnly": True}]
