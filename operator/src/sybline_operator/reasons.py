"""Every reason an event may carry: what was done, and why something is not done. A closed list; pure.

What is done is called as its step is. A refusal is the reason of a condition, too, and is told when it gets there.
"""

from enum import StrEnum
from typing import Final, get_args

from sybline_operator.steps import Act, Step

STEPS: Final = frozenset(step.__name__ for step in get_args(Step)) | frozenset(Act)


class Refusal(StrEnum):
    """Why the operator does not do what the spec asks for, until something changes."""

    SPEC_REFUSED = "SpecRefused"  # it cannot be carried out as written
    QUORUM_LOST = "QuorumLost"  # and no majority is expected back: somebody has to decide
    RECOVERY_REFUSED = "RecoveryRefused"  # what was asked for is not the request of now
    NO_QUORUM = "NoQuorum"  # no leader that a quorum confirms: nothing is safe
    POD_CANNOT_START = "PodCannotStart"  # the scheduler or the kubelet says why
    NOT_SAFE_TO_STOP = "NotSafeToStop"  # the members' own verdict
    NOT_SAFE_TO_REMOVE = "NotSafeToRemove"  # too few that stay are fit
    NOBODY_TO_LEAD = "NobodyToLead"  # no other member is fit to
    CERTIFICATE_MISSING = "CertificateMissing"  # nobody has given one yet
    CERTIFICATE_UNUSABLE = "CertificateUnusable"  # the one that was given is not used
    CERTIFICATE_EXPIRED = "CertificateExpired"  # the one that members serve with
    CERTIFICATE_REFUSED = (
        "CertificateRefused"  # the API server does not take what is written about it
    )
    LEADER_WITHOUT_DISK = "LeaderWithoutDisk"  # it still leads, its pod has another disk
    DISK_CANNOT_GROW = "DiskCannotGrow"  # the class, the quota or the volume does not allow it
    RESTART_WAITS = "RestartWaits"  # for an approval or a window
    FOREIGN_CLUSTER = (
        "ForeignCluster"  # a leader answers, of another cluster than the one that was founded
    )
    FOREIGN_OBJECT = "ForeignObject"  # somebody else's has the name of one of ours
    FOREIGN_DISK = "ForeignDisk"  # a claim that was left here by another cluster
    NODE_LOST = "NodeLost"  # it may come back: only somebody who knows can say that it will not
    DISK_UNREACHABLE = "DiskUnreachable"  # no node that may run a pod has its disk
    POD_MONITOR_REFUSED = "PodMonitorRefused"  # its resource definition may be missing
    PUBLISHES_REFUSED = "PublishesRefused"  # a disk or the memory of a member is almost full


# Nothing but what somebody does ends them, and that wakes a look.
FOR_SOMEBODY: Final = frozenset(
    {
        Refusal.SPEC_REFUSED, Refusal.FOREIGN_OBJECT, Refusal.FOREIGN_DISK, Refusal.FOREIGN_CLUSTER,
        Refusal.DISK_CANNOT_GROW, Refusal.POD_CANNOT_START,
    }
)  # fmt: skip


def refused(step: str) -> str:
    """Return the reason of a step that the API server or the members refused."""
    return f"{step}Refused"


REFUSALS: Final = frozenset(Refusal) | {refused(step) for step in STEPS}
