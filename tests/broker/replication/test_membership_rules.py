"""The rules of membership on nodes whose messages travel only when told to (thesis 4.1 to 4.4).

S17, S18, S19 and L12 are defects of the library that each of these rules replaces.
"""

import pytest

from sybline import limits
from sybline.errors import NoLeader
from sybline.replication.configuration import (
    AddLearner,
    ChangeReason,
    Promote,
    Remove,
    decode_configuration,
    static_configuration,
)
from sybline.replication.messages import Append, AppendReply, PreVote, RequestVote, TimeoutNow, Vote
from tests.simulation.tags import TAG
from tests.support.node_table import (
    JOINER,
    TIMING,
    Table,
    change,
    everybody,
    formed,
    reason,
    settle,
)


# --- forming ---
def test_who_begins_alone_has_a_number_from_the_first_moment() -> None:
    table = Table(1)
    assert table.journals[1].cluster_uid == 77
    table.nodes[1].tick()
    assert table.nodes[1].configuration == static_configuration((1,), 77)
    table.start(1)
    assert table.journals[1].cluster_uid == 77


def test_nothing_is_taken_before_the_cluster_has_formed() -> None:
    table = Table(1, 2, 3)
    leader = table.lead(1, 2)
    refused: list[bool] = []
    leader.propose(TAG.pack(1), refused.append)
    assert refused == [False], "the loss of a disk would not be noticed yet"
    for _ in range(3):
        table.beat(1, 2, 3)
    leader.propose(TAG.pack(1), refused.append)
    leader.tick()
    assert refused == [False]


def test_a_cluster_forms_once_every_first_member_has_something_on_disk() -> None:
    table = Table(1, 2, 3)
    leader = table.lead(1, 2)
    table.beat(1, 2)
    assert leader.configuration.cluster_uid == 0
    table.beat(1, 2, 3)
    table.beat(1, 2, 3)
    uids = {node.configuration.cluster_uid for node in table.nodes.values()}
    assert len(uids) == 1
    assert uids != {0}
    assert {journal.cluster_uid for journal in table.journals.values()} == uids
    assert table.start(2).configuration.version == 1
    assert table.journals[2].cluster_uid in uids


def test_a_number_that_was_not_committed_is_not_noted() -> None:
    table = Table(1, 2, 3)
    table.lead(1, 2, 3)
    table.lose()
    table.clock.jumped_s += TIMING.heartbeat_s
    leader = table.nodes[1]
    leader.tick()
    assert leader.configuration.cluster_uid
    assert table.journals[1].cluster_uid == 0
    table.lose()
    table.lead(2, 3)
    table.beat(2, 3, 1)
    table.beat(2, 3, 1)
    table.beat(2, 3, 1)
    uids = {journal.cluster_uid for journal in table.journals.values()}
    assert len(uids) == 1
    assert uids == {table.nodes[1].configuration.cluster_uid}


def test_a_first_member_with_an_empty_disk_takes_part_once_it_has_met_enough_others() -> None:
    table = Table(1, 2, 3)
    node = table.start(3, meets=False)
    asked = RequestVote(term=5, last=0, last_term=0, transfer=False)
    entries = Append(5, 0, 0, 0, 1, ())
    for peers in ((), (1,), (1, 1)):
        for peer in peers:
            node.peer_connected(peer)
        node.receive(1, asked)
        node.receive(1, entries)
        table.clock.jumped_s += 10.0
        node.tick()
        assert table.sent(3, Vote) == table.sent(3, AppendReply) == table.sent(3, PreVote) == []
    assert table.journals[3].is_blank
    node.peer_connected(2)
    node.receive(1, asked)
    assert table.sent(3, Vote) == [Vote(5, granted=True)]
    restarted = table.start(3, meets=False)  # no empty disk any more
    table.lose()
    restarted.receive(2, RequestVote(term=6, last=0, last_term=0, transfer=False))
    assert table.sent(3, Vote) == [Vote(6, granted=True)]


