"""Disks: one is lost, old ones come back, all grow while their members run, one is almost full."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.kube import Json, Kube, wait_for
from tests.e2e.life import SETTLED_S, Life, Scenario

GROWN = "2Gi"
FULL: Json = {  # the highest marks of a disk and the lowest of memory: almost any machine has too little
    "disk_low_mark_bytes": 1 << 40,
    "disk_low_mark_ratio": 0.5,
    "memory_high_mark_bytes": 64 << 20,
}


def ids(life: Life) -> dict[str, str]:
    """Return the members' ids by name; an id is bound to a disk."""
    return {member["name"]: member.get("memberId", "") for member in life.members()}


def claims(life: Life) -> dict[str, Json]:
    """Return the claims of the disks by name."""
    found = life.kube.list("pvc", f"sybline.io/cluster={life.name}")
    return {claim["metadata"]["name"]: claim for claim in found}


def reason_of(life: Life, kind: str) -> str:
    """Return why a condition is as it is."""
    conditions = life.status().get("conditions", [])
    return next((c["reason"] for c in conditions if c["type"] == kind), "")


def lose(life: Life) -> None:
    """Delete a follower's pod and its claim: the empty disk is another member, and the old one is removed."""
    lost = life.member("voter")
    name = lost["name"]
    life.kube.kubectl("delete", "pvc", f"data-{name}", "--wait=false")
    life.kube.kubectl("delete", "pod", name, "--grace-period=0", "--force")
    wait_for(
        f"{name} is another member",
        lambda: ids(life).get(name) not in ("", None, lost["memberId"]),
        deadline_s=SETTLED_S,
    )
    life.settle(3)
    row = next(member for member in life.members() if member["name"] == name)
    assert row["claimUid"] == claims(life)[f"data-{name}"]["metadata"]["uid"], row
    assert row["claimUid"] != lost["claimUid"], row


def come_back(life: Life) -> None:
    """Scale down and up again: the disks that were kept join with all they have, as the members they were."""
    before, disks = ids(life), claims(life).keys()
    life.kube.kubectl("scale", "syb", life.name, "--replicas=1")
    life.settle(1)
    assert claims(life).keys() == disks, "the disks are kept"
    life.kube.kubectl("scale", "syb", life.name, "--replicas=3")
    life.settle(3)
    assert ids(life) == before, (ids(life), before)


def delete_with_members(life: Life) -> None:
    """Scale down where disks go with their members, and up again: the new ones are other members."""
    before = ids(life)
    life.patch({"storage": {"retention": {"onScaleDown": "Delete"}}})
    life.kube.kubectl("scale", "syb", life.name, "--replicas=1")
    life.settle(1)
    wait_for("only one disk is left", lambda: len(claims(life)) == 1, deadline_s=SETTLED_S)
    life.patch({"replicas": 3, "storage": {"retention": {"onScaleDown": "Retain"}}})
    life.settle(3)
    after = ids(life)
    first = f"{life.name}-0"
    assert after[first] == before[first]
    assert not {after[name] for name in after if name != first} & set(before.values()), after


def grow(life: Life) -> None:
    """Ask for larger disks: refused as long as the class does not allow it, then done with no pod restarted.

    Where the class's provisioner cannot do it, this stands in for it and reports the new capacity.
    """
    uids, class_name = life.uids(), _class_of(life)
    with _class_allows(life.kube, class_name, allowed=False):
        life.patch({"storage": {"size": GROWN}})
        wait_for(
            "the refusal is told",
            lambda: reason_of(life, "Progressing") == "DiskCannotGrow",
            deadline_s=SETTLED_S,
        )
        asked = {
            claim["spec"]["resources"]["requests"]["storage"] for claim in claims(life).values()
        }
        assert GROWN not in asked, "nothing is half done"
    with _class_allows(life.kube, class_name, allowed=True):
        wait_for("all disks have asked and have", lambda: _provision(life), deadline_s=SETTLED_S)
        wait_for(
            "new disks get the size", lambda: _template_size(life) == GROWN, deadline_s=SETTLED_S
        )
        life.settle(3)
    assert life.uids() == uids, "no pod was restarted"


def _class_of(life: Life) -> str:
    name: str = next(iter(claims(life).values()))["spec"]["storageClassName"]
    return name


@contextmanager
def _class_allows(kube: Kube, class_name: str, *, allowed: bool) -> Iterator[None]:
    """Let a storage class allow its volumes to grow or not, for a while."""
    before = kube.get("storageclass", class_name).get("allowVolumeExpansion", False)
    kube.patch("storageclass", class_name, {"allowVolumeExpansion": allowed})
    try:
        yield
    finally:
        kube.patch("storageclass", class_name, {"allowVolumeExpansion": before})


def _provision(life: Life) -> bool:
    """Give each disk what it asks for, and return whether all have the new size."""
    for name, claim in claims(life).items():
        asked = claim["spec"]["resources"]["requests"]["storage"]
        if claim["status"]["capacity"]["storage"] != asked:
            life.kube.kubectl(
                "patch", "pvc", name, "--subresource=status", "--type=merge",
                "-p", f'{{"status":{{"capacity":{{"storage":"{asked}"}}}}}}',
            )  # fmt: skip
    return all(claim["status"]["capacity"]["storage"] == GROWN for claim in claims(life).values())


def _template_size(life: Life) -> str:
    """Return the size that the StatefulSet gives new disks."""
    workload = life.kube.get("statefulset", life.name)
    size: str = workload["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"][
        "storage"
    ]
    return size


def fill(life: Life) -> None:
    """Let every disk be almost full by setting the mark above it, and put it back: publishes stop and go on.

    Both are live settings, so that nobody is restarted.
    """
    uids = life.uids()
    before = life.body()["spec"].get("config", {}).get("limits")
    life.patch({"config": {"limits": FULL}})
    wait_for(
        "the shortage is told",
        lambda: reason_of(life, "Degraded") == "PublishesRefused",
        deadline_s=SETTLED_S,
    )
    told = next(c["message"] for c in life.status()["conditions"] if c["type"] == "Degraded")
    assert f" is almost full on {life.name}-" in told, told
    life.patch({"config": {"limits": before}})
    life.settle(3)
    assert life.uids() == uids, "no pod was restarted"


SCENARIOS = (
    Scenario("lose a disk", lose),
    Scenario("scale 3 to 1 to 3, disks kept", come_back),
    Scenario("scale 3 to 1 to 3, disks deleted", delete_with_members),
    Scenario("grow the disks", grow, unnoticed=True),
    Scenario("a full disk", fill),
)
