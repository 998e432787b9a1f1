"""Whether a member may be stopped now: one pure rule, for every disruption somebody plans.

A wrong "no" costs minutes, a wrong "yes" may cost the service. So whatever is missing, old or unconfirmed refuses, and
an allowed stop leaves a quorum of voters that are healthy and caught up, whoever is stopped.
"""

from dataclasses import dataclass
from enum import Enum

from sybline import limits
from sybline.replication import rules
from sybline.replication.log import Membership, MemberView


class StopReason(Enum):
    """Why a member may be stopped, or not."""

    ALLOWED = "allowed"
    VIEW_UNCONFIRMED = "view unconfirmed"
    VIEW_STALE = "view stale"
    VIEW_INCOMPLETE = "view incomplete"
    UNKNOWN_MEMBER = "unknown member"
    CHANGE_PENDING = "change pending"
    ONLY_VOTER = "only voter"
    LEADS = "leads"
    TOO_FEW_HEALTHY = "too few healthy"


@dataclass(frozen=True, slots=True)
class StopEvidence:
    """What a verdict was made from, beside the view itself."""

    voters: int
    quorum: int  # of all voters
    fit_without_it: tuple[int, ...]  # voters
    hand_over_to: int | None  # one of them, if the member leads and can go; None: nobody


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, in one sentence for people and in parts for programs."""

    reason: StopReason
    text: str
    evidence: StopEvidence

    @property
    def allowed(self) -> bool:
        """Return whether the member may be stopped."""
        return self.reason is StopReason.ALLOWED


def is_healthy(member: MemberView, view: Membership, heard_s: float) -> bool:
    """Return whether the leader heard the member within `heard_s` seconds; who leads is healthy."""
    return member.info.id == view.leader or member.heard_age_s + view.view_age_s <= heard_s


def is_caught_up(member: MemberView, view: Membership) -> bool:
    """Return whether the member lacks little of the leader's log."""
    is_leader = member.info.id == view.leader
    return is_leader or member.lag_entries <= limits.CAUGHT_UP_LAG_ENTRIES_MAX


def may_stop(member: int, view: Membership, *, is_confirmed: bool, heard_s: float) -> Verdict:
    """Judge the stop of one member, for a while or for good.

    `is_confirmed`: the view is a leader's, and a quorum said after the question that it leads. `heard_s`: one election
    time-out; who was not heard for longer is not healthy, and a view that is older is not used.
    """
    facts = _gather(member, view, heard_s)
    reason, text = _judge(member, view, is_confirmed=is_confirmed, heard_s=heard_s, facts=facts)
    return Verdict(reason, text, facts)


def _gather(member: int, view: Membership, heard_s: float) -> StopEvidence:
    voters = [each for each in view.members if each.info.voter]
    fit = [
        each
        for each in voters
        if each.info.id != member and is_healthy(each, view, heard_s) and is_caught_up(each, view)
    ]
    quorum = rules.quorum(len(voters))
    can_hand_over = view.leader == member and len(fit) >= quorum
    return StopEvidence(
        voters=len(voters),
        quorum=quorum,
        fit_without_it=tuple(each.info.id for each in fit),
        hand_over_to=max(fit, key=lambda e: e.match_index).info.id if can_hand_over else None,
    )


def _judge(
    member: int,
    view: Membership,
    *,
    is_confirmed: bool,
    heard_s: float,
    facts: StopEvidence,
) -> tuple[StopReason, str]:
    """Return the first thing that stands against it, the doubtful view before what it shows."""
    if not is_confirmed or view.leader is None:
        return StopReason.VIEW_UNCONFIRMED, "no leader confirmed by a quorum answered"
    if view.view_age_s > heard_s:
        text = f"the view is {view.view_age_s:.1f} s old, more than {heard_s:g} s"
        return StopReason.VIEW_STALE, text
    if [each.info for each in view.members] != list(view.configuration.members):
        return StopReason.VIEW_INCOMPLETE, "the view does not cover every member"
    asked = view.configuration.get(member)
    if asked is None:
        return StopReason.UNKNOWN_MEMBER, f"member {member} is not in the configuration"
    if not view.committed:
        return StopReason.CHANGE_PENDING, "a membership change is not committed yet"
    if asked.voter and facts.voters == 1:
        return StopReason.ONLY_VOTER, f"member {member} is the only voter: nobody else can serve"
    fit = len(facts.fit_without_it)
    counts = (
        f"{fit} of {facts.voters} voters are healthy and caught up without member {member}, "
        f"the quorum is {facts.quorum}"
    )
    if fit < facts.quorum:
        return StopReason.TOO_FEW_HEALTHY, f"only {counts}"
    if view.leader == member:
        text = f"member {member} leads: hand over first, to member {facts.hand_over_to}"
        return StopReason.LEADS, text
    return StopReason.ALLOWED, counts