# --- one at a time (S17) ---
def test_s17_a_change_waits_for_the_one_before_and_for_the_first_entry_of_the_term() -> None:
    table = formed(1, 2, 3, 4, 5)
    leader = table.nodes[1]
    outcome = change(leader, Remove(5))
    assert leader.configuration.voters == {1, 2, 3, 4}, "it counts as soon as it is in the log"
    assert reason(lambda: change(leader, Remove(4))) is ChangeReason.PENDING
    table.exchange(1, 2)
    assert outcome == [], "2 of 4 are no majority"
    table.exchange(1, 3)
    assert outcome == [leader.configuration]
    change(leader, Remove(4))
    other = table.nodes[2]
    with pytest.raises(NoLeader):
        change(other, Remove(4))
    table.lose()
    other._follow(leader.term, None)
    other._campaign(table.clock.monotonic_s(), transfer=True)
    table.deliver(2, 3)
    table.deliver(3, 2)
    table.deliver(2, 4)
    table.deliver(4, 2)
    assert other.role == "leader"
    with pytest.raises(
        NoLeader
    ):  # its first entry is not committed: there may be changes it must count
        change(other, Remove(1))


def test_a_change_for_another_version_is_refused() -> None:
    table = formed(1, 2, 3)
    node = table.nodes[1]
    for version in (0, 2):
        call = lambda v=version: node.change_members(  # noqa: E731
            Remove(3), expected_version=v, done=lambda _: None
        )
        assert reason(call) is ChangeReason.VERSION


def test_while_leadership_is_handed_over_nothing_changes() -> None:
    table = formed(1, 2, 3)
    node = table.nodes[1]
    assert node.transfer_leadership(2)
    assert reason(lambda: change(node, Remove(3))) is ChangeReason.PENDING


# --- which configuration counts (S18, S19) ---
def test_s18_after_a_restart_the_log_says_who_votes_before_anything_is_applied() -> None:
    table = formed(1, 2, 3, 4, 5)
    for gone in (5, 4):
        change(table.nodes[1], Remove(gone))
        table.exchange(1, 2, 3)
    restarted = table.start(2)
    assert restarted.applied_index == 0
    assert restarted.configuration.voters == {1, 2, 3}
    table.lose()
    restarted._campaign(table.clock.monotonic_s(), transfer=True)
    assert {peer for _, peer in table.under_way} == {1, 3}
    table.deliver(2, 3)
    table.deliver(3, 2)
    assert restarted.role == "leader", "2 of 3"


def test_s18_an_uncommitted_change_counts_after_a_restart_too() -> None:
    table = formed(1, 2, 3)
    change(table.nodes[1], Remove(3))
    table.deliver(1, 2)
    assert table.start(2).configuration.voters == {1, 2}


def test_s19_a_checkpoint_has_the_configuration_of_its_entry_not_the_newest() -> None:
    table = Table(1, 2, 3, entries=5)
    leader = table.lead(1, 2, 3)
    table.beat(1, 2, 3)
    before = leader.configuration
    change(leader, Remove(3))
    assert leader.configuration != before
    assert not leader.is_configuration_committed
    leader._begin_checkpoint(leader.applied_index)
    journal = table.journals[1]
    assert journal.checkpoint_index == leader.applied_index
    assert decode_configuration(journal.checkpoint_configuration) == before
    restarted = table.start(1)
    assert restarted.configuration.voters == {1, 2}
    assert restarted.configuration_index > journal.checkpoint_index
    restarted._cut(restarted.configuration_index)
    assert restarted.configuration == before


def test_a_change_that_is_cut_off_never_was() -> None:
    table = formed(1, 2, 3, 4, 5)
    leader = table.nodes[1]
    before = leader.configuration
    outcome = change(leader, Remove(5))
    table.lose()
    table.lead(2, 3, 4)
    table.beat(2, *everybody(2))
    assert outcome == [None], "whoever asked must look"
    assert leader.configuration == before
    assert leader.role == "follower"


