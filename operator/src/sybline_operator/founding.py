"""Founding a cluster: once, by its first pod, and never beside one that is on some disk already. Pure."""

from sybline_operator import limits, recovery
from sybline_operator.decision import Goal, Plan
from sybline_operator.mending import heal, replicas_needed
from sybline_operator.observation import Observed, Victim
from sybline_operator.steps import (
    PermitFounding,
    RecordFounding,
    RenewBlankDisk,
    SetReplicas,
    WithdrawFounding,
)


def next_founding(goal: Goal, seen: Observed) -> Plan | None:
    """Return what is to do until the cluster is founded and that is on record; None: it is."""
    if seen.founded_uid:
        # The permission may have outlived a crash of the operator.
        return Plan(RecordFounding(seen.founded_uid)) if seen.has_seed else None
    membership = seen.membership
    if membership is not None and membership.cluster_uid:
        return Plan(RecordFounding(membership.cluster_uid))
    if seen.claims:
        return _look_at_disks(goal, seen)
    if not seen.has_seed:
        return Plan(PermitFounding())
    if seen.workload is None:
        return Plan(SetReplicas(goal.replicas, "the cluster is new"))
    return Plan(waiting=f"{seen.names.pod(0)} founds the cluster")


def _look_at_disks(goal: Goal, seen: Observed) -> Plan | None:
    """Find out what is on disks of which no record says that they belong to a founded cluster.

    The record goes with the resource, or with its status; disks and messages stay. A permission to found while one of
    them is not looked at could make a second cluster beside the first.
    """
    uids = recovery.known_uids(seen)
    if len(uids) == 1:
        return Plan(RecordFounding(min(uids)))
    if uids or seen.workload is None:
        # Who starts now must not find a permission that was meant for empty disks.
        return Plan(WithdrawFounding()) if seen.has_seed else heal(goal, seen)
    needed = replicas_needed(goal, seen)
    if seen.workload.replicas < needed and not seen.workload.deleting:
        return Plan(SetReplicas(needed, "to look at every disk that is here"))
    first = seen.names.pod(0)
    unknown = [name for name in sorted(seen.claims) if not _is_blank(name, seen)]
    if seen.has_seed:
        if unknown or first not in seen.statuses:
            return heal(goal, seen) or Plan(waiting=f"{first} founds the cluster")
        return _renew_first(seen)
    if unknown:
        text = (
            f"whose disks {', '.join(unknown)} are is not known yet: a cluster is founded only once all are known "
            "to be empty; delete those that nobody needs"
        )
        return heal(goal, seen) or Plan(waiting=text)
    return Plan(PermitFounding())


def _is_blank(claim: str, seen: Observed) -> bool:
    """Return whether the member on a disk says that it has never been part of a cluster."""
    status = seen.statuses.get(claim.removeprefix("data-"))
    is_new = status is not None and not (status.cluster_uid or status.configuration_version)
    return is_new and not seen.claims[claim].deleting


def _renew_first(seen: Observed) -> Plan:
    """Give the first pod a new disk: its member waits to be added, and would not found the cluster on this one."""
    pod = seen.pod(0)
    claim = seen.claims.get(seen.names.claim(0))
    if pod is None or claim is None or pod.running_s < limits.FOUNDING_S:
        return Plan(waiting=f"{seen.names.pod(0)} founds the cluster")
    return Plan(RenewBlankDisk(Victim(pod.name, pod.uid, claim.name, claim.uid)))
