"""What to do next, decided from what was seen: pure, one step at a time.

The order of the rules is the order of urgency: found the cluster, mend what cannot start, replace lost disks, finish
what was begun, shrink, grow, restart. What is not certain waits: a wrong "no" costs minutes, a wrong "yes" data.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sybline_operator.observation import MemberSeen, MembershipSeen, Observed, PodSeen
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


@dataclass(frozen=True, slots=True)
class Goal:
    """What the spec comes to."""

    replicas: int
    template_hash: str
    delete_claims: bool = False  # of members that left by scaling down
    paused: bool = False
    may_restart: bool = True  # approved, and inside the maintenance window


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step, or what is waited for; both empty: nothing is left to do."""

    step: Step | None = None
    waiting: str = ""

    @property
    def is_done(self) -> bool:
        return self.step is None and not self.waiting


_Rule = Callable[["Goal", Observed, MembershipSeen], Plan | None]


def make_plan(goal: Goal, seen: Observed) -> Plan:
    """Return the one thing to do next."""
    if goal.paused:
        return Plan(waiting="paused by spec.paused")
    early = _found(goal, seen) or _heal(goal, seen)
    if early is not None:
        return early
    membership = seen.membership
    if membership is None:
        return Plan(waiting="no leader that a quorum confirms answers")
    if not membership.committed:
        return Plan(waiting="a membership change is under way")
    for rule in _RULES:
        plan = rule(goal, seen, membership)
        if plan is not None:
            return plan
    return Plan()


# --- founding ---
def _found(goal: Goal, seen: Observed) -> Plan | None:
    if seen.founded_uid:
        # The permission may have outlived a crash of the operator.
        return Plan(RecordFounding(seen.founded_uid)) if seen.has_seed else None
    membership = seen.membership
    if membership is not None and membership.cluster_uid:
        return Plan(RecordFounding(membership.cluster_uid))
    if not seen.has_seed:
        return Plan(PermitFounding())
    if seen.workload is None:
        return Plan(SetReplicas(goal.replicas, "the cluster is new"))
    return Plan(waiting=f"{seen.names.pod(0)} founds the cluster")


# --- mending ---
def _heal(goal: Goal, seen: Observed) -> Plan | None:
    """Replace pods that cannot start, once the template in force is another one: nothing else ever would.

    A pod whose container does not run serves nobody, so deleting it needs no verdict.
    """
    if seen.workload is None:
        return Plan(SetReplicas(_replicas_needed(goal, seen), "the StatefulSet is gone"))
    in_force = seen.workload.template_hash
    for pod in seen.pods:
        if pod.running or pod.terminating or pod.ready or not pod.trouble:
            continue
        if in_force != goal.template_hash and goal.may_restart:
            return Plan(WriteTemplate())
        if pod.template != in_force:
            return Plan(RestartPod(pod.name, pod.uid, f"it could not start: {pod.trouble}"))
    return None


def _replicas_needed(goal: Goal, seen: Observed) -> int:
    """Return how many pods the members of the cluster need: never fewer than there are members."""
    ordinals = [] if seen.membership is None else _ordinals(seen, seen.membership)
    return max(goal.replicas, *(ordinal + 1 for ordinal in ordinals), 1)


def _ordinals(seen: Observed, membership: MembershipSeen) -> list[int]:
    found = (seen.names.ordinal(member.name) for member in membership.members)
    return [ordinal for ordinal in found if ordinal is not None]


