"""The StatefulSet and its pods.

OnDelete and Parallel: the operator decides every restart, and pods of a cluster that was down start together, for they
form a quorum only together. Pods are restricted: no root, no capabilities, no token, a read-only root file system.
"""

from typing import Final

from sybline_operator.manifests.common import Json, Wanted, digest, metadata
from sybline_operator.manifests.configuration import (
    ADMIN_DIRECTORY,
    CONFIG_DIRECTORY,
    CONFIG_KEY,
    PEER_DIRECTORY,
    SEED_DIRECTORY,
    broker_settings,
)
from sybline_operator.names import (
    CLIENT_PORT,
    HTTP_PORT,
    PEER_PORT,
    SIZE_ANNOTATION,
    TEMPLATE_ANNOTATION,
)

USER_ID: Final = 10_001
STOP_S: Final = 40  # the broker drains for 25 s at most
ZONE: Final = "topology.kubernetes.io/zone"
NODE: Final = "kubernetes.io/hostname"


def stateful_set(wanted: Wanted, *, replicas: int, template: Json) -> Json:
    """Return the StatefulSet with a pod template: the new one only once a roll may begin (restarts are announced)."""
    storage = wanted.spec.storage
    claim: Json = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.size}},
    }
    if storage.class_name is not None:
        claim["storageClassName"] = storage.class_name
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(
            wanted, wanted.names.stateful_set, annotations={SIZE_ANNOTATION: storage.size}
        ),
        "spec": {
            "serviceName": wanted.names.peer_service,
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 3,
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": storage.retention.on_delete,
                "whenScaled": "Retain",  # the operator deletes a claim after the member is out
            },
            "selector": {"matchLabels": wanted.names.selector},
            "template": template,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }


def pod_template(wanted: Wanted) -> Json:
    """Return the pod template that the spec asks for, with its hash as an annotation."""
    names, extra = wanted.names, wanted.spec.pod_template
    body: Json = {
        "metadata": {
            "labels": {**extra.labels, **names.labels},
            "annotations": {**extra.annotations, "sybline.io/config": digest(broker_settings(wanted))},
        },
        "spec": _pod(wanted),
    }  # fmt: skip
    body["metadata"]["annotations"][TEMPLATE_ANNOTATION] = digest(body)
    return body


def template_hash(template: Json) -> str:
    """Return the hash in a template."""
    return str(template["metadata"]["annotations"][TEMPLATE_ANNOTATION])


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
        "containers": [_container(wanted), *spec.pod_template.containers],
        "volumes": [
            {"name": "config", "configMap": {"name": names.config_map}},
            {"name": "peer", "secret": {"secretName": names.peer_secret, "defaultMode": 0o440}},
            {"name": "admin", "secret": {"secretName": names.admin_secret, "defaultMode": 0o440}},
            {"name": "seed", "configMap": {"name": names.seed_config_map, "optional": True}},
            {"name": "tmp", "emptyDir": {}},
            *spec.pod_template.volumes,
        ],
    }
    optional = {
        "affinity": scheduling.affinity,
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


def _container(wanted: Wanted) -> Json:
    names = wanted.names
    return {
        "name": "broker",
        "image": wanted.image,
        "imagePullPolicy": wanted.spec.image_pull_policy,
        "args": ["serve", "--config", f"{CONFIG_DIRECTORY}/{CONFIG_KEY}"],
        "env": [
            {"name": "SYBLINE_MEMBER__NAME", "valueFrom": _field("metadata.name")},
            {
                "name": "SYBLINE_MEMBER__ADDRESS",
                "value": f"$(SYBLINE_MEMBER__NAME).{names.peer_service}.{names.namespace}.svc:{PEER_PORT}",
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
        "startupProbe": {**_probe("/livez"), "periodSeconds": 2, "failureThreshold": 300},
        # Its own event loop only: a restart never restores a quorum.
        "livenessProbe": {**_probe("/livez"), "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 2, "failureThreshold": 2},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": "peer", "mountPath": PEER_DIRECTORY, "readOnly": True},
            {"name": "admin", "mountPath": ADMIN_DIRECTORY, "readOnly": True},
            {"name": "seed", "mountPath": SEED_DIRECTORY, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
        ],
    }


def _field(path: str) -> Json:
    return {"fieldRef": {"fieldPath": path}}


def _probe(path: str) -> Json:
    return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 3}
