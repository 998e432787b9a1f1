"""The disruption budget says what the members' verdict says, and never blocks the drain of a member alone."""

from dataclasses import replace

import pytest

from sybline_operator.budget import pods_needed
from sybline_operator.observation import MemberSeen, MembershipSeen, Observed, PodSeen
from tests.operator.world import NAMES


def members(
    voters: int, *, learners: int = 0, down: int = 0, lagging: int = 0, committed: bool = True
) -> Observed:
    """A cluster whose last voters are down, and the ones before them lag although their pods are ready."""
    rows, pods = [], []
    for ordinal in range(voters + learners):
        is_voter = ordinal < voters
        is_down = voters - down <= ordinal < voters
        lags = voters - down - lagging <= ordinal < voters - down
        name = NAMES.pod(ordinal)
        rows.append(
            MemberSeen(
                ordinal + 1, name, NAMES.peer_address(name), is_voter, ordinal == 0,
                not is_down, not is_down, not (is_down or lags), 0,
            )
        )  # fmt: skip
        pods.append(
            PodSeen(name, ordinal, name, "10.0.0.1", "node1", not is_down, False, not is_down, "a")
        )
    return Observed(NAMES, None, tuple(pods), MembershipSeen(1, 77, committed, 1, tuple(rows)))


def evictable(seen: Observed, needed: int) -> int:
    """Return what Kubernetes makes of it."""
    return max(0, sum(pod.ready for pod in seen.pods) - needed)


@pytest.mark.parametrize(
    ("seen", "away"),
    [
        (members(3), 1),
        (members(5), 2),
        (members(2), 0),
        (members(3, down=1), 0),
        (members(5, down=1), 1),
        (members(5, down=2), 0),
        (members(3, lagging=1), 0),
        (members(5, lagging=1), 1),
        (members(5, down=1, lagging=1), 0),
        (members(3, learners=1), 1),
        (members(1, learners=1), 0),
        (members(3, committed=False), 0),
    ],
)
def test_as_many_may_go_as_the_voters_that_are_fit_can_spare(seen: Observed, away: int) -> None:
    needed = pods_needed(3, seen)
    assert needed is not None
    assert evictable(seen, needed) == away


def test_who_is_down_anyway_may_be_evicted_while_the_others_are_a_quorum() -> None:
    seen = members(3, down=1)
    needed = pods_needed(3, seen)
    assert needed is not None
    # Kubernetes lets go of a pod that is not ready if so many others are.
    assert sum(pod.ready for pod in seen.pods) >= needed


def test_a_member_alone_has_no_budget() -> None:
    assert pods_needed(1, members(1)) is None
    assert pods_needed(1, replace(members(1), membership=None)) is None


def test_a_member_that_waits_for_others_to_join_has_none_either() -> None:
    assert pods_needed(3, members(1)) is None


def test_without_a_confirmed_view_nobody_may_go() -> None:
    seen = replace(members(3), membership=None)
    assert pods_needed(3, seen) == 3
