"""A lost quorum: how bad it is, what the disks that answer hold, and the guarded way on with one of them. Pure.

Nothing here begins by itself: an administrator asks, in the words of the request, which fit one state of one disk.
Then the others are fenced (their pods and claims go, and nothing goes on before they are gone), only then the
survivor gets its order, and at its next start it goes on alone. How far that has come is in the record, which lives in
a ConfigMap, and in what is there; so every step may be repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from sybline_operator import limits
from sybline_operator.json_object import Json
from sybline_operator.observation import (
    ConfiguredSeen,
    MemberStatusSeen,
    Observed,
    PodSeen,
    RecoveryRecord,
    Victim,
)
from sybline_operator.reasons import Refusal
from sybline_operator.steps import (
    BeginRecovery,
    CancelRecovery,
    FenceMember,
    FinishRecovery,
    OrderRecovery,
    RestartPod,
)

RecoveryStep: TypeAlias = (
    BeginRecovery | FenceMember | OrderRecovery | RestartPod | CancelRecovery | FinishRecovery
)
COMPLETED = "Completed"


@dataclass(frozen=True, slots=True)
class Survivor:
    """A member whose disk answers, in its own words."""

    pod: str
    status: MemberStatusSeen

    @property
    def position(self) -> tuple[int, int]:
        """Return what decides which of two logs has more of what was committed."""
        return self.status.last_log_term, self.status.last_index


@dataclass(frozen=True, slots=True)
class Loss:
    """A founded cluster without a leader that a quorum confirms."""

    survivors: tuple[Survivor, ...]  # the one with most first
    voters: tuple[ConfiguredSeen, ...]  # in the newest configuration of the first
    missing: tuple[str, ...]
    is_offered: bool  # to go on with the first: no majority can be expected to come back
    text: str

    @property
    def request(self) -> str:
        """Return what the annotation has to say; "": there is nothing to ask for."""
        if not self.is_offered:
            return ""
        first = self.survivors[0]
        status = first.status
        return (
            f"{first.pod}/{status.configuration_version}/{status.cluster_uid}/"
            f"{status.last_log_term}-{status.last_index}"
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step of a recovery that was begun, or what it waits for."""

    step: RecoveryStep | None = None
    waiting: str = ""
    refusal: Refusal | None = None


# --- how bad it is ---
def assess(seen: Observed) -> Loss | None:
    """Return what is lost; None: nothing is, or the cluster is not founded yet."""
    if seen.membership is not None or not (seen.founded_uid or known_uids(seen)):
        return None
    survivors = _survivors(seen)
    if not survivors:
        return Loss((), (), (), is_offered=False, text=_nobody(seen))
    voters = tuple(member for member in survivors[0].status.configured if member.voter)
    ids = {survivor.status.id for survivor in survivors}
    absent = tuple(member for member in voters if member.id not in ids)
    prospect = _prospect(survivors, len(voters), absent, seen)
    is_offered = not prospect and seen.recovery.without_quorum_s >= limits.RECOVERY_OFFERED_AFTER_S
    if is_offered:
        prospect = f"to go on with {survivors[0].pod} alone, see status.recovery"
    parts = (_count(len(voters), absent, seen), prospect)
    return Loss(
        survivors,
        voters,
        tuple(member.name for member in absent),
        is_offered,
        "; ".join(part for part in parts if part),
    )


def _count(voters: int, absent: tuple[ConfiguredSeen, ...], seen: Observed) -> str:
    """Return how many of how many voters answer, how many are needed, and where the others are."""
    here = voters - len(absent)
    text = (
        f"no leader that a quorum confirms: {here} of {voters} voters "
        f"{'answers' if here == 1 else 'answer'}, {_quorum(voters)} are needed"
    )
    if absent:
        text += "; missing: " + ", ".join(f"{m.name} ({_whereabouts(m, seen)})" for m in absent)
    return text


def _prospect(
    survivors: tuple[Survivor, ...], voters: int, absent: tuple[ConfiguredSeen, ...], seen: Observed
) -> str:
    """Return why there may be a quorum soon, or is one; "": none is to be expected."""
    serving = next((each.pod for each in survivors if each.status.ready), "")
    if serving:
        return (
            f"but {serving} serves, so there is a leader, and the operator could not log in: wait, or see the Secret "
            f"{seen.names.admin_secret}"
        )
    here = voters - len(absent)
    if here >= _quorum(voters):
        return "enough to elect a leader: wait"
    coming = sum(_may_come_back_soon(member, seen) for member in absent)
    if here + coming >= _quorum(voters):
        return "enough to elect a leader are starting: wait"
    return ""


