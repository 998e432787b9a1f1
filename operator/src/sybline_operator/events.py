"""Events: what was done to a cluster and why, where `kubectl describe` shows it. Pure.

The same event has the same name, so that it is counted instead of left again.
"""

import hashlib

from sybline_operator import limits
from sybline_operator.json_object import Json
from sybline_operator.names import FIELD_MANAGER


def event(about: Json, kind: str, reason: str, text: str, now: str) -> Json:
    """Return an event about an object; `kind` is Normal or Warning, `now` RFC 3339."""
    metadata = about["metadata"]
    told = hashlib.sha256(f"{metadata['uid']} {reason} {text}".encode()).hexdigest()[:12]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{told}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": text[: limits.EVENT_MESSAGE_CHARACTERS_MAX],
        "source": {"component": FIELD_MANAGER},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
