"""What to do next, decided from what was seen: pure, one step at a time.

The order of the rules is the order of urgency: found the cluster, mend what cannot start, replace lost disks, finish
what was begun, shrink, grow, restart. What is not certain waits: a wrong "no" costs minutes, a wrong "yes" data.
"""

from collections.abc import Callable

from sybline_operator import expansion, recovery
from sybline_operator.decision import Goal, Plan
from sybline_operator.founding import next_founding
from sybline_operator.member_rows import coarse
from sybline_operator.mending import heal
from sybline_operator.observation import MemberSeen, MembershipSeen, Observed, PodSeen
from sybline_operator.reasons import Refusal
from sybline_operator.steps import (
    AddMember,
    DeleteClaim,
    HandOver,
    PromoteMember,
    RemoveMember,
    RestartPod,
    SetReplicas,
    WriteTemplate,
)

_Rule = Callable[["Goal", Observed, MembershipSeen], Plan | None]


def make_plan(goal: Goal, seen: Observed) -> Plan:
    """Return the one thing to do next."""
    if goal.paused:
        return Plan(waiting="paused by spec.paused")
    if goal.spec_refused:
        return Plan(waiting=goal.spec_refused, refusal=Refusal.SPEC_REFUSED)
    if seen.in_the_way:
        text = f"the {seen.in_the_way} is there already and belongs to somebody else"
        return Plan(waiting=text, refusal=Refusal.FOREIGN_OBJECT)
    early = (
        _recover(goal, seen) or next_founding(goal, seen) or heal(goal, seen) or _expand(goal, seen)
    )
    if early is not None:
        return early
    membership = seen.membership
    if membership is None:
        return _without_quorum(seen)
    if seen.founded_uid and membership.cluster_uid != seen.founded_uid:
        return _strangers(seen, membership)
    if not membership.committed:
        return Plan(waiting="a membership change is under way")
    for rule in _RULES:
        plan = rule(goal, seen, membership)
        if plan is not None:
            return plan
    return Plan()


# --- a lost quorum ---
def _recover(goal: Goal, seen: Observed) -> Plan | None:
    decided = recovery.next_step(goal.recovery, seen)
    return None if decided is None else Plan(decided.step, decided.waiting, decided.refusal)


def _without_quorum(seen: Observed) -> Plan:
    if seen.recovery.record is not None:
        return Plan(waiting=f"{seen.recovery.record.pod} starts, to go on alone")
    loss = recovery.assess(seen)
    if loss is None:
        return Plan(waiting="no leader that a quorum confirms answers", refusal=Refusal.NO_QUORUM)
    return Plan(
        waiting=loss.text, refusal=Refusal.QUORUM_LOST if loss.is_offered else Refusal.NO_QUORUM
    )


def _strangers(seen: Observed, membership: MembershipSeen) -> Plan:
    text = (
        f"the members that answer are of cluster {membership.cluster_uid}, this one is {seen.founded_uid}: nothing is "
        "done before it is known why; if they were recovered by hand, empty status.clusterUid"
    )
    return Plan(waiting=text, refusal=Refusal.FOREIGN_CLUSTER)


# --- disks ---
def _expand(goal: Goal, seen: Observed) -> Plan | None:
    """Let disks grow before all else that may wait: a full one may be why there is no quorum, or why the rest waits."""
    step = expansion.next_step(goal.storage_size, seen)
    if step is not None:
        return Plan(step)
    return _hindered(goal, seen) if seen.membership is None else None


def _hindered(goal: Goal, seen: Observed) -> Plan | None:
    text = expansion.hindrance(goal.storage_size, seen)
    return Plan(waiting=text, refusal=Refusal.DISK_CANNOT_GROW) if text else None


