"""Specs that must be refused on both sides: by the rules of the resource definition, and by `parse_spec`."""

from dataclasses import dataclass
from typing import Any, Final

from sybline_operator.json_object import Json


@dataclass(frozen=True)
class Forbidden:
    """A spec, what it attempts, and words of the refusal on the operator's side."""

    name: str
    spec: Json
    words: str
    by_definition: bool = True  # the API server refuses it, too


def _container(**more: Any) -> Json:
    return {"podTemplate": {"containers": [{"name": "audit", "image": "audit:1", **more}]}}


def _right(**context: Any) -> Json:
    return _container(securityContext=context)


def _env(name: str) -> Json:
    return {"podTemplate": {"env": [{"name": name, "value": "x"}]}}


def _volume(name: str, **source: Any) -> Json:
    return {"podTemplate": {"volumes": [{"name": name, **(source or {"emptyDir": {}})}]}}


FORBIDDEN: Final = (
    Forbidden("a setting by an own variable", _env("SYBLINE_MEMBER__ID"), "spec.config"),
    Forbidden("a setting by an original variable", _env("DATA_DIR"), "spec.config"),
    Forbidden("assertions switched off", _env("PYTHONOPTIMIZE"), "spec.config"),
    Forbidden("the members' disk replaced", _volume("data"), "the operator's"),
    Forbidden("the certificates replaced", _volume("tls"), "the operator's"),
    Forbidden("a directory of the node", _volume("x", hostPath={"path": "/"}), "hostPath"),
    Forbidden(
        "another way to the node", _volume("x", nfs={"server": "a", "path": "/"}), "nfs",
        by_definition=False,
    ),
    Forbidden("another broker", {"podTemplate": {"containers": [{"name": "broker", "image": "x"}]}}, "the operator's"),
    Forbidden(
        "the disk mounted", _container(volumeMounts=[{"name": "data", "mountPath": "/d"}]), "data"
    ),
    Forbidden(
        "the broker's port taken", _container(ports=[{"containerPort": 2221}]), "the broker's"
    ),
    Forbidden(
        "the broker's name of a port taken",
        _container(ports=[{"name": "grpc", "containerPort": 9}]), "the broker's",
    ),
    Forbidden(
        "a port of the node", _container(ports=[{"containerPort": 9, "hostPort": 9}]), "of the node"
    ),
    Forbidden("a privileged container", _right(privileged=True), "privileged"),
    Forbidden("more privileges", _right(allowPrivilegeEscalation=True), "allowPrivilegeEscalation"),
    Forbidden("root by number", _right(runAsUser=0), "runAsUser"),
    Forbidden("root by leave", _right(runAsNonRoot=False), "runAsNonRoot"),
    Forbidden("a capability", _right(capabilities={"add": ["SYS_ADMIN"]}), "capabilities"),
    Forbidden("no seccomp", _right(seccompProfile={"type": "Unconfined"}), "seccompProfile"),
    Forbidden(
        "another SELinux type", _right(seLinuxOptions={"type": "spc_t"}), "seLinuxOptions",
        by_definition=False,
    ),
    Forbidden(
        "no AppArmor", _right(appArmorProfile={"type": "Unconfined"}), "appArmorProfile",
        by_definition=False,
    ),
    Forbidden("an unmasked /proc", _right(procMount="Unmasked"), "procMount"),
    Forbidden(
        "labels of the operator", {"podTemplate": {"labels": {"sybline.io/cluster": "other"}}},
        "the operator's",
    ),
    Forbidden(
        "annotations of the operator", {"podTemplate": {"annotations": {"sybline.io/template": "x"}}},
        "the operator's",
    ),
    Forbidden(
        "annotations of the Service", {"service": {"annotations": {"sybline.io/intent": "x"}}},
        "the operator's",
    ),
    Forbidden(
        "labels of the PodMonitor", {"monitoring": {"labels": {"sybline.io/cluster": "x"}}},
        "the operator's",
    ),
)  # fmt: skip
