"""End to end on a real Kubernetes cluster: `python -m tests.e2e --image sybline:TAG`, with KUBECONFIG set.

Installs the operator by its chart, lives through the scenarios under load, drains, and prints the table and what the
checker says. Exit status 0 only if nothing was lost, resurrected or stuck.
"""

import argparse
import asyncio
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.e2e.kube import Failed, Kube, run, wait_for
from tests.e2e.scenarios import CLUSTER, Life, under_load
from tests.support.checker import Report, check
from tests.support.load import Load, LoadSettings

NAMESPACE = "sybline-e2e"
CHART = Path(__file__).parents[2] / "charts" / "sybline-operator"
LEASE_S = 5.0


def install_operator(kube: Kube, image: str, broker_image: str) -> None:
    """Install the chart and wait until the operator runs."""
    repository, _, tag = image.rpartition(":")
    run(["kubectl", "create", "namespace", kube.namespace])
    run(
        [
            "helm", "install", "sybline-operator", str(CHART), "-n", kube.namespace,
            "--set", f"image.repository={repository}", "--set", f"image.tag={tag}",
            "--set", f"brokerImage={broker_image}", "--wait", "--timeout", "120s",
        ]
    )  # fmt: skip


def addresses(kube: Kube) -> list[str]:
    """Return where the NodePort service answers."""
    port = kube.get("service", CLUSTER)["spec"]["ports"][0]["nodePort"]
    nodes = kube.list("node")
    return [
        f"{address['address']}:{port}"
        for node in nodes
        for address in node["status"]["addresses"]
        if address["type"] == "InternalIP"
    ]


async def live(life: Life, scenarios: list[tuple[str, Callable[[], None]]], seed: int) -> Report:
    """Play the scenarios under one load and judge the whole history."""
    load = Load(
        addresses(life.kube), LoadSettings(lease_s=LEASE_S, publishers=4, consumers=3), seed=seed
    )
    try:
        await load.start()
        for name, scenario in scenarios:
            row = await under_load(life, load, name, scenario)
            print(
                f"{row.scenario:28} {row.seconds:6.1f} s  longest gap {row.gap_s:5.2f} s  "
                f"confirmed {row.confirmed}",
                flush=True,
            )
        await load.stop_publishing()
        await load.stop()
        drained = await load.drain(deadline_s=120.0)
    finally:
        await load.close()
    return check(load.history, drained=drained, lease_s=LEASE_S, digests={})


def main() -> int:
    """Run all of it; the exit status says whether it is clean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--image", required=True, help="the broker's image, loaded into the nodes")
    parser.add_argument("--operator-image", required=True)
    parser.add_argument("--seed", type=int, default=secrets.randbits(31))
    parser.add_argument("--long", action="store_true", help="all scenarios, not only the core")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    kube = Kube(NAMESPACE)
    life = Life(kube, arguments.image)
    core: list[tuple[str, Callable[[], None]]] = [
        ("kill the leader's pod", life.kill_leader),
        ("scale 3 to 5", lambda: life.scale(5)),
        ("scale 5 to 3", lambda: life.scale(3)),
        ("rolling restart", life.roll),
    ]
    rest = [
        ("lose a disk", life.lose_disk),
        ("wrong image, then mended", life.break_and_mend),
        ("scale 3 to 1", lambda: life.scale(1)),
        ("scale 1 to 3", lambda: life.scale(3)),
    ]
    try:
        install_operator(kube, arguments.operator_image, arguments.image)
        began_s = time.monotonic()
        life.install()
        print(f"{'from apply to Available':28} {time.monotonic() - began_s:6.1f} s", flush=True)
        report = asyncio.run(live(life, core + (rest if arguments.long else []), arguments.seed))
        print(report, flush=True)
        life.uninstall()
    except (Failed, AssertionError):
        traceback.print_exc()
        _tell_state(kube)
        return 1
    finally:
        _clean(kube)
    return 0 if report.is_clean else 1


def _tell_state(kube: Kube) -> None:
    for arguments in (
        ["get", "syb,pods,pvc", "-o", "wide"],
        ["get", "syb", CLUSTER, "-o", "jsonpath={.status}"],
        ["logs", "-l", "app.kubernetes.io/name=sybline-operator", "--tail=40"],
        ["logs", "-l", f"sybline.io/cluster={CLUSTER}", "--tail=15", "--prefix"],
    ):
        try:
            print(kube.kubectl(*arguments), flush=True)
        except Failed as error:
            print(error, flush=True)


def _clean(kube: Kube) -> None:
    """Delete the namespace, which must never hang."""
    run(["kubectl", "delete", "namespace", kube.namespace, "--wait=false", "--ignore-not-found"])
    try:
        wait_for("the namespace is gone", lambda: not _exists(kube.namespace), deadline_s=90.0)
    except Failed as error:
        print(error, flush=True)


def _exists(namespace: str) -> bool:
    return bool(run(["kubectl", "get", "namespace", namespace, "--ignore-not-found", "-o", "name"]))


if __name__ == "__main__":
    sys.exit(main())
