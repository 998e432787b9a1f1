"""Nodes: one is drained, one is lost for good, and nothing unsafe is done while a member is away."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.kube import Kube, run, wait_for
from tests.e2e.life import SETTLED_S, Life, Scenario
from tests.e2e.scenarios.disks import claims, ids, reason_of

TEST_CLUSTER: Final = Path(__file__).parents[3].parent / "shared" / "cluster"  # has no docker
EVICTED_S: Final = 420.0  # Kubernetes waits for five minutes unless it is told otherwise


@dataclass(frozen=True)
class Plug:
    """The commands that pull the plug of a node and put it back."""

    out: Sequence[str]
    back: Sequence[str]


def plug_of(kube: Kube, node: str) -> Plug:
    """Return how a node's power is cut: a kind node is a container, one of the test cluster has a number."""
    provider = kube.get("node", node)["spec"].get("providerID", "")
    if provider.startswith("kind://"):
        return Plug(["docker", "kill", node], ["docker", "start", node])
    number = node.removeprefix("node")
    return Plug(
        [str(TEST_CLUSTER / "node-stop"), number], [str(TEST_CLUSTER / "node-start"), number]
    )


def drain(life: Life) -> None:
    """Drain the leader's node: it hands over and goes; where its disk is tied to the node it waits for it."""
    leader = life.member("leader")
    name, node, before = leader["name"], leader["node"], life.uids()
    # A drain knows no namespaces, and other clusters may have pods there.
    label = f"sybline.test/drained={life.kube.namespace}"
    life.kube.kubectl("label", "pod", "-l", f"sybline.io/cluster={life.name}", label)
    try:
        life.kube.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data",
            f"--pod-selector={label}", "--timeout=100s",
        )  # fmt: skip
        wait_for("another leads", lambda: _leads_elsewhere(life, name), deadline_s=SETTLED_S)
        gone = [pod for pod, uid in before.items() if life.uids().get(pod) != uid]
        assert name in gone, gone
        wait_for("the budget lets nobody else go", lambda: _may_go(life) == 0, deadline_s=30.0)
        _told_if_tied(life, name, node)
    finally:
        life.kube.kubectl("uncordon", node)
    life.settle(3)
    wait_for("the budget lets one go again", lambda: _may_go(life) == 1, deadline_s=30.0)


def _leads_elsewhere(life: Life, name: str) -> bool:
    return life.status().get("leader") not in ("", None, name)


def _may_go(life: Life) -> int:
    """Return how many pods Kubernetes would evict now."""
    budget = life.kube.get("poddisruptionbudget", life.name)
    allowed: int = budget["status"]["disruptionsAllowed"]
    return allowed


def _told_if_tied(life: Life, name: str, node: str) -> None:
    """Check what is said of a pod that finds no node with its disk; one whose disk follows it just runs."""

    def is_told() -> bool:
        if life.pods()[name]["spec"].get("nodeName"):
            return True
        row = next(member for member in life.members() if member["name"] == name)
        return f"if {node} is lost for good, delete the claim data-{name}" in row["trouble"]

    wait_for("the status says why it waits", is_told, deadline_s=SETTLED_S)


def lose(life: Life) -> None:
    """Pull the plug of a follower's node: what the administrator then deletes comes back elsewhere, as a new member."""
    nodes = [member["node"] for member in life.members()]
    lost = next(m for m in life.members() if m["role"] == "voter" and nodes.count(m["node"]) == 1)
    name, node = lost["name"], lost["node"]
    plug = plug_of(life.kube, node)
    run(plug.out)
    try:
        wait_for("the silent node is told", lambda: _is_told(life, name), deadline_s=EVICTED_S)
        life.kube.kubectl("delete", "pvc", f"data-{name}", "--wait=false")
        life.kube.kubectl("delete", "pod", name, "--grace-period=0", "--force")
        wait_for(
            f"{name} is another member elsewhere",
            lambda: ids(life).get(name) not in ("", None, lost["memberId"]),
            deadline_s=SETTLED_S,
        )
        life.settle(3)
        assert life.pods()[name]["spec"]["nodeName"] != node
        assert claims(life)[f"data-{name}"]["metadata"]["uid"] != lost["claimUid"]
    finally:
        run(plug.back)
    wait_for(f"{node} is back", lambda: _is_ready(life.kube, node), deadline_s=SETTLED_S)
    life.settle(3)


def _is_told(life: Life, name: str) -> bool:
    row = next(member for member in life.members() if member["name"] == name)
    return reason_of(life, "Degraded") == "NodeLost" and "does not answer" in row["trouble"]


def _is_ready(kube: Kube, node: str) -> bool:
    conditions = kube.get("node", node)["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def scale_while_one_is_away(life: Life) -> None:
    """Scale down with a member away: refused for want of fit members, and carried out once it is back."""
    away = f"{life.name}-1"
    everybody = len(life.kube.list("pod"))
    life.kube.apply(
        {
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one-less"},
            "spec": {"hard": {"pods": str(everybody - 1)}},
        }
    )  # fmt: skip
    try:
        life.kube.kubectl("delete", "pod", away)
        life.kube.kubectl("scale", "syb", life.name, "--replicas=1")
        wait_for(
            "the refusal is told",
            lambda: reason_of(life, "Progressing") == "NotSafeToRemove",
            deadline_s=SETTLED_S,
        )
        assert len(ids(life)) == 3, "nobody left"
        told = life.kube.list("event")
        assert any(event["reason"] == "NotSafeToRemove" for event in told)
    finally:
        life.kube.kubectl("delete", "resourcequota", "one-less")
    life.settle(1)
    life.kube.kubectl("scale", "syb", life.name, "--replicas=3")
    life.settle(3)


SCENARIOS = (
    Scenario("drain the leader's node", drain),
    Scenario("lose a node for good", lose),
    Scenario("scale down while a member is away", scale_while_one_is_away),
)
