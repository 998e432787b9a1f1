"""The spec of a SyblineCluster as frozen values, with the defaults of the resource definition.

The API server has checked the schema (`crd.yaml`); this module gives it types, and refuses what a schema cannot say.
Knows nothing of what is running.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from sybline.config import ConfigError, check_tree
from sybline_operator.json_object import Json
from sybline_operator.names import Names
from sybline_operator.quantities import bytes_of
from sybline_operator.resource import pod_rules

# Keys of the broker's configuration that the operator sets itself: two owners would fight over them.
OWNED_KEYS: Final = {
    "development": "a cluster on Kubernetes is no development cluster",
    "member": "names, addresses and disks follow from the StatefulSet",
    "listen": "the services and probes name the ports",
    "peer": "the secret of the members is generated",
    "admin": "the first administrator is generated",
    "tls": "spec.tls says where certificates come from",
}


_SECONDS: Final = {"h": 3600, "m": 60, "s": 1}


def _duration(text: Any) -> Any:
    """Return "2160h", "30m" or "10s" as a time; what is none of these is for pydantic to refuse."""
    if isinstance(text, str) and text[:-1].isdecimal() and text[-1:] in _SECONDS:
        return timedelta(seconds=int(text[:-1]) * _SECONDS[text[-1]])
    return text


Duration = Annotated[timedelta, BeforeValidator(_duration)]


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{name!a} is no time zone, as Europe/Berlin is one") from error
    return name


_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9_:]([A-Za-z0-9_.:-]*[A-Za-z0-9:])?")


class SpecError(Exception):
    """The spec cannot be carried out; one line for each reason."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class Retention(_Part):
    """What happens to disks; messages are on them."""

    on_delete: Literal["Retain", "Delete"] = "Retain"
    on_scale_down: Literal["Retain", "Delete"] = "Retain"


class Storage(_Part):
    """The disk of each member."""

    size: str = "10Gi"
    class_name: str | None = None  # None: the cluster's default
    retention: Retention = Retention()


class Service(_Part):
    """How clients reach the members."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    annotations: dict[str, str] = {}


class Scheduling(_Part):
    """Where pods may run, in the words of Kubernetes."""

    affinity: Json = {}
    topology_spread_constraints: list[Json] | None = None  # None: over zones and nodes
    tolerations: list[Json] = []
    node_selector: dict[str, str] = {}
    priority_class_name: str = ""


class PodTemplate(_Part):
    """Added to each pod, as far as `pod_rules` allows."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    env: list[Json] = []
    containers: list[Json] = []
    volumes: list[Json] = []
    runtime_class_name: str = ""


class IssuerRef(_Part):
    """An issuer of cert-manager."""

    name: str
    kind: str = "Issuer"
    group: str = "cert-manager.io"


class Tls(_Part):
    """Where certificates come from."""

    mode: Literal["SelfSigned", "CertManager", "Secret", "Disabled"] = "SelfSigned"
    issuer_ref: IssuerRef | None = None
    secret_name: str = ""
    client_auth: Literal["Required", "None"] = "None"
    extra_names: list[str] = []
    duration: Duration = timedelta(hours=2160)
    renew_before: Duration = timedelta(hours=720)
    ca_duration: Duration = timedelta(hours=87600)
    rotate_ca: str = Field(default="", alias="rotateCA")

    @property
    def enabled(self) -> bool:
        return self.mode != "Disabled"


class Window(_Part):
    """Hours in which members may be restarted."""

    days: list[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]] = []  # none: every day
    start: str  # "HH:MM"
    hours: int = Field(ge=1, le=24)
    time_zone: Annotated[str, AfterValidator(_check_zone)] = "UTC"


class Restarts(_Part):
    """When members may be restarted for a change."""

    policy: Literal["Automatic", "Approval"] = "Automatic"
    windows: list[Window] = []


class Monitoring(_Part):
    """What the Prometheus operator is given."""

    pod_monitor: bool = False
    labels: dict[str, str] = {}
    interval: str = "30s"


class NetworkPolicy(_Part):
    """Who may reach the members."""

    enabled: bool = True
    clients: list[Json] | None = None  # None: everybody; none in the list: nobody
    metrics: list[Json] | None = None


class ClusterSpec(_Part):
    """What the user wants."""

    replicas: int = Field(default=3, ge=1)
    allow_even_replicas: bool = False
    image: str = ""  # "": the operator's own version of the broker
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[Json] = []
    resources: Json = {}
    storage: Storage = Storage()
    config: Json = {}  # the broker's YAML
    service: Service = Service()
    scheduling: Scheduling = Scheduling()
    pod_template: PodTemplate = PodTemplate()
    tls: Tls = Tls()
    restarts: Restarts = Restarts()
    monitoring: Monitoring = Monitoring()
    network_policy: NetworkPolicy = NetworkPolicy()
    paused: bool = False


