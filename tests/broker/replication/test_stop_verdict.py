"""Who may be stopped: every case of the verdict, and that a yes always leaves a quorum of fit voters."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sybline import limits
from sybline.replication.configuration import Configuration, MemberInfo
from sybline.replication.log import Membership, MemberView
from sybline.replication.stop_verdict import StopReason, Verdict, may_stop

HEARD_S = 1.0
LAG = limits.CAUGHT_UP_LAG_ENTRIES_MAX
LAST = 10_000


@dataclass(frozen=True)
class Seen:
    """A member as a leader may see it."""

    id: int
    voter: bool = True
    heard_age_s: float = 0.1
    lag: int = 0
    connected: bool = True

    def view(self) -> MemberView:
        info = MemberInfo(self.id, f"m{self.id}", f"host-{self.id}:1111", self.voter)
        return MemberView(info, LAST - self.lag, self.lag, self.heard_age_s, self.connected)


def down(member: int, *, voter: bool = True) -> Seen:
    return Seen(member, voter, heard_age_s=30.0, connected=False)


def lagging(member: int, *, voter: bool = True) -> Seen:
    return Seen(member, voter, lag=LAG + 1)


def learner(member: int) -> Seen:
    return Seen(member, voter=False)


def seen_by_leader(leader: int | None, *members: Seen, committed: bool = True) -> Membership:
    views = tuple(member.view() for member in members)
    configuration = Configuration(7, 1, tuple(view.info for view in views))
    return Membership(
        configuration=configuration,
        committed=committed,
        leader=leader,
        term=3,
        member=leader or 1,
        removed=False,
        view_age_s=0.0,
        members=views,
    )


def judge(member: int, view: Membership, *, is_confirmed: bool = True) -> Verdict:
    return may_stop(member, view, is_confirmed=is_confirmed, heard_s=HEARD_S)


THREE = (Seen(1), Seen(2), Seen(3))
FIVE = (*THREE, Seen(4), Seen(5))
YES = StopReason.ALLOWED

CASES = {
    "a healthy follower of three": (2, THREE, YES),
    "the leader": (1, THREE, StopReason.LEADS),
    "a follower while the other one is down": (2, (Seen(1), Seen(2), down(3)), StopReason.TOO_FEW_HEALTHY),
    "a follower while the other one lags": (2, (Seen(1), Seen(2), lagging(3)), StopReason.TOO_FEW_HEALTHY),
    "a follower that was never heard of": (
        2, (Seen(1), Seen(2, heard_age_s=math.inf, connected=False), Seen(3)), YES,
    ),
    "a voter that is down already": (3, (Seen(1), Seen(2), down(3)), YES),
    "a voter that lags": (3, (Seen(1), Seen(2), lagging(3)), YES),
    "a voter that is down while another one lags": (
        3, (Seen(1), lagging(2), down(3)), StopReason.TOO_FEW_HEALTHY,
    ),
    "the leader while one of two others is down": (1, (Seen(1), Seen(2), down(3)), StopReason.TOO_FEW_HEALTHY),
    "one of five": (2, FIVE, YES),
    "one of five while another one is down": (2, (*FIVE[:4], down(5)), YES),
    "one of five while two others are down": (2, (*FIVE[:3], down(4), down(5)), StopReason.TOO_FEW_HEALTHY),
    "the second of two that are down, of five": (5, (*FIVE[:3], down(4), down(5)), YES),
    "one of four": (2, FIVE[:4], YES),
    "one of four while another one is down": (2, (*THREE, down(4)), StopReason.TOO_FEW_HEALTHY),
    "the one that is down, of four": (4, (*THREE, down(4)), YES),
    "a follower of two": (2, THREE[:2], StopReason.TOO_FEW_HEALTHY),
    "the leader of two": (1, THREE[:2], StopReason.TOO_FEW_HEALTHY),
    "the only voter": (1, THREE[:1], StopReason.ONLY_VOTER),
    "the only voter beside a learner": (1, (Seen(1), learner(2)), StopReason.ONLY_VOTER),
    "the learner of a single voter": (2, (Seen(1), learner(2)), YES),
    "a learner": (4, (*THREE, learner(4)), YES),
    "a learner that is down": (4, (*THREE, down(4, voter=False)), YES),
    "a learner while one voter is down": (4, (Seen(1), Seen(2), down(3), learner(4)), YES),
    "a learner while the voters are no healthy quorum": (
        4, (Seen(1), lagging(2), down(3), learner(4)), StopReason.TOO_FEW_HEALTHY,
    ),
    "a voter whose place only a learner could take": (
        2, (Seen(1), Seen(2), down(3), learner(4)), StopReason.TOO_FEW_HEALTHY,
    ),
    "a voter while a learner lags": (2, (*THREE, lagging(4, voter=False)), YES),
    "nobody": (9, THREE, StopReason.UNKNOWN_MEMBER),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_case_has_its_verdict(name: str) -> None:
    member, members, reason = CASES[name]
    verdict = judge(member, seen_by_leader(1, *members))
    assert verdict.reason is reason, verdict.text
    assert verdict.allowed == (reason is YES)
    assert verdict.text
    assert "\n" not in verdict.text


@pytest.mark.parametrize("at_bound", [Seen(3, heard_age_s=1.0), Seen(3, lag=LAG)])
def test_who_is_exactly_at_a_bound_is_fit(at_bound: Seen) -> None:
    assert judge(2, seen_by_leader(1, Seen(1), Seen(2), at_bound)).allowed


@pytest.mark.parametrize("beyond", [Seen(3, heard_age_s=1.001), Seen(3, lag=LAG + 1)])
def test_who_is_beyond_a_bound_is_not_fit(beyond: Seen) -> None:
    assert not judge(2, seen_by_leader(1, Seen(1), Seen(2), beyond)).allowed


def test_what_was_heard_ages_with_the_view() -> None:
    members = (Seen(1), Seen(2), Seen(3, heard_age_s=0.7))
    view = seen_by_leader(1, *members)
    assert judge(2, view).allowed
    assert judge(2, structs.replace(view, view_age_s=0.4)).reason is StopReason.TOO_FEW_HEALTHY


def test_an_old_view_refuses_whatever_it_shows() -> None:
    view = structs.replace(seen_by_leader(1, *THREE), view_age_s=1.1)
    assert judge(2, view).reason is StopReason.VIEW_STALE


def test_an_unconfirmed_view_refuses_whatever_it_shows() -> None:
    assert judge(2, seen_by_leader(1, *THREE), is_confirmed=False).reason is (
        StopReason.VIEW_UNCONFIRMED
    )
    assert judge(2, seen_by_leader(None, *THREE)).reason is StopReason.VIEW_UNCONFIRMED


def test_a_view_without_all_members_refuses() -> None:
    view = seen_by_leader(1, *FIVE)
    view = structs.replace(view, members=view.members[:-1])
    assert judge(2, view).reason is StopReason.VIEW_INCOMPLETE


def test_a_pending_change_refuses() -> None:
    view = seen_by_leader(1, *THREE, committed=False)
    assert judge(2, view).reason is StopReason.CHANGE_PENDING


def test_the_leader_is_told_to_hand_over_to_the_fit_voter_with_most_of_the_log() -> None:
    members = (Seen(1), Seen(2, lag=5), Seen(3, lag=2), down(4), learner(5))
    view = seen_by_leader(1, *members)
    verdict = judge(1, view)
    assert verdict.evidence.hand_over_to is None, "two of four are no quorum"
    verdict = judge(1, seen_by_leader(1, *members[:3], learner(5)))
    assert verdict.reason is StopReason.LEADS
    assert verdict.evidence.hand_over_to == 3
    assert "to member 3" in verdict.text


def test_a_leader_that_is_no_voter_any_more_does_not_count() -> None:
    view = seen_by_leader(9, Seen(1), Seen(2), Seen(3))
    assert judge(2, view).allowed
    assert judge(2, seen_by_leader(9, Seen(1), Seen(2), down(3))).reason is (
        StopReason.TOO_FEW_HEALTHY
    )


def test_the_evidence_counts_what_the_verdict_counted() -> None:
    evidence = judge(2, seen_by_leader(1, *FIVE[:4], down(5), learner(6))).evidence
    assert (evidence.voters, evidence.quorum) == (5, 3)
    assert evidence.fit_without_it == (1, 3, 4)
    assert evidence.hand_over_to is None


seen = st.builds(
    Seen,
    id=st.integers(1, 9),
    voter=st.booleans(),
    heard_age_s=st.sampled_from((0.0, 0.9, 1.0, 1.1, 60.0, math.inf)),
    lag=st.sampled_from((0, 1, LAG, LAG + 1, 9_000)),
    connected=st.booleans(),
)


def fit_voters(members: Iterable[Seen], leader: int) -> set[int]:
    """Count again, in other words than the product's."""
    return {
        each.id
        for each in members
        if each.voter and (each.id == leader or (each.heard_age_s <= 1.0 and each.lag <= LAG))
    }


@given(
    members=st.lists(seen, min_size=1, max_size=9, unique_by=lambda each: each.id),
    leader=st.integers(1, 9),
    asked=st.integers(1, 9),
    committed=st.booleans(),
    is_confirmed=st.booleans(),
    view_age_s=st.sampled_from((0.0, 5.0)),
)
def test_a_yes_leaves_a_quorum_of_fit_voters_and_a_leader(
    members: list[Seen],
    leader: int,
    asked: int,
    committed: bool,
    is_confirmed: bool,
    view_age_s: float,
) -> None:
    view = structs.replace(
        seen_by_leader(leader, *members, committed=committed), view_age_s=view_age_s
    )
    verdict = judge(asked, view, is_confirmed=is_confirmed)
    voters = [each for each in members if each.voter]
    left = fit_voters(members, leader) - {asked}
    has_quorum = 2 * len(left) > len(voters)
    is_certain = committed and is_confirmed and not view_age_s
    is_member = asked in {each.id for each in members}
    if verdict.allowed:
        assert has_quorum
        assert is_certain
        assert is_member
        assert asked != leader
    elif has_quorum and is_certain and is_member:
        assert asked == leader, "nothing else stands against it"
