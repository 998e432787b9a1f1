"""The steps that change a cluster: data only. A reconcile takes at most one of them, and looks again.

Every step may be repeated, and may meet a cluster that has moved on: then it is refused and nothing has happened.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class PermitFounding:
    """Let the first pod found the cluster, once in its life."""


@dataclass(frozen=True, slots=True)
class RecordFounding:
    """Remember that the cluster is founded, and take the permission away."""

    cluster_uid: int


@dataclass(frozen=True, slots=True)
class SetReplicas:
    """Make the StatefulSet so many pods large."""

    replicas: int
    why: str


@dataclass(frozen=True, slots=True)
class WriteTemplate:
    """Give the StatefulSet the wanted pod template: from here on a roll goes on by itself."""


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
    """Let another member lead."""

    leader: int
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
)
