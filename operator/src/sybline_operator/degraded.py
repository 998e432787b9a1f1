"""What keeps a cluster from being as good as it should be, each trouble with its reason and the member's name. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sybline_operator.observation import MemberSeen, Observed, PodSeen
from sybline_operator.reasons import Refusal


class Ailment(StrEnum):
    """Reasons of the condition Degraded that pass by themselves, as a rule."""

    ALL_FIT = "AllFit"
    PODS_MISSING = "PodsMissing"
    MEMBERS_UNFIT = "MembersUnfit"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong."""

    reason: Refusal | Ailment
    text: str


def troubles(seen: Observed, replicas: int) -> list[Trouble]:
    """Return all that is wrong, the worst first; none: the cluster is as the spec wants it."""
    return [
        *_publishes_refused(seen),
        *sorted(_pods(seen, replicas), key=lambda trouble: trouble.reason in Ailment),
        *_unfit(seen),
    ]


def _publishes_refused(seen: Observed) -> Iterator[Trouble]:
    """Yield why members take no publishes; consumers that go on make room."""
    said = {status.publishes_refused_because for status in seen.statuses.values()} - {""}
    for text in sorted(said):
        yield Trouble(Refusal.PUBLISHES_REFUSED, f"publishes are refused: {_with_name(text, seen)}")


def _with_name(text: str, seen: Observed) -> str:
    """Return a text that ends with a member's id with its name instead."""
    head, _, number = text.rpartition(" member ")
    members = seen.membership.members if seen.membership is not None else ()
    name = next((member.name for member in members if str(member.id) == number), "")
    return f"{head} {name}" if name else text


def _pods(seen: Observed, replicas: int) -> Iterator[Trouble]:
    for ordinal in range(replicas):
        pod = seen.pod(ordinal)
        if pod is None:
            text = f"{seen.names.pod(ordinal)} has no pod"
            if seen.workload is not None and seen.workload.replicas > ordinal:
                text += f"; if it gets none, the events of the StatefulSet {seen.names.stateful_set} say why"
            yield Trouble(Ailment.PODS_MISSING, text)
        elif not pod.ready:
            known = trouble_of(pod, seen) or Trouble(Ailment.PODS_MISSING, "not ready")
            yield Trouble(known.reason, f"{pod.name}: {known.text}")


def trouble_of(pod: PodSeen, seen: Observed) -> Trouble | None:
    """Return why a pod is not ready, and what to do where only the administrator can; None: nothing is known."""
    if pod.ready or not pod.trouble:
        return None
    claim = seen.names.claim_of(pod.name)
    if pod.is_lost:
        advice = f"if that node is lost for good, delete the claim {claim}, and the pod by force"
        return Trouble(Refusal.NODE_LOST, f"{pod.trouble}; {advice}")
    if not pod.node and "olume" in pod.trouble and "node affinity" in pod.trouble:
        where = seen.claims[claim].node if claim in seen.claims else ""
        advice = f"if {where or 'the node of its disk'} is lost for good, delete the claim {claim}"
        return Trouble(Refusal.DISK_UNREACHABLE, f"{pod.trouble}; {advice}")
    return Trouble(Refusal.POD_CANNOT_START, pod.trouble)


def _unfit(seen: Observed) -> Iterator[Trouble]:
    """Yield the voters that are no help although their pods are ready, of which nothing else speaks."""
    ready = {pod.name for pod in seen.pods if pod.ready}
    for member in seen.membership.voters if seen.membership is not None else ():
        text = _weakness(member)
        if text and member.name in ready:
            yield Trouble(Ailment.MEMBERS_UNFIT, f"{member.name} {text}")


def _weakness(member: MemberSeen) -> str:
    if not member.healthy:
        return "is not heard"
    return "" if member.caught_up else "lags"
