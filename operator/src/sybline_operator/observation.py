"""What the operator sees of one cluster: values only, read afresh for every reconcile.

`None` means that it could not be found out, never that it is not there. Nothing here decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sybline_operator.json_object import Json
from sybline_operator.names import Names


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
    made_of: str = ""  # annotation of its template
    is_lost: bool = False  # its node does not answer, so nobody knows whether it still runs
    unready_s: float = 0.0  # for how long it has not been ready; 0: it is
    running_s: float = 0.0  # for how long its container has run


@dataclass(frozen=True, slots=True)
class WorkloadSeen:
    """The StatefulSet."""

    replicas: int
    template: Json
    template_hash: str
    storage_size: str  # that new claims get
    uid: str = ""
    generation: int = 0  # of its spec; whoever changes it makes the next one
    left: str = ""  # annotation: how an earlier look left it
    deleting: bool = False
    made_of: str = ""  # annotation of the template


@dataclass(frozen=True, slots=True)
class ClaimSeen:
    """The claim of a disk."""

    name: str
    uid: str  # another uid is another disk
    requested_bytes: int
    capacity_bytes: int  # 0: not told yet
    bound: bool
    deleting: bool = False
    node: str = ""  # for which it was made; the disk may be there alone
    resizing: str = ""  # what is said of a resize under way
    refused: str = ""  # why it may not grow, if it was to
    is_labelled: bool = True  # as the StatefulSet labels its own; one that was restored may not be

    @property
    def is_growable(self) -> bool:
        """Return whether there is a disk: the size of a claim that waits for one cannot be changed."""
        return self.bound and not self.deleting


@dataclass(frozen=True, slots=True)
class IdentitySeen:
    """What the disk of a pod says whose it is."""

    id: int
    name: str  # what the member calls itself
    cluster_uid: int  # 0: of none yet


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an earlier look wrote of a member."""

    name: str
    claim_uid: str  # "": not known yet


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
class ConfiguredSeen:
    """A member in a configuration."""

    id: int
    name: str
    voter: bool


@dataclass(frozen=True, slots=True)
class MemberStatusSeen:
    """What a member says of itself, whether a leader is there or not."""

    id: int
    cluster_uid: int  # 0: of none yet
    configuration_version: int
    removed: bool  # it knows that it is a member no more
    ready: bool
    not_ready_because: str
    version: str  # of its program
    term: int
    last_index: int
    commit_index: int
    publishes_refused_because: str  # "": they are taken
    config_sha256: str  # of its file as last accepted; "": it has none
    settings_pending: tuple[str, ...]  # keys that wait for a restart
    settings_refused_because: str  # "": the file is in force
    last_log_term: int = 0  # of its last entry
    configured: tuple[ConfiguredSeen, ...] = ()  # in its newest configuration, committed or not


@dataclass(frozen=True, slots=True)
class StopVerdict:
    """The broker's answer to: may this member be stopped now?"""

    allowed: bool
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Victim:
    """A pod and a claim that must be gone before a survivor may go on alone; "": there was none."""

    pod: str
    pod_uid: str
    claim: str
    claim_uid: str


@dataclass(frozen=True, slots=True)
class RecoveryRecord:
    """A recovery that was asked for: who goes on, in which state its disk was, and who is fenced."""

    request: str
    pod: str
    pod_uid: str  # of the survivor's pod that runs without an order
    member: int
    configuration_version: int
    cluster_uid: int
    last_term: int
    last_index: int
    fence: tuple[Victim, ...]


@dataclass(frozen=True, slots=True)
class RecoverySeen:
    """How far a recovery has come."""

    record: RecoveryRecord | None = None  # None: none is under way
    is_ordered: bool = False  # the survivor may read its order
    is_unreadable: bool = False  # something is there that is no record
    without_quorum_s: float = 0.0  # for how long QuorumHealthy has been False
    completed: str = ""  # the request that was carried out last


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a plan is made from."""

    names: Names
    workload: WorkloadSeen | None
    pods: tuple[PodSeen, ...] = ()
    membership: MembershipSeen | None = None
    identities: Mapping[str, IdentitySeen] = field(default_factory=dict)  # by pod, where not plain
    verdicts: Mapping[int, StopVerdict] = field(default_factory=dict)  # by member id
    statuses: Mapping[str, MemberStatusSeen] = field(default_factory=dict)  # by pod
    claims: Mapping[str, ClaimSeen] = field(default_factory=dict)  # by name
    recorded: Mapping[int, Recorded] = field(default_factory=dict)  # by member id
    revision: Json | None = None  # pod template of a StatefulSet that is gone and left its pods
    recovery: RecoverySeen = RecoverySeen()
    settings_file: str = ""  # the members' configuration file, as it is in the API server
    has_seed: bool = False  # the permission to found the cluster is there
    in_the_way: str = ""  # what somebody else made under the name of ours, such as a StatefulSet
    founded_uid: int = 0  # as recorded in status when the cluster was founded; 0: not yet

    def own_status(self, member: int, name: str) -> MemberStatusSeen | None:
        """Return what a member says of itself; None: its pod does not answer, or answers for another one."""
        status = self.statuses.get(name)
        return status if status is not None and status.id == member else None

    def has_another_claim(self, member: int, name: str) -> bool:
        """Return whether the claim is not the one that had the member's disk: what it has now is a copy at best."""
        claim, known = self.claims.get(self.names.claim_of(name)), self.recorded.get(member)
        if claim is None or known is None or not known.claim_uid:
            return False
        return claim.uid != known.claim_uid

    def pod(self, ordinal: int) -> PodSeen | None:
        return next((pod for pod in self.pods if pod.ordinal == ordinal), None)
