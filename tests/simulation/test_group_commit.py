"""What a leader appends, sends and expects together: one message and one sync for many proposals."""

import pytest

from sybline.replication.messages import Append, AppendReply, RaftMessage, decode
from tests.simulation.schedules import MEMBERS, Stage
from tests.simulation.tags import TAG
from tests.simulation.watched import Hasty

GATHER_S = 0.005

pytestmark = pytest.mark.simulation


def leading_stage() -> tuple[Stage, Hasty]:
    """Return a stage on which member 1 leads, gathers, and has committed everything with all others."""
    stage = Stage()
    stage.lead(1, 2, 3)
    for _ in range(3):  # the last round for the configuration of the formed cluster
        for member in MEMBERS[1:]:
            stage.exchange(1, member)
    node = stage.nodes[1]
    node._gather_s = GATHER_S
    return stage, node


def propose(node: Hasty, refused: list[bool] | None = None) -> None:
    node.propose(TAG.pack(7), ([] if refused is None else refused).append)
    if not node.is_gathering:
        node.tick()


def under_way(stage: Stage, member: int, peer: int) -> list[RaftMessage]:
    return [decode(*frame) for frame in stage._under_way.get((member, peer), [])]


def test_proposals_gather_until_the_last_piece_is_committed_and_leave_in_one_message() -> None:
    stage, node = leading_stage()
    last = node._journal.last
    propose(node)
    assert node._journal.last == last + 1, "nothing is under way: at once"
    for _ in range(3):
        propose(node)
    assert node._journal.last == last + 1
    assert 0 < node.tick() <= GATHER_S
    stage.exchange(1, 2)
    stage.exchange(1, 3)
    assert (node._journal.last, node.is_gathering) == (last + 4, False)
    (_, second) = under_way(stage, 1, 4)
    assert isinstance(second, Append)
    assert (len(second.entries), second.commit) == (3, last + 1), "with the news of the commit"


def test_proposals_gather_no_longer_than_they_may_when_no_majority_answers() -> None:
    stage, node = leading_stage()
    last = node._journal.last
    for _ in range(3):
        propose(node)
    stage.clock.jumped_s += GATHER_S
    node.tick()
    assert (node._journal.last, node.commit_index) == (last + 3, last)


def test_what_gathers_when_leadership_is_lost_is_refused() -> None:
    _, node = leading_stage()
    refusals: list[bool] = []
    propose(node)
    propose(node, refusals)
    propose(node, refusals)
    node._follow(node.term + 1, None)
    node.tick()
    assert refusals == [False, False]


def test_news_of_a_commit_alone_is_not_answered_unless_it_is_refused() -> None:
    stage, node = leading_stage()
    propose(node)
    stage.exchange(1, 2)
    stage.exchange(1, 3)
    assert node.commit_index == node._journal.last
    stage.deliver((1, 4), 1)
    (news,) = under_way(stage, 1, 4)
    assert isinstance(news, Append)
    assert news.is_silent
    answers = len(under_way(stage, 4, 1))
    stage.deliver((1, 4), 1)
    assert stage.nodes[4].commit_index == node.commit_index
    assert len(under_way(stage, 4, 1)) == answers
    del stage._under_way[1, 5][0]  # the entry is lost, the news is not
    stage.deliver((1, 5), 1)
    (refusal,) = under_way(stage, 5, 1)
    assert isinstance(refusal, AppendReply)
    assert not refusal.ok


def test_an_answer_that_changes_nothing_asks_for_no_tick() -> None:
    stage, node = leading_stage()
    propose(node)
    wanted = []
    for member in MEMBERS[1:]:
        stage.deliver((1, member), 1)
        (answer,) = under_way(stage, member, 1)
        wanted.append(node.receive(member, answer))
        if wanted[-1]:
            node.tick()
    assert wanted == [False, True, False, False], "the third of five copies commits"
