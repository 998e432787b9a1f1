"""What the Prometheus operator is told: where members serve their metrics, and how to trust them."""

from typing import Final

from sybline_operator.json_object import Json
from sybline_operator.manifests.common import Wanted, metadata
from sybline_operator.names import CLUSTER_LABEL

API_VERSION: Final = "monitoring.coreos.com/v1"
KIND: Final = "PodMonitor"


def pod_monitor(wanted: Wanted) -> Json:
    """Return the PodMonitor; it finds every pod, also those that are not ready."""
    asked, names = wanted.spec.monitoring, wanted.names
    fields = metadata(wanted, names.pod_monitor)
    fields["labels"] = {**asked.labels, **fields["labels"]}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": fields,
        "spec": {
            "selector": {"matchLabels": names.selector},
            "podTargetLabels": [CLUSTER_LABEL],
            "podMetricsEndpoints": [
                {"port": "http", "path": "/metrics", "interval": asked.interval, **_scheme(wanted)}
            ],
        },
    }


def _scheme(wanted: Wanted) -> Json:
    if not wanted.spec.tls.enabled:
        return {"scheme": "http"}
    trusted = {"configMap": {"name": wanted.names.client_ca_config_map, "key": "ca.crt"}}
    # Pods are asked at their addresses, which no certificate names.
    return {"scheme": "https", "tlsConfig": {"ca": trusted, "serverName": wanted.names.client_host}}
