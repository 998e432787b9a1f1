"""The disks of a cluster as the API server tells of them, and what was recorded of them. Reads only.

A claim's uid says which disk: a claim made anew is another one, though its name is the same.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.names import Names
from sybline_operator.observation import ClaimSeen, Recorded
from sybline_operator.quantities import bytes_of

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
RESIZE_CONDITIONS: Final = {
    "Resizing",
    "FileSystemResizePending",
    "ControllerResizeError",
    "NodeResizeError",
}


def look_at_claims(api: KubernetesApi, names: Names, size: str) -> dict[str, ClaimSeen]:
    """Return the claims of a cluster, by name; those that are to grow to `size` are asked whether they may.

    They are told by their exact names, by which pods find them: one that was restored may have no labels.

    Raises:
        ApiError: the API server does not answer.
    """
    listed = api.list("v1", "PersistentVolumeClaim", names.namespace, {})
    wanted_bytes = bytes_of(size)
    found = {}
    for body in listed:
        if names.ordinal_of_claim(body["metadata"]["name"]) is None:
            continue
        labels = body["metadata"].get("labels", {})
        claim = replace(claim_seen(body), is_labelled=names.selector.items() <= labels.items())
        if claim.is_growable and claim.requested_bytes < wanted_bytes:
            claim = replace(claim, refused=_ask_to_grow(api, names, claim, size))
        found[claim.name] = claim
    return found


def claim_seen(body: Json) -> ClaimSeen:
    """Return a claim as values."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status", {})
    return ClaimSeen(
        name=metadata["name"],
        uid=metadata["uid"],
        requested_bytes=bytes_of(spec["resources"]["requests"]["storage"]),
        capacity_bytes=bytes_of(status.get("capacity", {}).get("storage", "0")),
        bound=status.get("phase") == "Bound",
        deleting="deletionTimestamp" in metadata,
        node=metadata.get("annotations", {}).get(SELECTED_NODE, ""),
        resizing=_resizing(status),
    )


def growth(claim_uid: str, size: str) -> Json:
    """Return the patch that lets a claim, this very one, ask for more."""
    return {
        "metadata": {"uid": claim_uid},
        "spec": {"resources": {"requests": {"storage": size}}},
    }


def recorded(status: Mapping[str, Any]) -> dict[int, Recorded]:
    """Return what an earlier look wrote of the members, by their ids."""
    return {
        int(row["memberId"]): Recorded(row["name"], row.get("claimUid", ""))
        for row in status.get("members", ())
        if row.get("memberId")
    }


def _ask_to_grow(api: KubernetesApi, names: Names, claim: ClaimSeen, size: str) -> str:
    """Return why a claim may not grow; "": it may.

    A dry run asks the class, the quota and all else that has a say, and needs no right to read classes.
    """
    try:
        api.patch(
            "v1", "PersistentVolumeClaim", names.namespace, claim.name, growth(claim.uid, size),
            dry_run=True,
        )  # fmt: skip
    except ApiError as error:
        if error.status in (0, 409) or error.status >= 500:  # no verdict
            raise
        return str(error)
    return ""


def _resizing(status: Json) -> str:
    """Return what is said of a resize that is under way or has failed, in the words of whoever does it."""
    return "; ".join(
        f"{each['type']}: {each.get('message', '')}".rstrip(": ")
        for each in status.get("conditions", ())
        if each["type"] in RESIZE_CONDITIONS and each["status"] == "True"
    )
