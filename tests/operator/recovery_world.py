"""The model of a cluster with what a lost quorum adds: members' own views, pods that do not end, a record, an order.

A disk of the old cluster that is still anywhere when a survivor goes on alone breaks the one promise of a recovery.
"""

from dataclasses import dataclass, field, replace

from sybline_operator import limits
from sybline_operator.decision import Goal
from sybline_operator.observation import (
    Observed,
    RecoveryRecord,
    RecoverySeen,
    Victim,
)
from sybline_operator.plan import make_plan
from sybline_operator.steps import (
    BeginRecovery,
    CancelRecovery,
    FenceMember,
    FinishRecovery,
    OrderRecovery,
    Step,
)
from tests.operator.world import NAMES, Member, World

LOOK_S = 10.0
END_LOOKS = 2


@dataclass
class LostWorld(World):
    """See the module."""

    unreachable: set[int] = field(default_factory=set)  # ordinals whose node does not answer
    leaving: dict[int, int] = field(default_factory=dict)  # ordinal -> looks until its pod is gone
    doomed: set[int] = field(default_factory=set)  # claims that go with their pod
    unready: dict[int, float] = field(default_factory=dict)
    running: dict[int, float] = field(default_factory=dict)
    without_quorum_s: float = 0.0
    record: RecoveryRecord | None = None
    is_ordered: bool = False
    is_mounted_late: bool = False  # the next start does not see the order
    completed: str = ""
    old: set[int] = field(default_factory=set)  # ids of members of clusters that are over

    @classmethod
    def of(cls, replicas: int) -> "LostWorld":
        """Return a cluster at rest."""
        world = cls("a")
        for _ in range(100):
            world.pass_time()
            plan = make_plan(Goal(replicas, "a"), world.observe())
            if plan.step is not None:
                world.carry_out(plan.step)
            elif plan.is_done:
                return world
        raise AssertionError("it did not come to rest")

    # --- faults ---
    def destroy(self, *ordinals: int) -> None:
        """Lose disks for good: their pods come back with others."""
        for ordinal in ordinals:
            self.lose_disk(ordinal)

    def lose_node(self, *ordinals: int) -> None:
        """Let nodes fall silent, with their pods and disks."""
        for ordinal in ordinals:
            self.unreachable.add(ordinal)

    def node_is_back(self, ordinal: int) -> None:
        self.unreachable.discard(ordinal)

    def node_is_given_up(self, ordinal: int) -> None:
        """Let the administrator say that a node is off for good."""
        self.unreachable.discard(ordinal)
        self._end(ordinal)

    # --- facts and time ---
    def runs(self, ordinal: int) -> bool:
        return super().runs(ordinal) and ordinal not in self.unreachable

    def wait(self, seconds: float = limits.RECOVERY_OFFERED_AFTER_S + LOOK_S) -> None:
        """Let time pass in which nobody acts."""
        for _ in range(int(seconds / LOOK_S) + 1):
            self.pass_time()

    def pass_time(self) -> None:
        for ordinal in list(self.leaving):
            if ordinal not in self.unreachable:
                self.leaving[ordinal] -= 1
                if self.leaving[ordinal] <= 0:
                    self._end(ordinal)
        super().pass_time()
        seen = self.has_quorum and bool(self.leader)
        self.without_quorum_s = (
            0.0 if seen or not self.founded_uid else self.without_quorum_s + LOOK_S
        )
        for ordinal in self.pods:
            is_ready = self.runs(ordinal) and seen
            self.unready[ordinal] = 0.0 if is_ready else self.unready.get(ordinal, 0.0) + LOOK_S
            self.running[ordinal] = (
                self.running.get(ordinal, 0.0) + LOOK_S if self.runs(ordinal) else 0.0
            )

    def _create(self, ordinal: int) -> None:
        super()._create(ordinal)
        self.unready[ordinal] = self.running[ordinal] = 0.0

    def _end(self, ordinal: int) -> None:
        self.leaving.pop(ordinal, None)
        if ordinal in self.doomed:
            self.doomed.discard(ordinal)
            self.claims.pop(ordinal, None)
            self.disks.pop(ordinal, None)
        self.kill(ordinal)

    def _started(self, ordinal: int) -> None:
        super()._started(ordinal)
        record = self.record
        if record is None or not self.is_ordered or self.disks[ordinal] != record.member:
            return
        if self.is_mounted_late:
            self.is_mounted_late = False
        elif (self.cluster_uid, self.version) == (record.cluster_uid, record.configuration_version):
            self._go_on_alone(record.member)

    def _go_on_alone(self, survivor: int) -> None:
        old = {member.id for member in self.members} - {survivor}
        alive = {o for o, disk in self.disks.items() if disk in old}
        assert not alive, f"old members {alive} could still serve beside the new cluster"
        self.old |= old
        name = next(m.name for m in self.members if m.id == survivor)
        self.members = [Member(survivor, name, voter=True, behind=0)]
        self.cluster_uid += 1000
        self.version += 1
        self.leader = 0

    # --- what the operator sees and does ---
    def observe(self) -> Observed:
        seen = super().observe()
        pods = tuple(
            replace(
                pod,
                terminating=pod.ordinal in self.leaving,
                is_lost=pod.ordinal in self.unreachable,
                unready_s=self.unready.get(pod.ordinal, 0.0),
                running_s=self.running.get(pod.ordinal, 0.0),
            )
            for pod in seen.pods
        )
        claims = {
            name: replace(claim, deleting=NAMES.ordinal(name.removeprefix("data-")) in self.doomed)
            for name, claim in seen.claims.items()
        }
        return replace(
            seen, pods=pods, claims=claims,
            recovery=RecoverySeen(
                self.record, self.is_ordered, False, self.without_quorum_s, self.completed
            ),
        )  # fmt: skip

    def do_half(self, step: Step) -> None:
        """Do what a step has done when the operator is killed in its middle."""
        if isinstance(step, FenceMember):
            self._fence(replace(step.victim, pod_uid=""))
        elif isinstance(step, FinishRecovery):
            self.founded_uid, self.completed = step.cluster_uid, step.request

    def _do(self, step: Step) -> None:
        match step:
            case BeginRecovery(record):
                self.record = self.record or record
            case FenceMember(victim):
                self._fence(victim)
            case OrderRecovery():
                self.is_ordered = self.record is not None
            case CancelRecovery():
                self.record, self.is_ordered = None, False
            case FinishRecovery():
                self.founded_uid, self.completed = step.cluster_uid, step.request
                self.record, self.is_ordered = None, False
            case _:
                super()._do(step)

    def _fence(self, victim: Victim) -> None:
        ordinal = NAMES.ordinal(victim.pod)
        assert ordinal is not None
        claim, pod = self.claims.get(ordinal), self.pods.get(ordinal)
        if claim is not None and str(claim.uid) == victim.claim_uid:
            if pod is None:
                self.claims.pop(ordinal)
                self.disks.pop(ordinal, None)
            else:
                self.doomed.add(ordinal)
        if pod is not None and str(pod.uid) == victim.pod_uid:
            self.leaving.setdefault(ordinal, END_LOOKS)