# --- members ---
def _replace_lost_disks(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Remove a member whose pod came back with another disk: the old one is gone for good."""
    for member in membership.members:
        found = seen.identities.get(member.name)
        if found is None or found == member.id or member.connected:
            continue
        if member.leads:
            return Plan(waiting=f"{member.name} leads, although its pod has another disk")
        why = f"the disk of {member.name} was replaced"
        return Plan(RemoveMember(member.id, member.name, membership.version, why))
    return None


def _promote(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Finish what was begun before anything else is: one learner at a time."""
    for member in membership.members:
        ordinal = seen.names.ordinal(member.name)
        if member.voter or (ordinal is not None and ordinal >= goal.replicas):
            continue
        if member.healthy and member.caught_up:
            return Plan(PromoteMember(member.id, member.name, membership.version))
        lag = "unknown" if member.lag_entries is None else member.lag_entries
        return Plan(waiting=f"{member.name} catches up, lag {lag}")
    return None


def _shrink(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Take out the member of the highest ordinal, then its pod, then perhaps its disk."""
    surplus = [
        (ordinal, member)
        for member in membership.members
        if (ordinal := seen.names.ordinal(member.name)) is not None and ordinal >= goal.replicas
    ]
    if surplus:
        _, member = max(surplus, key=lambda pair: pair[0])
        return _remove(member, membership)
    workload = seen.workload
    assert workload is not None
    if workload.replicas > goal.replicas:
        return Plan(SetReplicas(workload.replicas - 1, "its member has left"))
    if goal.delete_claims:
        for claim in sorted(seen.claims):
            ordinal = seen.names.ordinal(claim.removeprefix("data-"))
            if ordinal is not None and ordinal >= goal.replicas and seen.pod(ordinal) is None:
                return Plan(DeleteClaim(claim))
    return None


def _remove(member: MemberSeen, membership: MembershipSeen) -> Plan:
    step = RemoveMember(member.id, member.name, membership.version, "scaled down")
    if not member.voter:
        return Plan(step)
    if member.leads:
        return _hand_over(member, membership, f"{member.name} is to leave")
    rest = [other for other in membership.voters if other.id != member.id]
    fit = sum(other.healthy and other.caught_up for other in rest)
    if fit <= len(rest) // 2:  # the broker would refuse it, too
        return Plan(
            waiting=f"{member.name} cannot leave: only {fit} of the {len(rest)} that stay are fit"
        )
    return Plan(step)


def _grow(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Start the missing pods, then add their members, the lowest ordinal first."""
    workload = seen.workload
    assert workload is not None
    if workload.replicas < goal.replicas:
        return Plan(SetReplicas(goal.replicas, "scaled up"))
    for ordinal in range(goal.replicas):
        name = seen.names.pod(ordinal)
        if membership.named(name):
            continue
        if name in seen.identities:
            return Plan(AddMember(name, membership.version))
        return Plan(waiting=f"{name} starts{_trouble(seen.pod(ordinal))}")
    return None


def _trouble(pod: PodSeen | None) -> str:
    return f": {pod.trouble}" if pod is not None and pod.trouble else ""


# --- restarts ---
def _roll(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Restart one member after the other, the leader last, the next one only when all have caught up."""
    workload = seen.workload
    assert workload is not None
    if workload.template_hash != goal.template_hash:
        if not goal.may_restart:
            return None
        return Plan(WriteTemplate())
    outdated = [pod for pod in seen.pods if pod.template != workload.template_hash]
    if not outdated:
        return None
    if len(seen.pods) < workload.replicas:
        return Plan(waiting="a pod is missing")
    for pod in seen.pods:
        if pod.terminating or not pod.ready:
            return Plan(waiting=f"{pod.name} is not ready{_trouble(pod)}")
    return _restart_next(sorted(outdated, key=lambda pod: -pod.ordinal), seen, membership)


def _restart_next(outdated: list[PodSeen], seen: Observed, membership: MembershipSeen) -> Plan:
    members = {member.name: member for member in membership.members}
    followers = [pod for pod in outdated if not (m := members.get(pod.name)) or not m.leads]
    pod = (followers or outdated)[0]
    member = members.get(pod.name)
    restart = RestartPod(pod.name, pod.uid, "its template changed")
    if member is None or len(membership.voters) == 1:
        return Plan(restart)  # alone, it is away for a moment whatever is done
    if member.leads:
        return _hand_over(member, membership, f"{pod.name} is restarted")
    verdict = seen.verdicts.get(member.id)
    if verdict is None or not verdict.allowed:
        reason = "no verdict" if verdict is None else verdict.text
        return Plan(waiting=f"{pod.name} cannot be restarted: {reason}")
    return Plan(restart)


def _hand_over(member: MemberSeen, membership: MembershipSeen, why: str) -> Plan:
    fit = [m for m in membership.voters if m.id != member.id and m.healthy and m.caught_up]
    if not fit:
        return Plan(waiting=f"nobody is fit to lead instead of {member.name}")
    return Plan(HandOver(member.id, why))


_RULES: tuple[_Rule, ...] = (_replace_lost_disks, _promote, _shrink, _grow, _roll)
