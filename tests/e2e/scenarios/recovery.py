"""A majority of the disks is destroyed: told exactly, recovered from as asked for, and the cluster grows back.

The disks that are destroyed are the followers': a leader acknowledges nothing before it is on its own disk, so
everything acknowledged is on the survivor's, and the checker has to excuse nothing.
"""

from typing import Final

from tests.e2e.kube import Failed, Json, wait_for
from tests.e2e.life import SETTLED_S, Life, Scenario

ANNOTATION: Final = "sybline.io/recover-quorum"
OFFERED_S: Final = 120.0 + SETTLED_S  # without logins a look takes long


def recover(life: Life) -> None:
    """Destroy the followers' disks, ask for a recovery that is not offered, then for the one that is."""
    before = life.status()
    survivor = before["leader"]
    ids = {row["name"]: row["memberId"] for row in before["members"]}
    gone = sorted(ids.keys() - {survivor})
    destroy(life, gone)
    offered = wait_for_offer(life)
    assert [row["name"] for row in offered["survivors"]] == [survivor], offered
    assert sorted(offered["missing"]) == gone, offered
    assert offered["advised"] == survivor, offered

    refuse(life, "yes, please")
    ask(life, offered["request"])
    wait_for(
        "the survivor leads a new cluster",
        lambda: life.status()["clusterUid"] not in ("", before["clusterUid"]),
        deadline_s=OFFERED_S,
    )
    life.settle(3)
    after = {row["name"]: row["memberId"] for row in life.members()}
    assert after[survivor] == ids[survivor], (ids, after)
    assert not {after[name] for name in gone} & set(ids.values()), (ids, after)
    status = life.status()
    assert status["recovery"]["phase"] == "Completed", status["recovery"]
    assert not order_is_left(life), "the order was taken away"
    life.kube.kubectl("annotate", "syb", life.name, f"{ANNOTATION}-")
    life.settle(3)


def destroy(life: Life, names: list[str]) -> None:
    """Delete pods with their claims, all at once and without a goodbye."""
    claims = [f"data-{name}" for name in names]
    life.kube.kubectl("delete", "pvc", *claims, "--wait=false")
    life.kube.kubectl("delete", "pod", *names, "--grace-period=0", "--force")


def wait_for_offer(life: Life) -> Json:
    """Return status.recovery once it says what to ask for; it never does before the loss is told."""

    def is_offered() -> bool:
        status = life.status()
        request = status.get("recovery", {}).get("request", "")
        if status.get("recovery", {}).get("phase") != "Offered" or not request:
            return False
        conditions = {c["type"]: c for c in status["conditions"]}
        assert conditions["QuorumHealthy"]["reason"] == "QuorumLost", conditions
        assert "1 of 3 voters answers, 2 are needed" in conditions["QuorumHealthy"]["message"]
        assert conditions["Available"]["status"] == "False", conditions
        return True

    wait_for("a recovery is offered", is_offered, deadline_s=OFFERED_S)
    found: Json = life.status()["recovery"]
    return found


def refuse(life: Life, request: str) -> None:
    """Ask for something else: it is told what is wrong, and no pod, no claim and no number changes."""
    pods, uid = life.uids(), life.status()["clusterUid"]
    ask(life, request)

    def is_refused() -> bool:
        found = {c["type"]: c["reason"] for c in life.status()["conditions"]}
        return found.get("Recovery") == "RecoveryRefused"

    wait_for("the request is refused", is_refused, deadline_s=SETTLED_S)
    assert life.uids() == pods
    assert life.status()["clusterUid"] == uid
    assert not order_is_left(life)


def ask(life: Life, request: str) -> None:
    """Set the annotation as an administrator does."""
    life.kube.kubectl("annotate", "--overwrite", "syb", life.name, f"{ANNOTATION}={request}")


def order_is_left(life: Life) -> bool:
    """Return whether the ConfigMap of a recovery exists."""
    try:
        life.kube.get("configmap", f"{life.name}-recovery")
    except Failed:
        return False
    return True


SCENARIOS = (Scenario("two of three disks destroyed, recovered by request", recover),)