def parse_spec(raw: Mapping[str, Any]) -> ClusterSpec:
    """Return the spec as values.

    Raises:
        SpecError: it cannot be carried out.
    """
    try:
        spec = ClusterSpec.model_validate(dict(raw))
    except ValidationError as error:
        raise SpecError(tuple(_line(part) for part in error.errors())) from error
    problems = [
        f"spec.config.{key} is set by the operator: {reason}"
        for key, reason in OWNED_KEYS.items()
        if key in spec.config
    ]
    if spec.replicas % 2 == 0 and not spec.allow_even_replicas:
        problems.append(
            f"spec.replicas is {spec.replicas}: an even number of members tolerates no more failures than "
            f"{spec.replicas - 1}; set spec.allowEvenReplicas to have it all the same"
        )
    problems += _check_size(spec)
    problems += [
        f"spec.tls.extraNames: {name!r} is neither a host name in ASCII nor an address"
        for name in spec.tls.extra_names
        if not _HOST.fullmatch(name)
    ]
    problems += _check_config(spec)
    problems += _check_scraping(spec)
    problems += _check_additions(spec)
    if problems:
        raise SpecError(tuple(problems))
    return spec


def check_references(spec: ClusterSpec, names: Names) -> None:
    """Refuse a spec that gives containers beside the broker what members live on.

    Raises:
        SpecError: it does.
    """
    extra = spec.pod_template
    problems = [
        *pod_rules.own_objects("spec.podTemplate.volumes", extra.volumes, names),
        *pod_rules.own_objects("spec.podTemplate.containers", extra.containers, names),
    ]
    if problems:
        raise SpecError(tuple(problems))


def watched_part(raw: Mapping[str, Any]) -> ClusterSpec:
    """Return of a spec that is refused what it takes to watch the cluster, of which nothing is changed.

    Raises:
        SpecError: that is refused, too.
    """
    needed = ("replicas", "allowEvenReplicas", "storage", "tls", "paused")
    return parse_spec({key: raw[key] for key in needed if key in raw})


def _check_size(spec: ClusterSpec) -> Iterator[str]:
    try:
        is_size = bytes_of(spec.storage.size) > 0
    except ValueError:
        is_size = False
    if not is_size:
        yield f"spec.storage.size is {spec.storage.size!r}: a size is a quantity such as 10Gi"


def _check_config(spec: ClusterSpec) -> list[str]:
    """Return what the members would refuse, by their own rules."""
    own = {key: value for key, value in spec.config.items() if key not in OWNED_KEYS}
    given = {
        **own,
        "peer": {"secret_file": "secret"},
        "admin": {"password_file": "password"},
        "tls": {"enabled": spec.tls.enabled},
    }
    try:
        check_tree(given, under="spec.config")
    except ConfigError as error:
        return list(error.problems)
    return []


def _check_scraping(spec: ClusterSpec) -> Iterator[str]:
    """Yield why Prometheus would be refused by every member: the PodMonitor gives it no certificate."""
    metrics = spec.config.get("metrics")
    asked = isinstance(metrics, dict) and str(metrics.get("require_client_cert", "")).lower()
    if spec.monitoring.pod_monitor and asked == "true":
        yield (
            "spec.monitoring.podMonitor: members would refuse Prometheus, which is given no certificate, "
            "while spec.config.metrics.require_client_cert is true; leave out one of them"
        )


def _check_additions(spec: ClusterSpec) -> Iterator[str]:
    """Yield what is wrong with what the user adds to the operator's objects."""
    extra = spec.pod_template
    yield from pod_rules.own_names("spec.service.annotations", spec.service.annotations)
    yield from pod_rules.own_names("spec.monitoring.labels", spec.monitoring.labels)
    yield from pod_rules.own_names("spec.podTemplate.labels", extra.labels)
    yield from pod_rules.own_names("spec.podTemplate.annotations", extra.annotations)
    yield from pod_rules.variables("spec.podTemplate.env", extra.env)
    yield from pod_rules.volumes("spec.podTemplate.volumes", extra.volumes)
    yield from pod_rules.containers("spec.podTemplate.containers", extra.containers)


def _line(error: Any) -> str:
    path = ".".join(("spec", *(str(part) for part in error["loc"])))
    return f"{path}: {error['msg']}"
