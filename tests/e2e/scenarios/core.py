"""What every cluster lives through: its leader is killed, it grows, shrinks and is rolled."""

import time

from tests.e2e.kube import wait_for
from tests.e2e.life import SETTLED_S, Life, Scenario


def scale(life: Life, *sizes: int) -> None:
    """Scale as `kubectl scale` does, to one size after the other."""
    for replicas in sizes:
        life.kube.kubectl("scale", "syb", life.name, f"--replicas={replicas}")
        life.settle(replicas)


def roll(life: Life) -> None:
    """Change something that is in every pod."""
    before = set(life.uids().values())
    annotations = {"e2e/rolled-at": f"{time.monotonic():.0f}"}
    life.patch({"podTemplate": {"annotations": annotations}})
    wait_for(
        "every pod is another one",
        lambda: not before & set(life.uids().values()),
        deadline_s=SETTLED_S,
    )
    life.settle(len(before))


def kill_leader(life: Life) -> None:
    """Delete the leader's pod at once."""
    leader = life.status()["leader"]
    before = life.uids()[leader]
    life.kube.kubectl("delete", "pod", leader, "--grace-period=0", "--force")
    wait_for(
        f"{leader} is another pod",
        lambda: life.uids().get(leader) not in (None, before),
        deadline_s=SETTLED_S,
    )
    life.settle(3)


SCENARIOS = (
    Scenario("kill the leader's pod", kill_leader, core=True),
    Scenario("scale 3 to 5", lambda life: scale(life, 5), core=True),
    Scenario("scale 5 to 3", lambda life: scale(life, 3), core=True),
    Scenario("rolling restart", roll, core=True),
    Scenario("scale 3 to 1 to 3", lambda life: scale(life, 1, 3)),
)