def _await_expansion(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Wait for disks last, for nothing else depends on them."""
    waited_for = expansion.waited_for(goal.storage_size, seen)
    return _hindered(goal, seen) or (Plan(waiting=waited_for) if waited_for else None)


# --- members ---
def _replace_lost_disks(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Remove a member whose pod came back with another disk; what the pod has now joins as a learner."""
    for member in membership.members:
        plan = _replace(seen, member, membership)
        if plan is not None:
            return plan
    return None


def _replace(seen: Observed, member: MemberSeen, membership: MembershipSeen) -> Plan | None:
    found = seen.identities.get(member.name)
    if found is not None and found.id != member.id and not member.connected:
        if member.leads:
            text = f"{member.name} leads, although its pod has another disk"
            return Plan(waiting=text, refusal=Refusal.LEADER_WITHOUT_DISK)
        why = f"its pod has another disk, {_whose_fault(seen, member)}"
        return Plan(RemoveMember(member.id, member.name, membership.version, why))
    is_copy = seen.own_status(member.id, member.name) and seen.has_another_claim(
        member.id, member.name
    )
    if is_copy and len(membership.members) > 1:
        # It may have forgotten what it voted for and acknowledged, and must not count until it has everything again.
        return _remove(member, membership, "its claim was made anew: the disk may be an older copy")
    return None


def _whose_fault(seen: Observed, member: MemberSeen) -> str:
    """Return what the claim says of a disk that is another one."""
    claim = seen.claims.get(seen.names.claim_of(member.name))
    known = seen.recorded.get(member.id)
    if claim is None or known is None or not known.claim_uid:
        return "and its claim is not known"
    if claim.uid == known.claim_uid:
        return "although the claim is the same: it was emptied or exchanged"
    return "for its claim was made anew"


def _promote(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Finish what was begun before anything else is: one learner at a time."""
    for member in membership.members:
        ordinal = seen.names.ordinal(member.name)
        if member.voter or (ordinal is not None and ordinal >= goal.replicas):
            continue
        if member.healthy and member.caught_up:
            return Plan(PromoteMember(member.id, member.name, membership.version))
        lag = "unknown" if member.lag_entries is None else coarse(member.lag_entries)
        return Plan(waiting=f"{member.name} catches up, lag {lag}")
    return None


def _refill(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Add who is to stay before anybody leaves: else nobody may be fit to lead, or too few to go on."""
    plan = _grow(goal, seen, membership)
    return plan if plan is not None and plan.step is not None else None


def _shrink(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Take out the member of the highest ordinal, then its pod, then perhaps its disk."""
    surplus = [
        (ordinal, member)
        for member in membership.members
        if (ordinal := seen.names.ordinal(member.name)) is not None and ordinal >= goal.replicas
    ]
    if surplus:
        _, member = max(surplus, key=lambda pair: pair[0])
        return _remove(member, membership, "scaled down")
    workload = seen.workload
    assert workload is not None
    if workload.replicas > goal.replicas:
        return Plan(SetReplicas(workload.replicas - 1, "its member has left"))
    if goal.delete_claims:
        for claim in sorted(seen.claims):
            found, ordinal = seen.claims[claim], seen.names.ordinal_of_claim(claim)
            if ordinal is None or ordinal < goal.replicas or seen.pod(ordinal) is not None:
                continue
            if found.is_labelled:  # else somebody put it here
                return Plan(DeleteClaim(claim, found.uid))
    return None


def _remove(member: MemberSeen, membership: MembershipSeen, why: str) -> Plan:
    step = RemoveMember(member.id, member.name, membership.version, why)
    if not member.voter:
        return Plan(step)
    if member.leads:
        return _hand_over(member, membership, f"{member.name} is to leave")
    rest = [other for other in membership.voters if other.id != member.id]
    fit = sum(other.healthy and other.caught_up for other in rest)
    if fit <= len(rest) // 2:  # the broker would refuse it, too
        text = f"{member.name} cannot leave: only {fit} of the {len(rest)} that stay are fit"
        return Plan(waiting=text, refusal=Refusal.NOT_SAFE_TO_REMOVE)
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
        found = seen.identities.get(name)
        if found is not None and found.cluster_uid not in (0, membership.cluster_uid):
            text = (
                f"the disk of {name} belongs to another cluster ({found.cluster_uid:016x}): if it is not "
                f"needed, delete the claim {seen.names.claim(ordinal)} and then the pod"
            )
            return Plan(waiting=text, refusal=Refusal.FOREIGN_DISK)
        if found is not None:
            return Plan(AddMember(name, membership.version))
        return _waits_for_pod(f"{name} starts", seen.pod(ordinal))
    return None


def _waits_for_pod(what: str, pod: PodSeen | None) -> Plan:
    if pod is None or not pod.trouble:
        return Plan(waiting=what)
    return Plan(waiting=f"{what}: {pod.trouble}", refusal=Refusal.POD_CANNOT_START)


# --- restarts ---
def _roll(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Restart one member after the other, the leader last, the next one only when all have caught up."""
    workload = seen.workload
    assert workload is not None
    if workload.template_hash != goal.template_hash:
        return Plan(WriteTemplate(goal.restart_why)) if goal.may_restart else None
    outdated = [pod for pod in seen.pods if pod.template != workload.template_hash]
    if not outdated or not goal.may_restart:
        return None
    if len(seen.pods) < workload.replicas:
        return Plan(waiting="a pod is missing")
    for pod in seen.pods:
        if pod.terminating or not pod.ready:
            return _waits_for_pod(f"{pod.name} is not ready", pod)
    highest_first = sorted(outdated, key=lambda pod: -pod.ordinal)
    return _restart_next(highest_first, seen, membership, goal.restart_why)


def _restart_next(
    outdated: list[PodSeen], seen: Observed, membership: MembershipSeen, why: str
) -> Plan:
    members = {member.name: member for member in membership.members}
    followers = [pod for pod in outdated if not (m := members.get(pod.name)) or not m.leads]
    pod = (followers or outdated)[0]
    member = members.get(pod.name)
    restart = RestartPod(pod.name, pod.uid, why)
    if member is None or len(membership.voters) == 1:
        return Plan(restart)  # alone, it is away for a moment whatever is done
    if member.leads:
        return _hand_over(member, membership, f"{pod.name} is restarted")
    verdict = seen.verdicts.get(member.id)
    if verdict is None or not verdict.allowed:
        reason = "no verdict" if verdict is None else verdict.text
        text = f"{pod.name} cannot be restarted: {reason}"
        return Plan(waiting=text, refusal=Refusal.NOT_SAFE_TO_STOP)
    return Plan(restart)


def _record_template(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    """Keep what is said of the template true: another spec may come to the same pods."""
    workload = seen.workload
    assert workload is not None
    if workload.template_hash != goal.template_hash or workload.made_of == goal.made_of:
        return None
    return Plan(WriteTemplate())


def _announce_restart(goal: Goal, seen: Observed, membership: MembershipSeen) -> Plan | None:
    if goal.may_restart or all(pod.template == goal.template_hash for pod in seen.pods):
        return None
    return Plan(refusal=Refusal.RESTART_WAITS)


def _hand_over(member: MemberSeen, membership: MembershipSeen, why: str) -> Plan:
    fit = [m for m in membership.voters if m.id != member.id and m.healthy and m.caught_up]
    if not fit:
        text = f"nobody is fit to lead instead of {member.name}"
        return Plan(waiting=text, refusal=Refusal.NOBODY_TO_LEAD)
    return Plan(HandOver(max(fit, key=lambda other: -(other.lag_entries or 0)).id, why))


_RULES: tuple[_Rule, ...] = (
    _replace_lost_disks,
    _promote,
    _refill,
    _shrink,
    _grow,
    _roll,
    _record_template,
    _await_expansion,
    _announce_restart,
)
