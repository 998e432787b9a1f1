"""How many members may be away at once, and the account the pods run under."""

from sybline_operator.manifests.common import Json, Wanted, metadata


def disruption_budget(wanted: Wanted, *, voters: int, may_disrupt: bool) -> Json | None:
    """Return the PodDisruptionBudget; None: one member alone, whose drain nothing may block.

    Learners and laggards are no slack: while the verdict says no, no pod may be evicted.
    """
    if voters < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(wanted, wanted.names.disruption_budget),
        "spec": {
            "maxUnavailable": (voters - 1) // 2 if may_disrupt else 0,
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
