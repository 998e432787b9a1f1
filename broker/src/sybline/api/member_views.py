"""Membership as sybline.v1.Admin shows it. Pure: what replication knows in, messages out."""

import math
from collections.abc import Iterable
from typing import Final

from sybline import limits
from sybline.replication.configuration import Configuration, MemberInfo
from sybline.replication.log import Membership
from sybline.replication.stop_verdict import (
    StopReason,
    Verdict,
    is_caught_up,
    is_healthy,
)
from sybline.v1 import admin_pb2 as admin

RAFT_ROLES: Final = {
    "follower": admin.RAFT_ROLE_FOLLOWER,
    "candidate": admin.RAFT_ROLE_CANDIDATE,
    "leader": admin.RAFT_ROLE_LEADER,
}
_STOP_REASONS: Final = {
    reason: getattr(admin, f"STOP_REASON_{reason.name}") for reason in StopReason
}


def show_member(member: MemberInfo) -> admin.Member:
    """Return a member as the configuration has it."""
    return admin.Member(
        id=member.id,
        name=member.name,
        address=member.address,
        role=admin.MEMBER_ROLE_VOTER if member.voter else admin.MEMBER_ROLE_LEARNER,
    )


def show_configuration(configuration: Configuration) -> admin.Configuration:
    """Return a configuration."""
    return admin.Configuration(
        version=configuration.version,
        cluster_uid=configuration.cluster_uid,
        members=map(show_member, configuration.members),
    )


def show_membership(view: Membership, heard_s: float, *, is_confirmed: bool) -> admin.Membership:
    """Return a view; what only a leader knows is left out of another member's."""
    return admin.Membership(
        configuration=show_configuration(view.configuration),
        committed=view.committed,
        confirmed=is_confirmed,
        observer=view.member,
        leader=view.leader or 0,
        term=view.term,
        age_ms=_ms(view.view_age_s),
        members=_show_views(view, heard_s),
    )


def _show_views(view: Membership, heard_s: float) -> Iterable[admin.MemberView]:
    is_leaders = view.member == view.leader
    for each in view.members:
        shown = admin.MemberView(
            member=show_member(each.info), leads=each.info.id == view.leader,
            connected=each.connected,
        )  # fmt: skip
        if is_leaders:
            shown.match_index = each.match_index
            shown.lag_entries = each.lag_entries
            shown.healthy = is_healthy(each, view, heard_s)
            shown.caught_up = is_caught_up(each, view)
            if math.isfinite(each.heard_age_s):
                shown.heard_age_ms = _ms(each.heard_age_s)
        yield shown


def show_verdict(
    verdict: Verdict, view: Membership, heard_s: float, *, is_confirmed: bool
) -> admin.MayStopResponse:
    """Return a verdict with its evidence."""
    facts = verdict.evidence
    return admin.MayStopResponse(
        allowed=verdict.allowed,
        reason=_STOP_REASONS[verdict.reason],
        text=verdict.text,
        evidence=admin.StopEvidence(
            voters=facts.voters,
            quorum=facts.quorum,
            fit_without_it=facts.fit_without_it,
            hand_over_to=facts.hand_over_to or 0,
            heard_age_ms_max=_ms(heard_s),
            lag_entries_max=limits.CAUGHT_UP_LAG_ENTRIES_MAX,
            membership=show_membership(view, heard_s, is_confirmed=is_confirmed),
        ),
    )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000)) if math.isfinite(seconds) else 0
