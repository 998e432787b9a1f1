"""What a pod template was made of, as people name it: the reasons why members would be restarted. Pure.

It stands in an annotation of the template, and so of every pod, for the API server fills a template with defaults: what
was sent cannot be read off it again. It is no part of the template's hash: to know more restarts nobody.
"""

import json
from dataclasses import asdict, dataclass
from typing import Final

from sybline_operator.json_object import Json
from sybline_operator.manifests.common import Wanted, digest

MADE_OF_ANNOTATION: Final = "sybline.io/made-of"


@dataclass(frozen=True, slots=True)
class MadeOf:
    """The parts of one template."""

    spec: str  # digest of what the user wrote; the same here and another template: the operator changed
    image: str
    resources: Json
    settings: Json  # the broker's keys that need a restart, as its file begins with them
    scheduling: str  # digests of what nobody could read in one line
    extras: str

    def annotation(self) -> str:
        """Return it as the text of an annotation."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def read_made_of(annotation: str) -> MadeOf | None:
    """Return what an annotation tells; None: it is missing, or of another version."""
    try:
        return MadeOf(**json.loads(annotation))
    except (TypeError, ValueError):
        return None


def made_of(wanted: Wanted, settings: Json) -> MadeOf:
    """Return what the template that the spec asks for is made of; `settings`: the keys that need a restart."""
    spec = wanted.spec
    scheduling = spec.scheduling.model_dump(exclude_defaults=True)
    extras = {
        "podTemplate": spec.pod_template.model_dump(exclude_defaults=True),
        "pull": [spec.image_pull_policy, spec.image_pull_secrets],
        "tls": [spec.tls.enabled, spec.tls.client_auth],
    }
    written = {
        "image": spec.image,
        "resources": spec.resources,
        "config": {key: settings[key] for key in sorted(settings) if key in spec.config},
        "scheduling": scheduling,
        "extras": extras,
    }
    return MadeOf(
        spec=digest(written),
        image=wanted.image,
        resources=spec.resources,
        settings=settings,
        scheduling=digest(scheduling),
        extras=digest(extras),
    )