# --- learners ---
def test_a_learner_gets_everything_and_counts_nowhere() -> None:
    table = formed(1, 2, 3)
    leader, learner = table.nodes[1], table.start(JOINER)
    assert change(leader, AddLearner(JOINER, "", "")) == []
    table.exchange(1, JOINER)
    assert not leader.is_configuration_committed, "2 of 3 voters are needed, it is none"
    table.exchange(1, 2)
    table.beat(1, JOINER)
    assert leader.is_configuration_committed
    assert learner.configuration.learners == {JOINER}
    assert learner.applied_index == leader.applied_index
    table.clock.jumped_s += 10.0
    table.lose()
    learner.tick()
    assert table.sent(JOINER, PreVote) == []
    learner.receive(1, TimeoutNow(leader.term))
    assert (learner.role, table.sent(JOINER, RequestVote)) == ("follower", [])
    assert not leader.quorum_confirmed
    table.exchange(1, JOINER)
    assert not leader.quorum_confirmed, "whom it hears does not vote"


def test_a_joiner_answers_whoever_leads_though_it_knows_nobody() -> None:
    table = formed(1, 2, 3)
    learner = table.start(JOINER)
    learner.receive(2, RequestVote(term=9, last=5, last_term=1, transfer=False))
    assert table.sent(JOINER, Vote) == [Vote(9, granted=True)]


def test_a_learner_is_promoted_only_when_it_is_heard_and_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CAUGHT_UP_LAG_ENTRIES_MAX", 5)
    table = formed(1, 2, 3)
    leader = table.nodes[1]
    table.start(JOINER)
    change(leader, AddLearner(JOINER, "", ""))
    table.exchange(1, 2)
    promote = lambda: change(leader, Promote(JOINER))  # noqa: E731
    settle(table, 1, 2, 3)
    assert reason(promote) is ChangeReason.NOT_CAUGHT_UP, "never heard"
    table.beat(1, 2, JOINER)
    for _ in range(10):
        table.propose(1)
    table.exchange(1, 2)
    assert reason(promote) is ChangeReason.NOT_CAUGHT_UP, "too far behind"
    table.beat(1, 2, JOINER)
    outcome = promote()
    assert leader.configuration.voters == {1, 2, 3, JOINER}
    table.exchange(1, 2)
    assert outcome == [], "2 of 4"
    table.exchange(1, JOINER)
    assert outcome == [leader.configuration]


# --- removal ---
def test_l12_a_removed_member_is_told_before_it_is_dropped_and_then_keeps_quiet() -> None:
    table = formed(1, 2, 3)
    leader, gone = table.nodes[1], table.nodes[3]
    change(leader, Remove(3))
    assert leader.leaving == {3}
    table.exchange(1, 2)
    assert leader.leaving == {3}, "it does not know yet"
    for _ in range(3):
        table.beat(1, 2, 3)
    assert leader.leaving == frozenset()
    assert gone.is_removed
    assert not gone.ready
    table.lose()
    table.clock.jumped_s += 10.0
    gone.tick()
    assert table.sent(3, PreVote) == []
    leader.receive(3, AppendReply(leader.term, True, 1, 99, 0, 99))  # late, and of nobody
    assert leader.commit_index == leader._journal.last


def test_a_removed_member_that_does_not_listen_is_dropped_in_time() -> None:
    table = formed(1, 2, 3)
    leader = table.nodes[1]
    change(leader, Remove(3))
    table.exchange(1, 2)
    table.clock.jumped_s += limits.TELL_REMOVED_S
    table.beat(1, 2)
    assert leader.leaving == frozenset()


