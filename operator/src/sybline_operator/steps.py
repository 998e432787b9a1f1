"""The steps that change a cluster: data only. A reconcile takes at most one of them, and looks again.

Every step may be repeated, and may meet a cluster that has moved on: then it is refused and nothing has happened.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from sybline_operator.observation import RecoveryRecord, Victim


@dataclass(frozen=True, slots=True)
class PermitFounding:
    """Let the first pod found the cluster, once in its life."""


@dataclass(frozen=True, slots=True)
class RecordFounding:
    """Remember that the cluster is founded, and take the permission away."""

    cluster_uid: int


@dataclass(frozen=True, slots=True)
class WithdrawFounding:
    """Take the permission back: disks are here that may belong to a founded cluster."""


@dataclass(frozen=True, slots=True)
class RenewBlankDisk:
    """Delete the first pod and its disk, on which nothing has ever been: the next one may found the cluster."""

    victim: Victim


@dataclass(frozen=True, slots=True)
class SetReplicas:
    """Make the StatefulSet so many pods large."""

    replicas: int
    why: str


@dataclass(frozen=True, slots=True)
class WriteTemplate:
    """Give the StatefulSet the wanted pod template: a pod that is made from here on has it."""

    why: str = ""  # "": what differs restarts nobody


@dataclass(frozen=True, slots=True)
class AddMember:
    """Add the member of a pod as a learner."""

    pod: str
    expected_version: int


@dataclass(frozen=True, slots=True)
class PromoteMember:
    """Make a learner that has caught up a voter."""

    id: int
    pod: str
    expected_version: int


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Take a member out of the configuration."""

    id: int
    name: str
    expected_version: int
    why: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """Let another member lead; that one leads already, if leadership moved meanwhile."""

    target: int
    why: str


@dataclass(frozen=True, slots=True)
class RestartPod:
    """Delete a pod, which comes back with the template in force."""

    pod: str
    uid: str  # only this very pod
    why: str


@dataclass(frozen=True, slots=True)
class DeleteClaim:
    """Delete the disk of a member that has left."""

    claim: str
    uid: str  # only this very claim


@dataclass(frozen=True, slots=True)
class ExpandClaim:
    """Let a disk grow."""

    claim: str
    uid: str  # only this very claim
    size: str


@dataclass(frozen=True, slots=True)
class ReplaceWorkload:
    """Delete the StatefulSet and leave its pods: the next look makes it anew, for disks of another size."""

    uid: str
    size: str


@dataclass(frozen=True, slots=True)
class BeginRecovery:
    """Write down that a survivor is to go on alone, as it was asked for, and who is fenced first."""

    record: RecoveryRecord


@dataclass(frozen=True, slots=True)
class FenceMember:
    """Delete pod and disk of a member of a cluster whose quorum is lost: it must never serve again."""

    victim: Victim


@dataclass(frozen=True, slots=True)
class OrderRecovery:
    """Let the survivor read its order: everybody else is gone."""

    record: RecoveryRecord


@dataclass(frozen=True, slots=True)
class CancelRecovery:
    """Take everything about a recovery back that was not carried out."""

    why: str


@dataclass(frozen=True, slots=True)
class FinishRecovery:
    """Remember the number of the cluster that the survivor leads, and take the order away."""

    cluster_uid: int
    request: str


Step: TypeAlias = (
    PermitFounding
    | RecordFounding
    | SetReplicas
    | WriteTemplate
    | AddMember
    | PromoteMember
    | RemoveMember
    | HandOver
    | RestartPod
    | DeleteClaim
    | ExpandClaim
    | ReplaceWorkload
    | WithdrawFounding
    | RenewBlankDisk
    | BeginRecovery
    | FenceMember
    | OrderRecovery
    | CancelRecovery
    | FinishRecovery
)


class Act(StrEnum):
    """What is done about certificates, while the cluster serves; also the reason of the event."""

    MAKE_CA = "CACreated"
    ISSUE = "CertificateIssued"
    EXTEND = "CATrusted"
    REPLACE = "CertificateReplaced"
    REDUCE = "CADropped"
