"""The arithmetic of Raft, pure: quorums, votes, commit, conflict hints (figure 2 of the paper)."""

from collections.abc import Callable, Iterable


def quorum(voters: int) -> int:
    """Return how many of `voters` are a majority."""
    return voters // 2 + 1


def is_up_to_date(*, last: int, last_term: int, own_last: int, own_last_term: int) -> bool:
    """Return whether a candidate's log is at least as complete as ours (paper 5.4.1)."""
    return (last_term, last) >= (own_last_term, own_last)


def others_to_meet(voters: int) -> int:
    """Return how many others a first member must have met before its empty disk counts as new.

    So many that at least one of them is in any majority that this member may have been part of.
    """
    return min(voters - 1, voters - quorum(voters) + 1)


def majority_index(durable: Iterable[int], voters: int) -> int:
    """Return the highest index that a majority has on disk; `durable` has a number for each voter that may count."""
    return sorted(durable, reverse=True)[quorum(voters) - 1]


def may_commit(index: int, *, commit: int, index_term: int, term: int) -> bool:
    """Return whether a leader may commit by counting: only entries of its own term (paper 5.4.2, figure 8)."""
    return index > commit and index_term == term


def follower_commit(*, leader_commit: int, match: int, commit: int) -> int:
    """Return the follower's commit index after a message that verified its log up to `match`."""
    return max(commit, min(leader_commit, match))


def conflict_hint(prev: int, *, commit: int, start_of_term: Callable[[int], int]) -> int:
    """Return where the leader should probe after a conflict at `prev`: the start of the conflicting term.

    Never at or below the commit index: what is committed agrees.
    """
    return max(min(start_of_term(prev), prev), commit + 1)


def next_probe(*, hint: int, prev: int, match: int) -> int:
    """Return the next index to probe after a rejected probe: it goes down, but never to what is known to match."""
    return max(match + 1, min(hint, prev))
