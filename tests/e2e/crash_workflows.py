"""What the crash matrix plays: changes of a cluster, and the points that an operator passes in carrying them out."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sybline_operator.names import CLUSTER_LABEL, RECOVER_ANNOTATION
from tests.e2e.kube import Json, Kube, wait_for
from tests.e2e.life import Life

REACHED_S: Final = 240.0  # from a change to what it is to bring about
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"

# Steps that no workflow here takes, and why; the planner's model (tests/operator/world.py) has them.
NOT_PLAYED: Final = {
    "WithdrawFounding": "needs disks of another cluster under the same name",
    "RenewBlankDisk": "needs a founding that was interrupted for longer than a pod starts",
    "CancelRecovery": "needs a survivor that is lost during its recovery",
}


@dataclass(frozen=True)
class Workflow:
    """A change of a cluster at rest, and the points that carrying it out passes, in their order."""

    name: str
    begins_at: int  # voters; 0: there is no cluster
    ends_at: int
    change: Callable[[Life], None]
    points: tuple[str, ...]
    on_one_passage: bool = (
        False  # all points while one change is carried out; else a change for each
    )
    before: Callable[[Life], None] = lambda _: (
        None
    )  # what has to happen first, while an operator runs
    tend: Callable[[Life], None] = lambda _: None  # what a storage driver would do meanwhile
    keeps_identity: bool = True
    needs_tls: bool = False


def around(*steps: str) -> tuple[str, ...]:
    """Return a point before and one after each step."""
    return tuple(f"{side}-{step}" for step in steps for side in ("before", "after"))


def found(life: Life) -> None:
    life.kube.apply(resource(life, 1))


def resource(life: Life, replicas: int) -> Json:
    """Return the resource, whose disks may grow, and go when members leave: to delete them is a step as well."""
    body = life.resource(replicas)
    storage = body["spec"]["storage"]
    storage["className"] = class_of(life.kube)
    storage["retention"]["onScaleDown"] = "Delete"
    return body


def scale(replicas: int) -> Callable[[Life], None]:
    return lambda life: life.patch({"replicas": replicas})


def roll(life: Life) -> None:
    annotations = {"e2e/rolled-at": f"{time.monotonic():.0f}"}
    life.patch({"podTemplate": {"annotations": annotations}})


def lose_disks(life: Life, names: Iterable[str]) -> None:
    for name in names:
        life.kube.kubectl("delete", "pvc", f"data-{name}", "--wait=false")
        life.kube.kubectl("delete", "pod", name, "--grace-period=0", "--force")


def lose_disk(life: Life) -> None:
    lose_disks(life, [life.member("voter")["name"]])


def lose_quorum(life: Life) -> None:
    """Lose two of three disks, and wait until the operator says how to go on with the third."""
    lose_disks(life, [member["name"] for member in life.members() if member["role"] == "voter"])
    wait_for("a recovery is offered", lambda: bool(_request(life)), deadline_s=REACHED_S)


def recover(life: Life) -> None:
    life.kube.kubectl("annotate", "syb", life.name, f"{RECOVER_ANNOTATION}={_request(life)}")


def _request(life: Life) -> str:
    return str((life.status().get("recovery") or {}).get("request") or "")


def grow_disks(life: Life) -> None:
    size: str = life.body()["spec"]["storage"]["size"]
    life.patch({"storage": {"size": f"{int(size.removesuffix('Gi')) + 1}Gi"}})


def provide(life: Life) -> None:
    """Give each disk what it asks for, as a driver would that can."""
    for claim in life.kube.list("pvc", f"{CLUSTER_LABEL}={life.name}"):
        asked = claim["spec"]["resources"]["requests"]["storage"]
        if claim["status"].get("capacity", {}).get("storage", asked) != asked:
            patch = json.dumps({"status": {"capacity": {"storage": asked}}})
            name = claim["metadata"]["name"]
            life.kube.kubectl(
                "patch", "pvc", name, "--subresource=status", "--type=merge", "-p", patch
            )


def rotate(life: Life) -> None:
    life.patch({"tls": {"rotateCA": f"at-{time.monotonic():.0f}"}})


WORKFLOWS: Final = (
    Workflow("found", 0, 1, found, around("PermitFounding", "SetReplicas", "RecordFounding")),
    Workflow("found with TLS", 0, 1, found, around("CertificateIssued"), needs_tls=True),
    Workflow("grow 1 to 3", 1, 3, scale(3), around("SetReplicas", "AddMember", "PromoteMember")),
    Workflow("shrink 3 to 1", 3, 1, scale(1), around("RemoveMember", "SetReplicas", "DeleteClaim")),
    Workflow("roll", 3, 3, roll, around("WriteTemplate", "RestartPod", "HandOver")),
    Workflow(
        "lose a disk", 3, 3, lose_disk, around("RemoveMember", "AddMember", "PromoteMember")
    ),
    Workflow(
        "grow disks", 3, 3, grow_disks, around("ExpandClaim", "ReplaceWorkload", "SetReplicas"),
        tend=provide,
    ),
    Workflow(
        "rotate the CA", 3, 3, rotate,
        around("CACreated", "CATrusted", "CertificateReplaced", "CADropped"),
        on_one_passage=True, needs_tls=True,
    ),
    Workflow(
        "recover from one disk of three", 3, 3, recover,
        (
            *around("BeginRecovery"), "before-FenceMember", "claim-deleted", "after-FenceMember",
            *around("OrderRecovery", "FinishRecovery"),
        ),
        on_one_passage=True, before=lose_quorum, keeps_identity=False,
    ),
)  # fmt: skip

LIFE: Final = (
    Workflow("found", 0, 3, lambda life: life.kube.apply(resource(life, 3)), ()),
    Workflow("shrink", 3, 1, scale(1), ()),
)


def class_of(kube: Kube) -> str:
    return f"{kube.namespace}-disks"


def make_class(kube: Kube) -> None:
    """Make a storage class like the default one, whose disks may grow."""
    classes = kube.list("storageclass")
    [default] = [
        body
        for body in classes
        if body["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true"
    ]
    fields = (
        "apiVersion",
        "kind",
        "provisioner",
        "parameters",
        "reclaimPolicy",
        "volumeBindingMode",
    )
    kube.apply(
        {
            **{field: default[field] for field in fields if field in default},
            "metadata": {"name": class_of(kube)},
            "allowVolumeExpansion": True,
        }
    )
