"""What the operator sees of one cluster: values only, read afresh for every reconcile.

`None` means that it could not be found out, never that it is not there. Nothing here decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sybline_operator.names import Names

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod of the StatefulSet."""

    name: str
    ordinal: int
    uid: str
    ip: str
    node: str
    ready: bool
    terminating: bool
    running: bool  # its container has started and not ended
    template: str  # hash of the template it was made from; "": not one of ours
    trouble: str = ""  # why its container does not run, as the kubelet says it


@dataclass(frozen=True, slots=True)
class WorkloadSeen:
    """The StatefulSet."""

    replicas: int
    template: Json
    template_hash: str
    storage_size: str


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """A member of the configuration, in the leader's eyes."""

    id: int
    name: str
    address: str
    voter: bool
    leads: bool
    connected: bool
    healthy: bool
    caught_up: bool
    lag_entries: int | None


@dataclass(frozen=True, slots=True)
class MembershipSeen:
    """The leader's view, confirmed by a quorum."""

    version: int
    cluster_uid: int
    committed: bool
    term: int
    members: tuple[MemberSeen, ...]

    @property
    def voters(self) -> tuple[MemberSeen, ...]:
        return tuple(member for member in self.members if member.voter)

    def named(self, name: str) -> tuple[MemberSeen, ...]:
        """Return the members of that name: more than one while a disk is being replaced."""
        return tuple(member for member in self.members if member.name == name)


@dataclass(frozen=True, slots=True)
class StopVerdict:
    """The broker's answer to: may this member be stopped now?"""

    allowed: bool
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a plan is made from."""

    names: Names
    workload: WorkloadSeen | None
    pods: tuple[PodSeen, ...] = ()
    membership: MembershipSeen | None = None
    identities: Mapping[str, int] = field(default_factory=dict)  # pod -> id that its disk has
    verdicts: Mapping[int, StopVerdict] = field(default_factory=dict)  # by member id
    claims: Mapping[str, str] = field(default_factory=dict)  # name -> size requested
    has_seed: bool = False  # the permission to found the cluster is there
    founded_uid: int = 0  # as recorded in status when the cluster was founded; 0: not yet

    def pod(self, ordinal: int) -> PodSeen | None:
        return next((pod for pod in self.pods if pod.ordinal == ordinal), None)
