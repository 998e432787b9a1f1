"""Bringing back what is missing: the StatefulSet, its pods, and pods that cannot start. Pure."""

from sybline_operator import limits
from sybline_operator.decision import Goal, Plan
from sybline_operator.observation import Observed, PodSeen
from sybline_operator.steps import RestartPod, SetReplicas, WriteTemplate


def heal(goal: Goal, seen: Observed) -> Plan | None:
    """Replace pods that cannot start, once the template in force is another one: nothing else ever would."""
    if seen.workload is None:
        return Plan(SetReplicas(replicas_needed(goal, seen), "the StatefulSet is gone"))
    if seen.workload.deleting:
        return Plan(waiting="the StatefulSet is being deleted")
    if seen.membership is None and seen.workload.replicas < pods_known(seen):
        return Plan(SetReplicas(pods_known(seen), "pods of members were taken away"))
    in_force = seen.workload.template_hash
    for pod in seen.pods:
        if not _is_stuck(pod, goal, seen):
            continue
        if in_force != goal.template_hash and goal.may_mend:
            return Plan(WriteTemplate(goal.restart_why))
        if pod.template != in_force:
            why = pod.trouble or f"not ready for {pod.unready_s:.0f} s"
            return Plan(RestartPod(pod.name, pod.uid, f"it could not start: {why}"))
    return None


def _is_stuck(pod: PodSeen, goal: Goal, seen: Observed) -> bool:
    """Return whether a pod cannot start and may be deleted.

    One whose container does not run serves nobody. One that ends again and again runs for a moment at times: then the
    others must be able to do without it. One that is not ready for long, and nobody says why, counts when it is
    outdated: a volume, or a container beside the broker, may be what the new template mends.
    """
    is_late = pod.template != goal.template_hash and pod.unready_s >= limits.STUCK_S
    if pod.terminating or pod.ready or not (pod.trouble or is_late):
        return False
    if not pod.running:
        return True
    if seen.membership is None:
        return False
    verdicts = [seen.verdicts.get(member.id) for member in seen.membership.named(pod.name)]
    return all(verdict is not None and verdict.allowed for verdict in verdicts)


def pods_known(seen: Observed) -> int:
    """Return how many pods the members have that an earlier look knew."""
    ordinals = [seen.names.ordinal(each.name) for each in seen.recorded.values()]
    return max((ordinal + 1 for ordinal in ordinals if ordinal is not None), default=0)


def replicas_needed(goal: Goal, seen: Observed) -> int:
    """Return how many pods the members need: as many as there are, or were when that was last known."""
    if seen.membership is not None:
        names = [member.name for member in seen.membership.members]
    else:
        names = [
            *(each.name for each in seen.recorded.values()), *(pod.name for pod in seen.pods),
            *(claim.removeprefix("data-") for claim in seen.claims),  # any disk may be needed for a quorum
        ]  # fmt: skip
    ordinals = [ordinal for name in names if (ordinal := seen.names.ordinal(name)) is not None]
    return max(goal.replicas, *(ordinal + 1 for ordinal in ordinals), 1)
