"""Writing a child only where it differs from what is there: at rest nothing is written, and drift is repaired."""

from collections.abc import Callable
from typing import Any, Final

from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.manifests.common import Wanted, digest, is_ours, metadata

HASH_ANNOTATION: Final = (
    "sybline.io/intent"  # hash of what was applied: what we no longer want shows, too
)
_NOT_VALID: Final = 422
_EXACT: Final = {"selector", "matchLabels", "podSelector"}  # one label more selects nothing
# Of 4xx: who asks, what is gone, a race, and too much at once.
_NO_REFUSAL: Final = (401, 404, 409, 429)


def is_refusal(error: ApiError) -> bool:
    """Return whether the API server will not have what it was given: not valid, or against a quota or a policy."""
    return 400 <= error.status < 500 and error.status not in _NO_REFUSAL


def refusal(write: Callable[[], object]) -> str:
    """Write something and return why the API server will not have it; "": it does.

    Raises:
        ApiError: the API server does not answer, or it is no refusal.
    """
    try:
        write()
    except ApiError as error:
        if not is_refusal(error):
            raise
        return str(error)
    return ""


def apply_if_changed(api: KubernetesApi, body: Json) -> None:
    """Apply an object unless everything we want is there.

    What somebody else made under its name stays as it is: an application's Service may be called as the cluster is.

    Raises:
        ApiError: the API server refuses, or the object is somebody else's.
    """
    intent, about = digest(body), body["metadata"]
    found = api.get(body["apiVersion"], body["kind"], about["namespace"], about["name"])
    if found is not None:
        if not is_ours(found, body):
            what = f"apply {body['kind']} {about['name']}"
            raise ApiError(what, _NOT_VALID, "it is there already and belongs to somebody else")
        if _same(body, found, intent):
            return
    annotations = {**about.get("annotations", {}), HASH_ANNOTATION: intent}
    api.apply({**body, "metadata": {**about, "annotations": annotations}})


def delete_ours(api: KubernetesApi, wanted: Wanted, api_version: str, kind: str, name: str) -> None:
    """Delete a child that is not wanted any more; what somebody else made under its name stays.

    Raises:
        ApiError: the API server refuses.
    """
    key = (api_version, kind, wanted.names.namespace, name)
    found = api.get(*key)
    if found is not None and is_ours(found, {"metadata": metadata(wanted, name)}):
        api.delete(*key, uid=found["metadata"]["uid"])


def _same(body: Json, found: Json, intent: str) -> bool:
    """Return whether everything we want is there, by value and not only by hash."""
    stored = found["metadata"].get("annotations", {}).get(HASH_ANNOTATION)
    return stored == intent and _covers(found, body)


def _covers(found: Any, wanted: Any) -> bool:
    """Return whether `found` has all that `wanted` names; the server adds defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and (found[key] == value if key in _EXACT else _covers(found[key], value))
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_covers(f, w) for f, w in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)