def test_who_is_told_to_be_removed_leaves_the_others_in_peace_until_a_leader_calls() -> None:
    table = formed(1, 2, 3)
    node = table.nodes[3]
    node.told_removed()
    assert node.is_removed
    table.lose()
    table.clock.jumped_s += 10.0
    node.tick()
    assert table.sent(3, PreVote) == []
    node.receive(2, RequestVote(term=9, last=9, last_term=9, transfer=True))
    assert table.sent(3, Vote) == [Vote(9, granted=True)], "it goes on answering"
    table.lead(1, 2)
    table.beat(1, 2, 3)
    assert not node.is_removed
    learner = table.start(JOINER)
    learner.told_removed()
    assert not learner.is_removed, "it never thought that it was a member"


def test_a_leader_goes_only_if_it_must_and_does_not_count_itself_then() -> None:
    table = formed(1, 2, 3, 4, 5)
    leader = table.nodes[1]
    assert reason(lambda: change(leader, Remove(1))) is ChangeReason.LEADS
    outcome = change(leader, Remove(1), force=True)
    table.exchange(1, 2)
    table.deliver(1, 3)
    assert outcome == [], "two of the four that are left, itself not counted"
    assert leader.role == "leader"
    table.exchange(1, 3)
    table.exchange(1, 4)
    assert outcome
    assert outcome[0] is not None
    assert outcome[0].voters == {2, 3, 4, 5}
    assert (leader.role, leader.is_removed) == ("follower", True)
    table.clock.jumped_s += 10.0
    table.lose()
    leader.tick()
    assert table.sent(1, PreVote) == []


def test_a_change_that_leaves_too_few_healthy_voters_is_made_only_when_forced() -> None:
    table = formed(1, 2, 3)
    leader = table.nodes[1]
    table.clock.jumped_s += TIMING.election_s - 0.05
    table.beat(1, 2)  # 3 was not heard for a while
    table.clock.jumped_s += TIMING.heartbeat_s
    table.beat(1, 2)
    assert reason(lambda: change(leader, Remove(2))) is ChangeReason.WOULD_BREAK_QUORUM
    assert change(leader, Remove(2), force=True) == []
    assert leader.configuration.voters == {1, 3}


def test_figure_4_6_a_voter_that_only_it_knows_to_be_removed_still_stands_for_election() -> None:
    table = formed(1, 2, 3, 4)
    change(table.nodes[1], Remove(2))
    table.deliver(1, 2)
    table.lose()
    del table.nodes[1]
    needed, other = table.nodes[2], table.nodes[3]
    assert needed.configuration.voters == {1, 3, 4}
    other._campaign(table.clock.monotonic_s(), transfer=True)
    table.exchange(2, 3, 4)
    assert other.role == "candidate", "it needs a vote of member 2, whose log is longer"
    for _ in range(10):
        table.clock.jumped_s += TIMING.election_s
        needed.tick()
        table.exchange(2, 3, 4)
    assert needed.is_removed
    assert needed.role == "follower"
    assert other.configuration.voters == {1, 3, 4}
    table.lead(3, 4)
    assert other.is_configuration_committed


def test_a_new_leader_judges_nobody_before_it_has_heard_from_him() -> None:
    table = formed(1, 2, 3)
    table.start(JOINER)
    change(table.nodes[1], AddLearner(JOINER, "", ""))
    table.exchange(1, 2, 3)
    table.lose()
    leader = table.lead(2, 3)
    with pytest.raises(NoLeader):
        change(leader, Promote(JOINER))
    settle(table, 2, 3)
    assert reason(lambda: change(leader, Promote(JOINER))) is ChangeReason.NOT_CAUGHT_UP
    table.beat(2, 3, JOINER)
    change(leader, Promote(JOINER))
    assert leader.configuration.voters == {1, 2, 3, JOINER}


def test_a_member_that_comes_back_is_fed_again() -> None:
    table = formed(1, 2, 3)
    leader = table.nodes[1]
    change(leader, Remove(3))
    table.exchange(1, 2)
    change(leader, AddLearner(3, "", ""))
    assert leader.leaving == frozenset()
    for _ in range(3):
        table.beat(1, 2, 3)
    assert table.nodes[3].configuration.learners == {3}
    assert not table.nodes[3].is_removed
