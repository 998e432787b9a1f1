"""The spec of a SyblineCluster as frozen values, with the defaults of the resource definition.

The API server has checked the schema (`crd.yaml`); this module gives it types, and refuses what a schema cannot say.
Knows nothing of what is running.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

Json = dict[str, Any]

# Keys of the broker's configuration that the operator sets itself: two owners would fight over them.
OWNED_KEYS: Final = {
    "development": "a cluster on Kubernetes is no development cluster",
    "member": "names, addresses and disks follow from the StatefulSet",
    "listen": "the services and probes name the ports",
    "peer": "the secret of the members is generated",
    "admin": "the first administrator is generated",
}


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


class PodMetadata(_Part):
    """Added to each pod; what the operator sets itself wins."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


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
    pod_metadata: PodMetadata = PodMetadata()
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
    if problems:
        raise SpecError(tuple(problems))
    return spec


def _line(error: Any) -> str:
    path = ".".join(("spec", *(str(part) for part in error["loc"])))
    return f"{path}: {error['msg']}"