def _quorum(voters: int) -> int:
    return voters // 2 + 1


def known_uids(seen: Observed) -> set[int]:
    """Return the clusters that the disks which answer belong to."""
    return {status.cluster_uid for status in seen.statuses.values()} - {0}


def _survivors(seen: Observed) -> tuple[Survivor, ...]:
    """Return the members of this cluster that answer, the one with most first."""
    uids = known_uids(seen)
    if seen.founded_uid in uids:
        uids = {seen.founded_uid}
    if len(uids) != 1:
        return ()  # whose cluster this is nobody can tell
    found = [
        Survivor(pod, status)
        for pod, status in seen.statuses.items()
        if status.cluster_uid in uids
        and not status.removed
        and status.id in {member.id for member in status.configured}
    ]
    return tuple(sorted(found, key=lambda each: (each.position, each.pod), reverse=True))


def _nobody(seen: Observed) -> str:
    if len(known_uids(seen)) > 1:
        return "members of different clusters answer: each says another number; do nothing before you know why"
    return "no member that has a disk of this cluster answers"


def _pod_of(member: ConfiguredSeen, seen: Observed) -> PodSeen | None:
    return next((pod for pod in seen.pods if pod.name == member.name), None)


def _whereabouts(member: ConfiguredSeen, seen: Observed) -> str:
    pod = _pod_of(member, seen)
    if pod is None:
        return "it has no pod"
    if pod.name in seen.statuses:
        return "its pod has another disk"
    if pod.is_lost:
        return f"its node {pod.node} does not answer"
    if pod.terminating:
        return "its pod is ending"
    if pod.running:
        return "it runs and does not answer"
    return "its pod cannot start" if pod.trouble else "its pod starts"


def _may_come_back_soon(member: ConfiguredSeen, seen: Observed) -> bool:
    pod = _pod_of(member, seen)
    if pod is None or pod.name in seen.statuses:
        return False
    return pod.unready_s < limits.RECOVERY_OFFERED_AFTER_S


# --- what is done ---
def next_step(requested: str, seen: Observed) -> Decision | None:
    """Return how a recovery goes on, or begins as requested; None: there is none, or its pods have to start first."""
    if seen.recovery.is_unreadable:
        return None
    if seen.recovery.record is not None:
        return _go_on(seen.recovery.record, seen)
    if not requested:
        return None
    loss = assess(seen)
    if loss is None or requested != loss.request:
        return None
    return Decision(BeginRecovery(_record(loss, seen)))


def why_refused(requested: str, seen: Observed) -> str:
    """Return what is wrong with a request that is not carried out; "": nothing, or there is none."""
    if seen.recovery.is_unreadable:
        return f"the ConfigMap {seen.names.recovery_config_map} is not what the operator wrote: delete it"
    if not requested or seen.recovery.record is not None or requested == seen.recovery.completed:
        return ""
    loss = assess(seen)
    if loss is None:
        why = (
            "a leader that a quorum confirms serves"
            if seen.membership
            else "nothing is founded yet"
        )
        return f"asked for {requested!r}, but {why}: remove the annotation"
    if not loss.is_offered:
        return f"asked for {requested!r}, but nothing is to be recovered yet: {loss.text}"
    return (
        ""
        if requested == loss.request
        else f"asked for {requested!r}, which is not the request of now, {loss.request!r}"
    )


def _record(loss: Loss, seen: Observed) -> RecoveryRecord:
    survivor = loss.survivors[0]
    status = survivor.status
    pod = next(pod for pod in seen.pods if pod.name == survivor.pod)
    return RecoveryRecord(
        request=loss.request, pod=pod.name, pod_uid=pod.uid, member=status.id,
        configuration_version=status.configuration_version, cluster_uid=status.cluster_uid,
        last_term=status.last_log_term, last_index=status.last_index,
        fence=tuple(_victims(survivor, seen)),
    )  # fmt: skip


def _victims(survivor: Survivor, seen: Observed) -> Iterator[Victim]:
    """Yield everybody else who has a pod or was a member, with the pod and the disk of now and no later one."""
    pods = {pod.name: pod.uid for pod in seen.pods}
    configured = {member.name for member in survivor.status.configured}
    for name in sorted((pods.keys() | configured) - {survivor.pod}):
        claim = seen.claims.get(seen.names.claim_of(name))
        if name in pods or claim is not None:
            yield Victim(
                name, pods.get(name, ""), seen.names.claim_of(name), claim.uid if claim else ""
            )


