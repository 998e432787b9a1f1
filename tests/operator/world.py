"""A small model of a cluster on Kubernetes, for the planner: pods, disks and members, and what a step does to them.

It refuses what the broker and the API server would refuse, and raises AssertionError when a step breaks a promise.
"""

from dataclasses import dataclass, field

from sybline_operator.names import Names
from sybline_operator.observation import (
    MemberSeen,
    MembershipSeen,
    Observed,
    PodSeen,
    StopVerdict,
    WorkloadSeen,
)
from sybline_operator.steps import (
    AddMember,
    DeleteClaim,
    HandOver,
    PermitFounding,
    PromoteMember,
    RecordFounding,
    RemoveMember,
    RestartPod,
    SetReplicas,
    Step,
    WriteTemplate,
)

NAMES = Names("here", "orders")
CATCH_UP_LOOKS = 2


@dataclass
class Pod:
    """A pod; `back` looks until it runs again."""

    uid: int
    template: str
    back: int = 1


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
    replicas: int = 0
    has_workload: bool = False
    template: str = ""
    has_seed: bool = False
    founded_uid: int = 0
    cluster_uid: int = 0
    disks: dict[int, int] = field(default_factory=dict)  # ordinal -> member id
    pods: dict[int, Pod] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    leader: int = 0
    version: int = 0
    next_id: int = 1
    next_uid: int = 1
    founded: int = 0  # how often a cluster was founded

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
            if ordinal >= self.replicas:
                del self.pods[ordinal]
            elif pod.back and pod.template not in self.broken:
                pod.back -= 1
                if pod.back == 0:
                    self._started(ordinal)
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
        self.pods[ordinal] = Pod(self.next_uid, self.template)
        self.next_uid += 1

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
            self._create(ordinal)
            for member in self.members:
                if member.name == NAMES.pod(ordinal):
                    member.behind = max(member.behind, 1)

    def lose_disk(self, ordinal: int) -> None:
        self.disks.pop(ordinal, None)
        self.kill(ordinal)

    # --- what the operator sees and does ---
    def observe(self) -> Observed:
        membership = None
        if self.has_quorum and self.leader:
            membership = MembershipSeen(
                self.version, self.cluster_uid, True, 1, tuple(self._seen(m) for m in self.members)
            )
        workload = None
        if self.has_workload:
            workload = WorkloadSeen(self.replicas, {}, self.template, "1Gi")
        return Observed(
            names=NAMES,
            workload=workload,
            pods=tuple(self._pod_seen(o, pod) for o, pod in sorted(self.pods.items())),
            membership=membership,
            identities={NAMES.pod(o): self.disks[o] for o in self.pods if self.runs(o)},
            verdicts={m.id: self.may_stop(m) for m in self.members} if membership else {},
            claims={NAMES.claim(o): "1Gi" for o in self.disks},
            has_seed=self.has_seed,
            founded_uid=self.founded_uid,
        )

    def _seen(self, member: Member) -> MemberSeen:
        healthy = self.healthy(member)
        return MemberSeen(
            id=member.id, name=member.name, address=NAMES.peer_address(member.name),
            voter=member.voter, leads=member.id == self.leader, connected=healthy, healthy=healthy,
            caught_up=member.behind == 0, lag_entries=member.behind,
        )  # fmt: skip

    def _pod_seen(self, ordinal: int, pod: Pod) -> PodSeen:
        runs = pod.back == 0
        trouble = "ImagePullBackOff" if pod.template in self.broken else ""
        member = next((m for m in self.members if m.name == NAMES.pod(ordinal)), None)
        ready = runs and self.has_quorum and member is not None and self.healthy(member)
        return PodSeen(
            NAMES.pod(ordinal), ordinal, str(pod.uid), "10.0.0.1", "node1", ready, False, runs,
            pod.template, trouble,
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
            case RecordFounding():
                self.founded_uid, self.has_seed = step.cluster_uid, False
            case SetReplicas():
                for member in self.members:
                    ordinal = NAMES.ordinal(member.name)
                    assert ordinal is not None
                    assert ordinal < max(step.replicas, 1), f"{member.name} lost its pod"
                if not self.has_workload:
                    self.has_workload, self.template = True, self.wanted_template
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
                ordinal = NAMES.ordinal(step.claim.removeprefix("data-"))
                assert ordinal is not None
                if ordinal not in self.pods:
                    lost = self.disks.pop(ordinal, None)
                    assert all(m.id != lost for m in self.members), "a member lost its disk"
            case _:
                self._change_members(step)

    def _change_members(self, step: Step) -> None:
        if not self.has_quorum:
            return
        match step:
            case HandOver():
                fit = [m.id for m in self.voters() if self.healthy(m) and m.behind == 0]
                self.leader = next((m for m in fit if m != step.leader), self.leader)
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
