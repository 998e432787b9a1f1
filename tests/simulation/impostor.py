"""A first member that comes back with an empty disk, as if nothing had been: it has forgotten its votes.

It must never take part again under its old name: it is refused, says so and stops, or waits in silence (ADR-0005).
"""

from sybline.replication.configuration import Configuration
from sybline.replication.messages import (
    AppendReply,
    PreVote,
    PreVoteReply,
    RaftMessage,
    RequestVote,
    SnapshotReply,
    Vote,
)
from tests.simulation.checker import Checker
from tests.simulation.memberships import Memberships
from tests.simulation.violation import Violation

PROMISES = (PreVote, PreVoteReply, RequestVote, Vote, AppendReply, SnapshotReply)


class Unheard(Checker):
    """What an impostor's process tells of itself; apart from all others, for its name is another member's."""

    def __init__(self, first: Configuration) -> None:
        super().__init__(Memberships(first), {})

    def sends(self, member: int, peer: int, message: RaftMessage) -> None:
        """It must not ask for anything and not promise anything."""
        if isinstance(message, PROMISES):
            raise Violation("a lost disk takes part", f"member {member} sends {message} to {peer}")
