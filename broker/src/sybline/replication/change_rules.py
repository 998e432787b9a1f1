"""When a change of members may be made: only if enough of those who then count are well. Pure.

Raft stays correct without these rules; it would only stand still. They keep an operator from that.
"""

from collections.abc import Set as AbstractSet

from sybline import limits
from sybline.replication import rules
from sybline.replication.configuration import ChangeReason, ChangeRefused, Configuration


def is_fit(*, lag_entries: int, heard_age_s: float, heard_s: float) -> bool:
    """Return whether a member can carry the cluster: heard within `heard_s` seconds, and lacking little."""
    return heard_age_s <= heard_s and lag_entries <= limits.CAUGHT_UP_LAG_ENTRIES_MAX


def check_promotion(member: int, *, lag_entries: int, heard_age_s: float, heard_s: float) -> None:
    """Refuse to count a learner that would be no help yet.

    Raises:
        ChangeRefused: NOT_CAUGHT_UP.
    """
    if heard_age_s > heard_s:
        text = f"the leader does not hear member {member}"
        raise ChangeRefused(ChangeReason.NOT_CAUGHT_UP, text)
    if lag_entries > limits.CAUGHT_UP_LAG_ENTRIES_MAX:
        text = (
            f"member {member} lacks {lag_entries} entries, more than "
            f"{limits.CAUGHT_UP_LAG_ENTRIES_MAX}"
        )
        raise ChangeRefused(ChangeReason.NOT_CAUGHT_UP, text)


def check_quorum(after: Configuration, fit: AbstractSet[int]) -> None:
    """Refuse a change after which too few voters are fit.

    Raises:
        ChangeRefused: WOULD_BREAK_QUORUM.
    """
    voters = after.voters
    well, needed = len(voters & fit), rules.quorum(len(voters))
    if well < needed:
        text = (
            f"{well} of the {len(voters)} voters there would be are healthy and caught up, the "
            f"quorum is {needed}"
        )
        raise ChangeRefused(ChangeReason.WOULD_BREAK_QUORUM, text)
