"""Keeping the PodMonitor. Its resource definition may be missing: then a condition says so, and nothing stops."""

from typing import Final

from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.manifests.common import Wanted
from sybline_operator.manifests.monitoring import API_VERSION, KIND, pod_monitor
from sybline_operator.quiet import apply_if_changed, delete_ours, is_refusal
from sybline_operator.reasons import Refusal
from sybline_operator.status import Fact

CONDITION: Final = "Monitored"
_ABSENT: Final = 404


def keep_pod_monitor(api: KubernetesApi, wanted: Wanted) -> Fact:
    """Make the PodMonitor be there, or not, as the spec says, and return the condition.

    Raises:
        ApiError: the API server does not answer; a refusal is in the condition.
    """
    try:
        if not wanted.spec.monitoring.pod_monitor:
            delete_ours(api, wanted, API_VERSION, KIND, wanted.names.pod_monitor)
            return Fact(CONDITION, False, "NotAsked", "spec.monitoring.podMonitor is false")
        apply_if_changed(api, pod_monitor(wanted))
    except ApiError as error:
        if error.status != _ABSENT and not is_refusal(error):
            raise
        missing = "there is no resource definition podmonitors.monitoring.coreos.com"
        why = missing if error.status == _ABSENT else str(error)
        return Fact(CONDITION, False, Refusal.POD_MONITOR_REFUSED, why)
    return Fact(CONDITION, True, "PodMonitorApplied")
