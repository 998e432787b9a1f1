"""How many pods of a cluster may be evicted: the members' verdict in the words of a PodDisruptionBudget. Pure.

Kubernetes counts ready pods, and knows nothing of voters. So the budget asks for as many ready pods as make a quorum of
voters beside all that are no slack: learners, and voters that are ready and lag.
"""

from sybline_operator.observation import MembershipSeen, Observed


def pods_needed(replicas: int, seen: Observed) -> int | None:
    """Return how many ready pods no eviction may go below; None: a member alone, whose drain nothing may block.

    Who is down needs no mention: Kubernetes sees that itself, and lets go of what is not ready while enough others are.
    """
    membership = seen.membership
    if membership is None:
        pods = max(replicas, len(seen.pods))
        return None if pods == 1 else pods
    if len(membership.members) == 1:
        return None
    if not membership.committed:
        return len(membership.members)
    slack = (len(membership.voters) - 1) // 2 - _ready_laggards(membership, seen)
    return len(membership.members) - max(0, slack)


def _ready_laggards(membership: MembershipSeen, seen: Observed) -> int:
    ready = {pod.name for pod in seen.pods if pod.ready}
    return sum(
        voter.name in ready and not (voter.healthy and voter.caught_up)
        for voter in membership.voters
    )
