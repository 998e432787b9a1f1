"""A small model of a cluster on Kubernetes, for the planner: pods, disks and members, and what a step does to them.

It refuses what the broker and the API server would refuse, and raises AssertionError when a step breaks a promise.
"""

from dataclasses import dataclass, field

from sybline_operator.claims import recorded
from sybline_operator.member_rows import member_rows
from sybline_operator.names import Names
from sybline_operator.observation import (
    ClaimSeen,
    ConfiguredSeen,
    IdentitySeen,
    MemberSeen,
    MembershipSeen,
    MemberStatusSeen,
    Observed,
    PodSeen,
    Recorded,
    StopVerdict,
    WorkloadSeen,
)
from sybline_operator.steps import (
    AddMember,
    DeleteClaim,
    ExpandClaim,
    HandOver,
    PermitFounding,
    PromoteMember,
    RecordFounding,
    RemoveMember,
    RenewBlankDisk,
    ReplaceWorkload,
    RestartPod,
    SetReplicas,
    Step,
    WithdrawFounding,
    WriteTemplate,
)

NAMES = Names("here", "orders")
CATCH_UP_LOOKS = 2
GIB = 1 << 30


@dataclass
class Pod:
    """A pod; `back` looks until it runs again."""

    uid: int
    template: str
    back: int = 1
    flickers: bool = False  # its container runs for a moment, and will end again


@dataclass
class Claim:
    """The claim of a disk; the provisioner gives it what it asks for, in time."""

    uid: int
    asked_gib: int
    has_gib: int


@dataclass
class Member:
    """A member of the configuration."""

    id: int
    name: str
    voter: bool
    behind: int = CATCH_UP_LOOKS  # looks until it has caught up


