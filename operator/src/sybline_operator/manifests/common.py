"""What the builders share. Pure: an object is the operator's full intent, sent whole each time (server-side apply)."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sybline_operator.json_object import Json
from sybline_operator.names import GROUP, KIND, VERSION, Names
from sybline_operator.resource.spec import ClusterSpec


@dataclass(frozen=True, slots=True)
class Owner:
    """The SyblineCluster that children belong to."""

    name: str
    uid: str

    def reference(self) -> Json:
        """Return the owner reference: children go when the resource goes, without the operator."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every builder builds from."""

    spec: ClusterSpec
    names: Names
    owner: Owner
    default_image: str
    operator_namespace: str = ""  # where the operator's pods are; "": it runs outside of Kubernetes

    @property
    def image(self) -> str:
        return self.spec.image or self.default_image


def metadata(wanted: Wanted, name: str, *, annotations: dict[str, str] | None = None) -> Json:
    """Return the metadata of a child."""
    return {
        "name": name,
        "namespace": wanted.names.namespace,
        "labels": wanted.names.labels,
        "ownerReferences": [wanted.owner.reference()],
        **({"annotations": annotations} if annotations else {}),
    }


def is_ours(found: Json, wanted: Json) -> bool:
    """Return whether an object bears our labels, or is owned as ours is: either may have been taken away by mistake."""
    there, asked = found["metadata"], wanted["metadata"]
    owners = {(owner["kind"], owner["name"]) for owner in there.get("ownerReferences", ())}
    return asked["labels"].items() <= there.get("labels", {}).items() or any(
        (owner["kind"], owner["name"]) in owners for owner in asked.get("ownerReferences", ())
    )


def digest(value: Any) -> str:
    """Return a short hash of a JSON value, equal for equal values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