def _go_on(record: RecoveryRecord, seen: Observed) -> Decision | None:
    membership = seen.membership
    if membership is not None:
        if membership.cluster_uid == record.cluster_uid:
            return Decision(CancelRecovery("a quorum of the old cluster answers again"))
        if record.member in {voter.id for voter in membership.voters}:
            return Decision(FinishRecovery(membership.cluster_uid, record.request))
        return Decision(waiting="the leader that answers is of another cluster")
    if seen.workload is None:
        return None
    return _lead_alone(record, seen) if seen.recovery.is_ordered else _fence(record, seen)


def _fence(record: RecoveryRecord, seen: Observed) -> Decision:
    pods = {pod.uid: pod for pod in seen.pods}
    claims = {claim.uid: claim for claim in seen.claims.values()}
    left = [v for v in record.fence if v.pod_uid in pods or v.claim_uid in claims]
    for victim in left:
        pod, claim = pods.get(victim.pod_uid), claims.get(victim.claim_uid)
        if (pod and not pod.terminating) or (claim and not claim.deleting):
            return Decision(FenceMember(victim))
    for victim in left:
        pod = pods.get(victim.pod_uid)
        if pod is not None and pod.is_lost:
            text = (
                f"{pod.name} may still run on {pod.node}, which does not answer: make sure that the node is off "
                "for good, then give it the taint node.kubernetes.io/out-of-service or delete the pod by force"
            )
            return Decision(waiting=text, refusal=Refusal.NODE_LOST)
    if left:
        return Decision(waiting=f"{', '.join(v.pod for v in left)} and the disk are being deleted")
    return Decision(OrderRecovery(record))


def _lead_alone(record: RecoveryRecord, seen: Observed) -> Decision | None:
    pod = next((pod for pod in seen.pods if pod.name == record.pod), None)
    if pod is None or pod.terminating:
        return Decision(waiting=f"{record.pod} is restarted")
    if pod.uid == record.pod_uid:
        return Decision(RestartPod(pod.name, pod.uid, "it is to go on alone"))
    status = seen.statuses.get(pod.name)
    if status is None:
        return None
    if status.cluster_uid == record.cluster_uid:
        if not _is_as_recorded(status, record):
            return Decision(CancelRecovery(f"{pod.name} is no longer what was asked for"))
        if pod.running_s >= limits.RECOVERY_TAKEN_S:  # a kubelet may mount what it knew before
            return Decision(RestartPod(pod.name, pod.uid, "it started without its order"))
    return Decision(waiting=f"{pod.name} is to lead alone")


def _is_as_recorded(status: MemberStatusSeen, record: RecoveryRecord) -> bool:
    return (status.id, status.configuration_version, status.last_log_term, status.last_index) == (
        record.member, record.configuration_version, record.last_term, record.last_index,
    )  # fmt: skip


# --- what is told ---
def show(seen: Observed) -> Json | None:
    """Return status.recovery, with all its keys, for a merge patch keeps others; None: there is nothing to say."""
    record = seen.recovery.record
    if record is not None:
        phase = "Fenced, the survivor has its order" if seen.recovery.is_ordered else "Fencing"
        return _shown((), tuple(v.pod for v in record.fence), record.pod, record.request, phase)
    loss = assess(seen)
    if loss is not None and loss.is_offered:
        return _shown(loss.survivors, loss.missing, loss.survivors[0].pod, loss.request, "Offered")
    return show_completed(seen.recovery.completed) if seen.recovery.completed else None


def show_completed(request: str) -> Json:
    """Return status.recovery once a request has been carried out."""
    return _shown((), (), "", request, COMPLETED)


def _shown(
    survivors: tuple[Survivor, ...],
    missing: tuple[str, ...],
    advised: str,
    request: str,
    phase: str,
) -> Json:
    return {
        "survivors": [
            {
                "name": each.pod,
                "memberId": str(each.status.id),
                "lastTerm": each.status.last_log_term,
                "lastIndex": each.status.last_index,
                "commitIndex": each.status.commit_index,
            }
            for each in survivors
        ],
        "missing": list(missing),
        "advised": advised,
        "request": request,
        "phase": phase,
    }
