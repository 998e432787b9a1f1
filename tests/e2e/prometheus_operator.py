"""The resource definitions of the Prometheus operator: its own, from its Go module; else the least that is accepted.

They belong to the whole cluster, so they stay: where they are there already, nothing is touched.
"""

import json
from pathlib import Path
from typing import Final

from tests.e2e.kube import Failed, run

MODULE: Final = "github.com/prometheus-operator/prometheus-operator@v0.79.2"
GROUP: Final = "monitoring.coreos.com"
KINDS: Final = {"podmonitors": "PodMonitor", "prometheusrules": "PrometheusRule"}
DOWNLOAD_S: Final = 90.0


def is_defined() -> bool:
    """Return whether the API server knows PodMonitors."""
    name = f"podmonitors.{GROUP}"
    return bool(run(["kubectl", "get", "crd", name, "--ignore-not-found", "-o", "name"]))


def define() -> None:
    """Make the API server know PodMonitors and PrometheusRules.

    Raises:
        Failed: it does not.
    """
    if is_defined():
        return
    for text in _definitions():
        run(["kubectl", "apply", "--server-side", "-f", "-"], text=text)
    for plural in KINDS:
        established = ["--for=condition=Established", f"crd/{plural}.{GROUP}", "--timeout=30s"]
        run(["kubectl", "wait", *established])


def _definitions() -> list[str]:
    try:
        found = json.loads(run(["go", "mod", "download", "-json", MODULE], deadline_s=DOWNLOAD_S))
        folder = Path(found["Dir"]) / "example/prometheus-operator-crd"
        return [(folder / f"{GROUP}_{plural}.yaml").read_text() for plural in KINDS]
    except (Failed, OSError):  # no Go, or no way to its modules
        return [json.dumps(_least(plural, kind)) for plural, kind in KINDS.items()]


def _least(plural: str, kind: str) -> dict[str, object]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    names = {"plural": plural, "singular": kind.lower(), "kind": kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
