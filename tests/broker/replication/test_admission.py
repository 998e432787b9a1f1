"""Who talks to whom: another cluster, a lost disk and a removed member are kept away, nobody else."""

from dataclasses import replace

import pytest

from sybline.replication.admission import Doubt, Standing, View, judge
from sybline.replication.configuration import (
    NO_MEMBERS,
    AddLearner,
    Configuration,
    Remove,
    changed,
    static_configuration,
    with_cluster_uid,
)

FORMED = with_cluster_uid(static_configuration((1, 2, 3)), 77)  # version 1
OWN = Standing(1, cluster_uid=77, version=1)


def view(
    configuration: Configuration = FORMED,
    *,
    own: Standing = OWN,
    committed: Configuration | None = None,
    leaving: frozenset[int] = frozenset(),
    is_proven: bool = True,
) -> View:
    """Return the view of a member; `committed`: the configuration known to stay, unless it is the one in force."""
    stays = configuration if committed is None else committed
    known = {*stays.ids, *configuration.ids, *leaving}
    return View(own, configuration, stays.version, known, is_proven)


def doubt(seen: View, peer: Standing) -> Doubt | None:
    refusal = judge(seen, peer)
    return None if refusal is None else refusal.doubt


@pytest.mark.parametrize("uid", [0, 77])
def test_members_of_one_cluster_talk_whether_they_know_its_number_yet_or_not(uid: int) -> None:
    assert doubt(view(), Standing(2, cluster_uid=uid, version=1)) is None


def test_another_cluster_is_refused_whoever_it_claims_to_be() -> None:
    assert doubt(view(), Standing(2, cluster_uid=78, version=9)) is Doubt.ANOTHER_CLUSTER


def test_a_voter_whose_disk_is_empty_has_lost_it_once_the_cluster_has_formed() -> None:
    blank, unformed = Standing(2, is_blank=True), static_configuration((1, 2, 3))
    assert doubt(view(), blank) is Doubt.LOST_DISK
    not_sure = view(own=Standing(1), committed=unformed)
    assert doubt(not_sure, blank) is Doubt.LOST_DISK, "formed is formed, committed here or not"
    assert doubt(view(unformed, own=Standing(1)), blank) is None


def test_an_empty_disk_is_welcome_as_a_learner_only() -> None:
    grown = changed(FORMED, AddLearner(70_000, "", "h:1"))
    shrunk = changed(FORMED, Remove(3))
    assert doubt(view(grown), Standing(70_000, is_blank=True)) is None
    assert doubt(view(), Standing(70_000, is_blank=True)) is Doubt.REMOVED
    for seen in (
        view(shrunk),
        view(shrunk, leaving=frozenset({3})),
        view(shrunk, committed=FORMED),
    ):
        assert doubt(seen, Standing(3, is_blank=True)) is Doubt.REMOVED


def test_a_removed_member_is_told_unless_this_leader_still_feeds_it_or_it_may_know_more() -> None:
    shrunk = changed(FORMED, Remove(3))  # version 2
    gone = Standing(3, cluster_uid=77, version=1)
    assert doubt(view(shrunk), gone) is Doubt.REMOVED
    assert doubt(view(shrunk), replace(gone, version=3)) is None
    assert doubt(view(shrunk, leaving=frozenset({3})), gone) is None


def test_nobody_is_refused_for_the_sake_of_a_change_that_may_be_cut_off() -> None:
    shrunk = changed(FORMED, Remove(3))
    assert doubt(view(shrunk, committed=FORMED), Standing(3, cluster_uid=77, version=1)) is None


def test_who_joined_while_this_member_was_away_is_let_in() -> None:
    assert doubt(view(), Standing(70_000, cluster_uid=77, version=5)) is None


def test_a_joiner_talks_to_whoever_comes() -> None:
    joiner = view(NO_MEMBERS, own=Standing(70_000, is_blank=True))
    assert doubt(joiner, Standing(1, cluster_uid=77, version=5)) is None


def test_without_a_secret_only_known_members_are_talked_to() -> None:
    open_door = view(is_proven=False)
    assert doubt(open_door, Standing(2, cluster_uid=77)) is None
    assert doubt(open_door, Standing(9, cluster_uid=77, version=9)) is Doubt.OTHER
    joiner = view(NO_MEMBERS, own=Standing(9), is_proven=False)
    assert doubt(joiner, Standing(1)) is None
