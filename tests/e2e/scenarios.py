"""What happens to a SyblineCluster in its life, each under load: install, kill, scale, roll, lose a disk, uninstall.

A scenario changes one thing as an administrator would, and returns when the cluster has come to rest. The longest gap
between two confirmed publishes is measured for each.
"""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.kube import Kube, wait_for
from tests.support.checker import OK
from tests.support.cluster import ADMIN, ADMIN_PASSWORD
from tests.support.load import Load

Json = dict[str, Any]
CLUSTER = "orders"
SETTLED_S = 240.0


@dataclass
class Row:
    """One line of the table."""

    scenario: str
    seconds: float
    gap_s: float
    confirmed: int
    writes: int


@dataclass
class Life:
    """The cluster under test and what was measured."""

    kube: Kube
    image: str
    rows: list[Row] = field(default_factory=list)

    # --- looking ---
    def body(self) -> Json:
        return self.kube.get("syb", CLUSTER)

    def condition(self, kind: str) -> str:
        conditions = self.body().get("status", {}).get("conditions", [])
        return next((c["status"] for c in conditions if c["type"] == kind), "")

    def is_settled(self, voters: int) -> bool:
        body = self.body()
        status = body.get("status", {})
        if status.get("observedGeneration") != body["metadata"]["generation"]:
            return False
        roles = [member["role"] for member in status.get("members", [])]
        return (
            self.condition("Progressing") == "False"
            and self.condition("Degraded") == "False"
            and len(roles) == voters
            and all(role in ("leader", "voter") for role in roles)
            and status.get("readyReplicas") == voters
        )

    def settle(self, voters: int) -> float:
        return wait_for(
            f"{voters} voters at rest; last status: {self.body().get('status', {}).get('phase')}",
            lambda: self.is_settled(voters),
            deadline_s=SETTLED_S,
        )

    def pods(self) -> dict[str, Json]:
        found = self.kube.list("pod", f"sybline.io/cluster={CLUSTER}")
        return {pod["metadata"]["name"]: pod for pod in found}

    # --- acting ---
    def install(self) -> None:
        """Apply the resource, with a password that the load knows."""
        secret = {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{CLUSTER}-admin"},
            "stringData": {"username": ADMIN, "password": ADMIN_PASSWORD},
        }  # fmt: skip
        self.kube.apply(secret)
        self.kube.apply(
            {
                "apiVersion": "sybline.io/v1alpha1",
                "kind": "SyblineCluster",
                "metadata": {"name": CLUSTER},
                "spec": {
                    "replicas": 3,
                    "image": self.image,
                    "service": {"type": "NodePort"},
                    "storage": {"size": "1Gi", "retention": {"onDelete": "Delete"}},
                    "config": {"queues": {"lease_s": 5}},
                },
            }
        )
        self.settle(3)

    def scale(self, replicas: int) -> None:
        """Scale as `kubectl scale` does."""
        self.kube.kubectl("scale", "syb", CLUSTER, f"--replicas={replicas}")
        self.settle(replicas)

    def roll(self) -> None:
        """Change something that is in every pod."""
        before = {pod["metadata"]["uid"] for pod in self.pods().values()}
        annotations = {"e2e/rolled-at": f"{time.monotonic():.0f}"}
        self.kube.patch("syb", CLUSTER, {"spec": {"podTemplate": {"annotations": annotations}}})
        voters = len(before)
        wait_for(
            "every pod is another one",
            lambda: not before & {p["metadata"]["uid"] for p in self.pods().values()},
            deadline_s=SETTLED_S,
        )
        self.settle(voters)

    def kill_leader(self) -> None:
        """Delete the leader's pod at once."""
        leader = self.body()["status"]["leader"]
        uid = self.pods()[leader]["metadata"]["uid"]
        self.kube.kubectl("delete", "pod", leader, "--grace-period=0", "--force")
        wait_for(
            f"{leader} is another pod",
            lambda: self.pods().get(leader, {}).get("metadata", {}).get("uid") not in (None, uid),
            deadline_s=SETTLED_S,
        )
        self.settle(3)

    def lose_disk(self) -> None:
        """Delete a follower's pod and its claim: it comes back with an empty disk, as another member."""
        status = self.body()["status"]
        follower = next(m for m in status["members"] if m["role"] == "voter")
        name = follower["name"]
        self.kube.kubectl("delete", "pvc", f"data-{name}", "--wait=false")
        self.kube.kubectl("delete", "pod", name, "--grace-period=0", "--force")

        def is_replaced() -> bool:
            members = self.body()["status"]["members"]
            return follower["memberId"] not in {m.get("memberId") for m in members}

        wait_for(f"{name} is another member", is_replaced, deadline_s=SETTLED_S)
        self.settle(3)

    def break_and_mend(self) -> None:
        """Roll out an image that does not exist: the first pod stops there, and the old image heals it."""
        self.kube.patch("syb", CLUSTER, {"spec": {"image": "nowhere/sybline:none"}})

        def is_stuck() -> bool:
            return any("nowhere" in m.get("trouble", "") for m in self.body()["status"]["members"])

        wait_for("the first pod cannot start", is_stuck, deadline_s=SETTLED_S)
        images = [p["spec"]["containers"][0]["image"] for p in self.pods().values()]
        assert images.count("nowhere/sybline:none") == 1, images
        self.kube.patch("syb", CLUSTER, {"spec": {"image": self.image}})
        self.settle(3)

    def uninstall(self) -> None:
        """Delete the resource; everything it owned goes."""
        self.kube.kubectl("delete", "syb", CLUSTER, "--timeout=60s")
        wait_for("all pods are gone", lambda: not self.pods(), deadline_s=120.0)


async def under_load(life: Life, load: Load, name: str, scenario: Callable[[], None]) -> Row:
    """Play a scenario while the load goes on, and measure."""
    began_s, before = time.monotonic(), load.confirmed
    await asyncio.to_thread(scenario)
    ended_s = time.monotonic()
    row = Row(name, ended_s - began_s, _gap_s(load, began_s, ended_s), load.confirmed - before, 0)
    life.rows.append(row)
    return row


def _gap_s(load: Load, began_s: float, ended_s: float) -> float:
    """Return the longest time between two confirmed publishes."""
    ends = sorted(p.end for p in load.history.publishes if p.outcome == OK and p.end >= began_s)
    times = [began_s, *(end for end in ends if end <= ended_s), ended_s]
    return max(later - earlier for earlier, later in itertools.pairwise(times))
