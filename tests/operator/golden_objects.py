"""The golden files: all children of a handful of specs, and the charts as they are rendered.

`python -m tests.operator.golden_objects` writes them anew; commit only a difference that you understand.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from sybline_operator.json_object import Json
from sybline_operator.manifests import (
    certificates,
    configuration,
    disruption,
    monitoring,
    network,
    workload,
)
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.names import KIND, Names
from sybline_operator.resource.spec import parse_spec

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = Path(__file__).parent / "golden"
SPECS: Final = GOLDEN / "specs"
EXAMPLES: Final = ROOT / "examples"
NAMESPACE: Final = "shop"
SECRET: Final = "not-random"
OPERATOR: Final = "sybline-system"  # where the operator runs
HELM_S: Final = 60.0
# The values that each golden rendering of a chart is made with.
CHARTS: Final = {
    "sybline-operator": (),
    "sybline-operator-everything": (
        "replicas=2", "watchNamespaces={shop,staging}", "podMonitor.enabled=true",
        "prometheusRule.enabled=true", "prometheusRule.labels.release=prometheus",
        "podMonitor.labels.release=prometheus", "priorityClassName=messaging", "crd.install=false",
        "networkPolicy.metrics[0].namespaceSelector.matchLabels.team=monitoring",
        "imagePullSecrets[0].name=registry", "podAnnotations.team=shop", "podLabels.team=shop",
        "serviceAccount.annotations.team=shop", "image.tag=1.2.3",
    ),
    "sybline-cluster": (),
    "sybline-cluster-everything": (
        "name=orders", "labels.team=shop", "spec.replicas=5", "spec.tls.mode=Disabled",
        "annotations.sybline\\.io/approve-restart=0123456789abcdef",
    ),
}  # fmt: skip


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # a reader wants to see values, not anchors
        return True


def specs() -> dict[str, tuple[str, Json]]:
    """Return name and spec of a cluster for each golden file."""
    found = {
        path.stem: ("orders", yaml.safe_load(path.read_text())) for path in SPECS.glob("*.yaml")
    }
    for path in EXAMPLES.glob("*.yaml"):
        for body in yaml.safe_load_all(path.read_text()):
            if body["kind"] == KIND:
                found[path.stem] = (body["metadata"]["name"], body["spec"])
    return found


def children(cluster: str, spec: Json) -> list[Json]:
    """Return every object that a cluster with this spec comes to, but certificates themselves."""
    wanted = Wanted(
        parse_spec(spec), Names(NAMESPACE, cluster),
        Owner(cluster, "0b6e0c9e-0000-4000-8000-000000000000"), "sybline:0.1.0", OPERATOR,
    )  # fmt: skip
    asked = wanted.spec
    objects = [
        disruption.service_account(wanted),
        configuration.admin_secret(wanted, SECRET),
        configuration.peer_secret(wanted, SECRET),
        configuration.seed_config_map(wanted),
        configuration.config_map(
            wanted, configuration.settings_file(wanted, starting_with=None, present="")
        ),
        network.peer_service(wanted),
        network.client_service(wanted),
        disruption.disruption_budget(wanted, pods_needed=asked.replicas // 2 + 1),
        workload.stateful_set(
            wanted, replicas=asked.replicas, template=workload.pod_template(wanted),
            storage_size=asked.storage.size, generation=1,
        ),
    ]  # fmt: skip
    if asked.network_policy.enabled:
        objects.append(network.network_policy(wanted))
    if asked.monitoring.pod_monitor:
        objects.append(monitoring.pod_monitor(wanted))
    if asked.tls.mode == "CertManager":
        objects.append(certificates.certificate(wanted))
    return objects


def as_text(objects: Sequence[Json]) -> str:
    """Return objects as one YAML file."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=True, width=120)


def render(golden: str) -> str:
    """Return a chart as Helm renders it, without comments and in an order of its own.

    Raises:
        OSError, subprocess.SubprocessError: Helm is missing, or refuses the chart.
    """
    chart = golden.removesuffix("-everything")
    sets = [word for value in CHARTS[golden] for word in ("--set", value)]
    text = subprocess.run(
        ["helm", "template", "release", str(ROOT / "charts" / chart), "-n", OPERATOR, *sets],
        capture_output=True, text=True, check=True, timeout=HELM_S,
    ).stdout  # fmt: skip
    objects = [body for body in yaml.safe_load_all(text) if body is not None]
    # The definition is compared with its source, and would hide the rest here.
    objects = [body for body in objects if body["kind"] != "CustomResourceDefinition"]
    return as_text(sorted(objects, key=_place))


def _place(body: Json) -> tuple[str, str, str]:
    metadata = body["metadata"]
    return (body["kind"], metadata.get("namespace", ""), metadata["name"])


def main() -> int:
    """Write all golden files."""
    for name, (cluster, spec) in specs().items():
        (GOLDEN / f"{name}.yaml").write_text(as_text(children(cluster, spec)))
    for name in CHARTS:
        (GOLDEN / f"chart-{name}.yaml").write_text(render(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
