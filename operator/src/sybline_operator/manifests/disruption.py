"""How many members may be away at once, and the account the pods run under."""

from typing import Final

from sybline_operator.json_object import Json
from sybline_operator.manifests.common import Wanted, metadata

BUDGET: Final = ("policy/v1", "PodDisruptionBudget")


def disruption_budget(wanted: Wanted, *, pods_needed: int) -> Json:
    """Return the PodDisruptionBudget that keeps so many pods ready."""
    return {
        "apiVersion": BUDGET[0],
        "kind": BUDGET[1],
        "metadata": metadata(wanted, wanted.names.disruption_budget),
        "spec": {
            "minAvailable": pods_needed,
            "selector": {"matchLabels": wanted.names.selector},
        },
    }


def service_account(wanted: Wanted) -> Json:
    """Return the account of the pods, which has no rights and no token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(wanted, wanted.names.service_account),
        "automountServiceAccountToken": False,
    }
