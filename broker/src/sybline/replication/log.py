"""What the rest of the broker knows of replication: three protocols, no implementation.

`ReplicatedLog` is the only door for everybody above; `ReplicatedState` is what replication drives below it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sybline.state_machine.commands import AnyCommand
from sybline.state_machine.replies import AnyReply


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """The leader's view of one follower."""

    member: int
    match_index: int
    lag_entries: int
    last_answer_age_s: float
    connected: bool


@dataclass(frozen=True, slots=True)
class ReplicationStatus:
    """This member's own view of Raft; may be stale."""

    member: int
    role: str  # "leader", "follower", "candidate"
    term: int
    leader: int | None
    ready: (
        bool  # leader: its no-op is applied; follower: knows a leader and has caught up once (C-7)
    )
    quorum_confirmed: bool  # leader only: heard from a quorum within one election time-out (C-5)
    commit_index: int
    applied_index: int
    first_index: int
    last_index: int
    pending_proposals: int
    peers: tuple[PeerStatus, ...]


class ReplicatedLog(Protocol):
    """Propose commands and read linearizably, on any member: followers forward."""

    async def propose(self, command: AnyCommand, *, deadline_s: float) -> AnyReply:
        """Replicate, apply here, and return the reply; `deadline_s` is seconds from now.

        The command is repeated under one request id across leader changes and applied once (C-3, P-9). When this
        returns, the entry is applied on this member too, so its bodies can be read here.

        Raises:
            NotApplied: it never entered the log (NoLeader, Overloaded, NotProposed).
            OutcomeUnknown: it may have (DeadlinePassed).
        """

    async def barrier(self, *, deadline_s: float, note: bytes = b"") -> bytes:
        """Return once everything acknowledged before this call is applied here (read index).

        `note` goes to the leader's `on_note` hook and its answer comes back; used for knowledge only a leader has.

        Raises:
            NoLeader: no quorum confirmed a leader in time.
        """

    async def wait_for_leader(self, *, deadline_s: float) -> bool:
        """Return whether a leader is known, waiting up to `deadline_s` seconds for one."""

    def payload(self, index: int) -> bytes:
        """Return the command bytes of a log entry that is applied and still live.

        Raises:
            KeyError: the entry is no longer stored.
        """

    def status(self) -> ReplicationStatus:
        """Return this member's own view, at once."""

    async def transfer_leadership(self, *, deadline_s: float, target: int | None = None) -> bool:
        """Hand over leadership and return whether another member leads now."""

    def full_disk_member(self) -> int | None:
        """Return the member whose full disk is why publishes must be refused; None: they may go on (Z-5)."""


class ReplicatedState(Protocol):
    """What the Raft node drives: committed payloads in, checkpoints out. Called on the loop, in log order."""

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """Apply one committed entry. An exception stops the member (C-9)."""

    def dump(self) -> bytes:
        """Return the state as of the last applied entry."""

    def restore(self, data: bytes) -> None:
        """Replace the state by a dump. An exception stops the member: never go on with an empty state."""

    def oldest_live_index(self) -> int | None:
        """Return the smallest log index whose bodies the state still needs; None: none."""


NoteHook = Callable[[bytes], bytes]
