"""One row of the status for each member: what is known of it, of its pod and of its disk. Pure.

The rows are also the record of which disk is whose, so what is not known now is said as it was known last.
"""

from sybline_operator.degraded import trouble_of
from sybline_operator.json_object import Json
from sybline_operator.observation import MemberSeen, Observed, Recorded
from sybline_operator.restarts import settings_of


def member_rows(seen: Observed) -> list[Json]:
    """Return the rows: of the members in their order; without a leader, of those that were known last."""
    if seen.membership is not None:
        return [_member(seen, member) for member in seen.membership.members]
    unknown = [_unknown(seen, each.name, member, each) for member, each in seen.recorded.items()]
    named = {each.name for each in seen.recorded.values()}
    return unknown + [_unknown(seen, pod.name) for pod in seen.pods if pod.name not in named]


def _member(seen: Observed, member: MemberSeen) -> Json:
    verdict = seen.verdicts.get(member.id)
    lag_entries = 0 if member.caught_up else coarse(member.lag_entries)
    blocked_by = "NO_VERDICT" if verdict is None else ("" if verdict.allowed else verdict.reason)
    return {
        "name": member.name,
        "memberId": str(member.id),
        "role": "leader" if member.leads else ("voter" if member.voter else "learner"),
        "caughtUp": member.caught_up,
        **({} if lag_entries is None else {"lagEntries": lag_entries}),
        **_place(seen, member.id, member.name),
        "safeToStop": not blocked_by,
        "blockedBy": blocked_by,
    }


def coarse(lag_entries: int | None) -> int | None:
    """Return a lag down to a power of two: a status that followed each entry would be written at every look."""
    return lag_entries and 1 << (lag_entries.bit_length() - 1)


def _unknown(seen: Observed, name: str, member: int = 0, known: Recorded | None = None) -> Json:
    """Return the row of a member that nobody vouches for, or of a pod of which no more is known."""
    own = {"memberId": str(member)} if known is not None else {}
    return {"name": name, "role": "unknown", **own, **_place(seen, member, name)}


def _place(seen: Observed, member: int, name: str) -> Json:
    """Return where a member runs, with which program and on which disk."""
    pod = next((pod for pod in seen.pods if pod.name == name), None)
    status = seen.own_status(member, name)
    return {
        "version": status.version if status is not None else "",
        "node": pod.node if pod is not None else "",
        "claimUid": _claim_uid(seen, member, name),
        "settings": settings_of(status, seen.settings_file),
        "ready": pod is not None and pod.ready,
        "trouble": _trouble(seen, member, name),
    }


def _claim_uid(seen: Observed, member: int, name: str) -> str:
    """Return the uid of the claim that has the disk of a member: as recorded once the member itself had proved it.

    Of a member alone, whatever it has is its disk: there is nobody else to have it anew from.
    """
    known, claim = seen.recorded.get(member), seen.claims.get(seen.names.claim_of(name))
    is_alone = seen.membership is not None and len(seen.membership.members) == 1
    if known is not None and known.claim_uid and not is_alone:
        return known.claim_uid
    if claim is not None and seen.own_status(member, name) is not None:
        return claim.uid
    return known.claim_uid if known is not None else ""


def _trouble(seen: Observed, member: int, name: str) -> str:
    pod = next((pod for pod in seen.pods if pod.name == name), None)
    trouble = None if pod is None else trouble_of(pod, seen)
    texts = ["it has no pod"] if pod is None else ([trouble.text] if trouble else [])
    if seen.has_another_claim(member, name):
        texts.append("its claim was made anew, so this is another disk")
    elif member in seen.recorded and seen.names.claim_of(name) not in seen.claims:
        texts.append("its claim is gone")
    return "; ".join(texts)
