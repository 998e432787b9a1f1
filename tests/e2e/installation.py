"""The operator by its chart in a namespace of its own, and what to print when a run fails there."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from tests.e2e.kube import Failed, Kube, run, wait_for

RELEASE: Final = "sybline-operator"
CHARTS: Final = Path(__file__).parents[2] / "charts"
CRD: Final = "syblineclusters.sybline.io"
LABEL: Final = (
    "sybline.io/end-to-end"  # on the namespaces of runs, so that what one left behind can be found
)
INSTALLED_S: Final = 180
GONE_S: Final = 120.0
LEFT_BEHIND: Final = timedelta(hours=3)
STATE: Final = (
    ("get", "syb,statefulsets,pods,pvc", "-o", "wide"),
    ("get", "syb", "-o", "jsonpath={range .items[*]}{.metadata.name}: {.status}{\"\\n\"}{end}"),
    ("get", "events", "--sort-by=.lastTimestamp"),
    ("describe", "pods"),
    ("logs", "-l", f"app.kubernetes.io/name={RELEASE}", "--tail=80", "--prefix"),
    ("logs", "-l", f"app.kubernetes.io/name={RELEASE}", "--tail=40", "--prefix", "--previous"),
    ("logs", "-l", "app.kubernetes.io/name=sybline", "--tail=30", "--prefix"),
    ("logs", "-l", "batch.kubernetes.io/job-name", "--all-containers", "--tail=30", "--prefix"),
)  # fmt: skip


def create_namespace(kube: Kube) -> None:
    """Create the namespace of a run."""
    run(["kubectl", "create", "namespace", kube.namespace])
    run(["kubectl", "label", "namespace", kube.namespace, f"{LABEL}=true"])


def delete_leftovers() -> None:
    """Ask for the end of what runs left behind that were killed: three hours are longer than any takes."""
    selector = ["get", "namespaces", "-l", f"{LABEL}=true", "-o", "json"]
    now = datetime.now(UTC)  # noqa: TID251 - to compare with the API server's
    for found in json.loads(run(["kubectl", *selector]))["items"]:
        made = datetime.fromisoformat(found["metadata"]["creationTimestamp"])
        if now - made > LEFT_BEHIND:
            name = found["metadata"]["name"]
            run(["kubectl", "delete", "namespace", name, "--wait=false", "--ignore-not-found"])


def delete_namespace(kube: Kube) -> None:
    """Delete the namespace, which must never hang.

    Raises:
        Failed: it is still there after a while.
    """
    run(["kubectl", "delete", "namespace", kube.namespace, "--wait=false", "--ignore-not-found"])
    wait_for(
        f"namespace {kube.namespace} is gone",
        lambda: not exists("namespace", kube.namespace),
        deadline_s=GONE_S,
    )


def install_operator(kube: Kube, image: str, broker_image: str, *settings: str) -> None:
    """Install the chart for this one namespace, so that runs side by side do not meet, and wait until it runs.

    The resource definition belongs to all of them: the chart installs it only where there is none, else it is brought
    up to date from the working tree.
    """
    repository, _, tag = image.rpartition(":")
    is_there = exists("crd", CRD)
    if is_there:
        chart = str(CHARTS / "sybline-operator")
        show = ["helm", "template", RELEASE, chart, "--show-only", "templates/crd.yaml"]
        apply = ["kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-"]
        run(apply, text=run(show))
    values = [
        f"image.repository={repository}",
        f"image.tag={tag}",
        f"brokerImage={broker_image}",
        f"watchNamespaces={{{kube.namespace}}}",
        f"crd.install={'false' if is_there else 'true'}",
        *settings,
    ]
    run(
        [
            "helm", "install", RELEASE, str(CHARTS / "sybline-operator"), "-n", kube.namespace,
            *(word for value in values for word in ("--set", value)),
            "--wait", "--timeout", f"{INSTALLED_S}s",
        ],
        deadline_s=INSTALLED_S + 20.0,
    )  # fmt: skip


def exists(kind: str, name: str) -> bool:
    """Return whether an object without a namespace, or of the default one, is there."""
    return bool(run(["kubectl", "get", kind, name, "--ignore-not-found", "-o", "name"]))


def tell_state(kube: Kube) -> None:
    """Print everything that may explain a failure."""
    for arguments in STATE:
        print(f"--- kubectl {' '.join(arguments)}", flush=True)
        try:
            print(kube.kubectl(*arguments), flush=True)
        except Failed as error:
            print(error, flush=True)
