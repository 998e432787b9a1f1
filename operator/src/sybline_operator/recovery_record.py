"""The record of a recovery: in a ConfigMap from beginning to end, with the survivor's order once it may have it.

The key of the order is the file that the broker reads at its start (sybline.replication.recovery_order); the rest of
the ConfigMap is the operator's memory. Reads and builds; decides nothing.
"""

import json
from datetime import datetime
from typing import Final

from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import KubernetesApi
from sybline_operator.manifests.common import Wanted, metadata
from sybline_operator.manifests.configuration import ORDER_KEY
from sybline_operator.names import Names
from sybline_operator.observation import RecoveryRecord, RecoverySeen, Victim
from sybline_operator.recovery import COMPLETED

RECORD_KEY: Final = "record"


def look_at_recovery(api: KubernetesApi, names: Names, status: Json, now: str) -> RecoverySeen:
    """Return how far a recovery has come, and for how long there has been no quorum.

    `status`: of the resource, as an earlier look wrote it.

    Raises:
        ApiError: the API server does not answer.
    """
    found = api.get("v1", "ConfigMap", names.namespace, names.recovery_config_map)
    told = status.get("recovery", {})
    data: Json = (found or {}).get("data") or {}
    record = _read(data.get(RECORD_KEY, ""))
    return RecoverySeen(
        record=record,
        is_ordered=ORDER_KEY in data,
        is_unreadable=found is not None and record is None,
        without_quorum_s=_without_quorum_s(status, now),
        completed=told.get("request", "") if told.get("phase") == COMPLETED else "",
    )


def config_map(wanted: Wanted, record: RecoveryRecord) -> Json:
    """Return the ConfigMap of a recovery that begins: nobody is ordered anything yet."""
    fields = {name: getattr(record, name) for name in _FIELDS}
    fence = [{name: getattr(victim, name) for name in _VICTIM_FIELDS} for victim in record.fence]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(wanted, wanted.names.recovery_config_map),
        "data": {RECORD_KEY: json.dumps({**fields, "fence": fence})},
    }


def order_patch(record: RecoveryRecord) -> Json:
    """Return the patch that gives the survivor its order."""
    order = {
        "member": record.member,
        "configuration_version": record.configuration_version,
        "cluster_uid": record.cluster_uid,
        "last_term": record.last_term,
        "last_index": record.last_index,
        "request": record.request,
    }
    return {"data": {ORDER_KEY: json.dumps(order)}}


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds from one time of Kubernetes (RFC 3339) to another, never less than 0."""
    return max(
        0.0, (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    )


_FIELDS: Final = (
    "request", "pod", "pod_uid", "member", "configuration_version", "cluster_uid", "last_term", "last_index",
)  # fmt: skip
_VICTIM_FIELDS: Final = ("pod", "pod_uid", "claim", "claim_uid")


def _read(text: str) -> RecoveryRecord | None:
    """Return the record; None: there is none that can be read."""
    try:
        fields = json.loads(text)
        fence = tuple(Victim(**victim) for victim in fields.pop("fence"))
        return RecoveryRecord(fence=fence, **fields)
    except (ValueError, TypeError, AttributeError, KeyError):
        return None


def _without_quorum_s(status: Json, now: str) -> float:
    for condition in status.get("conditions", ()):
        if condition["type"] == "QuorumHealthy" and condition["status"] == "False":
            return seconds_between(condition["lastTransitionTime"], now)
    return 0.0