@dataclass
class World:
    """See the module."""

    wanted_template: str
    broken: set[str] = field(default_factory=set)  # templates whose pods cannot start
    silent: set[str] = field(default_factory=set)  # whose pods cannot start, and nobody says why
    ending: set[str] = field(default_factory=set)  # templates whose containers start and end again
    replicas: int = 0
    has_workload: bool = False
    template: str = ""
    has_seed: bool = False
    founded_uid: int = 0
    cluster_uid: int = 0
    disks: dict[int, int] = field(default_factory=dict)  # ordinal -> member id
    claims: dict[int, Claim] = field(default_factory=dict)  # by ordinal
    template_gib: int = 10  # of new claims
    may_grow: bool = True  # the storage class allows it
    workloads: int = 0  # how many StatefulSets there were
    recorded: dict[int, Recorded] = field(default_factory=dict)  # as the status has it
    pods: dict[int, Pod] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    leader: int = 0
    version: int = 0
    next_id: int = 1
    next_uid: int = 1
    founded: int = 0  # how often a cluster was founded
    positions: dict[int, tuple[int, int]] = field(
        default_factory=dict
    )  # last term and index, by member id

    # --- facts ---
    def runs(self, ordinal: int) -> bool:
        pod = self.pods.get(ordinal)
        return pod is not None and pod.back == 0

    def holder(self, member: Member) -> int | None:
        """Return the ordinal whose running pod has the disk of a member."""
        ordinal = NAMES.ordinal(member.name)
        assert ordinal is not None
        return ordinal if self.runs(ordinal) and self.disks.get(ordinal) == member.id else None

    def healthy(self, member: Member) -> bool:
        return self.holder(member) is not None

    def voters(self) -> list[Member]:
        return [member for member in self.members if member.voter]

    def fit(self) -> int:
        return sum(self.healthy(m) and m.behind == 0 for m in self.voters())

    @property
    def quorum(self) -> int:
        return len(self.voters()) // 2 + 1

    @property
    def has_quorum(self) -> bool:
        """Return whether enough disks of voters are there; who is behind catches up from the others."""
        return bool(self.members) and sum(map(self.healthy, self.voters())) >= self.quorum

    def may_stop(self, member: Member) -> StopVerdict:
        rest = [m for m in self.voters() if m is not member and self.healthy(m) and m.behind == 0]
        allowed = len(rest) >= self.quorum and member.id != self.leader
        return StopVerdict(allowed, "ALLOWED" if allowed else "TOO_FEW_HEALTHY", f"{len(rest)} fit")

    # --- time ---
    def pass_time(self) -> None:
        """Let pods start, members found, elect and catch up."""
        for ordinal in range(self.replicas if self.has_workload else 0):
            if ordinal not in self.pods:
                self._create(ordinal)
        for ordinal, pod in list(self.pods.items()):
            if ordinal >= self.replicas and self.has_workload:
                del self.pods[ordinal]
            elif pod.template in self.ending:
                pod.flickers = not pod.flickers
            elif pod.back and pod.template not in self.broken | self.silent:
                pod.back -= 1
                if pod.back == 0:
                    self._started(ordinal)
        for claim in self.claims.values():
            claim.has_gib = claim.asked_gib
        if self.has_quorum:
            healthy = [m for m in self.voters() if self.healthy(m)]
            if self.leader not in {m.id for m in healthy}:
                self.leader = min(healthy, key=lambda m: m.behind).id
            for member in self.members:
                if self.healthy(member):
                    member.behind = max(0, member.behind - 1)
        else:
            self.leader = 0

    def _create(self, ordinal: int) -> None:
        self.pods[ordinal] = Pod(self._uid(), self.template)
        if ordinal not in self.claims:
            self.claims[ordinal] = Claim(self._uid(), self.template_gib, 0)

    def _uid(self) -> int:
        self.next_uid += 1
        return self.next_uid

    def _started(self, ordinal: int) -> None:
        if ordinal in self.disks:
            return
        self.disks[ordinal] = self.next_id
        self.next_id += 1
        if ordinal == 0 and self.has_seed:
            self.founded += 1
            assert self.founded == 1, "a second cluster was founded"
            self.cluster_uid, self.version = 77, 1
            self.members = [Member(self.disks[0], NAMES.pod(0), voter=True, behind=0)]

    # --- faults ---
    def kill(self, ordinal: int) -> None:
        if ordinal in self.pods:
            del self.pods[ordinal]
            if self.has_workload:
                self._create(ordinal)
            for member in self.members:
                if member.name == NAMES.pod(ordinal):
                    member.behind = max(member.behind, 1)

    def lose_disk(self, ordinal: int) -> None:
        self.disks.pop(ordinal, None)
        self.claims.pop(ordinal, None)
        self.kill(ordinal)

    def copy_disk(self, ordinal: int) -> None:
        """Restore a disk from a copy of a while ago, under a new claim of the same name."""
        if ordinal in self.claims:
            claim = self.claims[ordinal]
            self.claims[ordinal] = Claim(self._uid(), claim.asked_gib, claim.has_gib)
            self.kill(ordinal)

    def lose_workload(self, *, with_pods: bool = False) -> None:
        """Delete the StatefulSet; its disks stay."""
        self.has_workload = False
        if with_pods:
            self.pods.clear()

    # --- what the operator sees and does ---
    def observe(self) -> Observed:
        membership = None
        if self.has_quorum and self.leader:
            membership = MembershipSeen(
                self.version, self.cluster_uid, True, 1, tuple(self._seen(m) for m in self.members)
            )
        workload = None
        if self.has_workload:
            workload = WorkloadSeen(
                self.replicas, {}, self.template, f"{self.template_gib}Gi", str(self.workloads)
            )
        seen = Observed(
            names=NAMES,
            workload=workload,
            pods=tuple(self._pod_seen(o, pod) for o, pod in sorted(self.pods.items())),
            membership=membership,
            identities={
                NAMES.pod(o): IdentitySeen(self.disks[o], NAMES.pod(o), self.cluster_uid)
                for o in self.pods
                if self.runs(o)
            },
            verdicts={m.id: self.may_stop(m) for m in self.members} if membership else {},
            claims={NAMES.claim(o): self._claim_seen(o, c) for o, c in self.claims.items()},
            statuses={NAMES.pod(o): self._status(o) for o in self.pods if self.runs(o)},
            recorded=self.recorded,
            has_seed=self.has_seed,
            founded_uid=self.founded_uid,
        )
        self.recorded = recorded({"members": member_rows(seen)})
        return seen

    def _status(self, ordinal: int) -> MemberStatusSeen:
        """Return what a member says of itself: nothing of a cluster, unless it is in the configuration."""
        disk = self.disks[ordinal]
        member = next((m for m in self.members if m.id == disk), None)
        term, index = self.positions.get(disk, (4, 100) if member else (0, 0))
        return MemberStatusSeen(
            id=disk, cluster_uid=self.cluster_uid if member else 0,
            configuration_version=self.version if member else 0, removed=False, ready=False,
            not_ready_because="", version="", term=term, last_index=index, commit_index=index,
            publishes_refused_because="", config_sha256="", settings_pending=(), settings_refused_because="",
            last_log_term=term,
            configured=tuple(ConfiguredSeen(m.id, m.name, m.voter) for m in self.members) if member else (),
        )  # fmt: skip

    def _claim_seen(self, ordinal: int, claim: Claim) -> ClaimSeen:
        return ClaimSeen(
            NAMES.claim(ordinal), str(claim.uid), claim.asked_gib * GIB, claim.has_gib * GIB, True,
            refused="" if self.may_grow else "not allowed",
        )  # fmt: skip

    def _seen(self, member: Member) -> MemberSeen:
        healthy = self.healthy(member)
        return MemberSeen(
            id=member.id, name=member.name, address=NAMES.peer_address(member.name),
            voter=member.voter, leads=member.id == self.leader, connected=healthy, healthy=healthy,
            caught_up=member.behind == 0, lag_entries=member.behind,
        )  # fmt: skip

    def _pod_seen(self, ordinal: int, pod: Pod) -> PodSeen:
        runs = pod.back == 0
        trouble = "ImagePullBackOff" if pod.template in self.broken | self.ending else ""
        member = next((m for m in self.members if m.name == NAMES.pod(ordinal)), None)
        ready = runs and self.has_quorum and member is not None and self.healthy(member)
        return PodSeen(
            NAMES.pod(ordinal), ordinal, str(pod.uid), "10.0.0.1", "node1", ready, False,
            runs or pod.flickers, pod.template, trouble, running_s=1_000.0 if runs else 0.0,
            unready_s=1_000.0 if pod.template in self.silent else 0.0,
        )  # fmt: skip

    def carry_out(self, step: Step) -> None:
        """Do a step as the API server and the broker would, or refuse it."""
        was_fit = self.has_quorum and len(self.voters()) > 1
        self._do(step)
        if was_fit and isinstance(step, (RestartPod, RemoveMember, SetReplicas)):
            assert self.has_quorum, f"{step} broke the quorum"

    def _do(self, step: Step) -> None:
        match step:
            case PermitFounding():
                assert not self.cluster_uid, "permitted to found a second cluster"
                self.has_seed = True
            case WithdrawFounding():
                self.has_seed = False
            case RenewBlankDisk(victim):
                if 0 in self.pods and str(self.pods[0].uid) == victim.pod_uid:
                    assert not self.members, "a disk is deleted that may have something on it"
                    self.lose_disk(0)
            case RecordFounding():
                self.founded_uid, self.has_seed = step.cluster_uid, False
            case SetReplicas():
                for member in self.members:
                    ordinal = NAMES.ordinal(member.name)
                    assert ordinal is not None
                    assert ordinal < max(step.replicas, 1), f"{member.name} lost its pod"
                if not self.has_workload:
                    self._make_workload()
                self.replicas = step.replicas
            case WriteTemplate():
                self.template = self.wanted_template
            case RestartPod():
                ordinal = NAMES.ordinal(step.pod)
                assert ordinal is not None
                pod = self.pods.get(ordinal)
                if pod is not None and str(pod.uid) == step.uid:
                    self.kill(ordinal)
            case DeleteClaim():
                ordinal = _ordinal_of(step.claim)
                claim = self.claims.get(ordinal)
                if ordinal not in self.pods and claim is not None and str(claim.uid) == step.uid:
                    self.claims.pop(ordinal, None)
                    lost = self.disks.pop(ordinal, None)
                    assert all(m.id != lost for m in self.members), "a member lost its disk"
            case ExpandClaim():
                claim = self.claims.get(_ordinal_of(step.claim))
                if claim is not None and str(claim.uid) == step.uid:
                    assert self.may_grow, "half of the disks would grow"
                    claim.asked_gib = max(claim.asked_gib, int(step.size.removesuffix("Gi")))
            case ReplaceWorkload():
                if step.uid == str(self.workloads):
                    self.lose_workload()
            case _:
                self._change_members(step)

    def _make_workload(self) -> None:
        """Make the StatefulSet, with the template that the last one left beside its pods, if it left any."""
        self.has_workload = True
        self.workloads += 1
        self.template = self.template if self.pods else self.wanted_template
        asked = [self.claims[ordinal].asked_gib for ordinal in self.pods if ordinal in self.claims]
        self.template_gib = min(asked, default=self.template_gib)

    def _change_members(self, step: Step) -> None:
        if not self.has_quorum:
            return
        match step:
            case HandOver():
                fit = [m.id for m in self.voters() if self.healthy(m) and m.behind == 0]
                self.leader = step.target if step.target in fit else self.leader
            case AddMember() if step.expected_version == self.version:
                ordinal = NAMES.ordinal(step.pod)
                assert ordinal is not None
                if self.runs(ordinal) and self.disks[ordinal] not in {m.id for m in self.members}:
                    self.members.append(Member(self.disks[ordinal], step.pod, voter=False))
                    self.version += 1
            case PromoteMember() if step.expected_version == self.version:
                for member in self.members:
                    if member.id == step.id and member.behind == 0:
                        member.voter = True
                        self.version += 1
            case RemoveMember() if step.expected_version == self.version:
                self._remove(step.id)

    def _remove(self, gone: int) -> None:
        if gone == self.leader:
            return
        rest = [m for m in self.members if m.id != gone]
        fit = sum(self.healthy(m) and m.behind == 0 for m in rest if m.voter)
        if fit >= sum(m.voter for m in rest) // 2 + 1:
            self.members = rest
            self.version += 1


def _ordinal_of(claim: str) -> int:
    ordinal = NAMES.ordinal(claim.removeprefix("data-"))
    assert ordinal is not None
    return ordinal
