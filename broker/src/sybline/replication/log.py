"""What the rest of the broker knows of replication: three protocols, no implementation.

`ReplicatedLog` is the only door for everybody above; `ReplicatedState` is what replication drives below it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from sybline.replication.configuration import Change, Configuration, MemberInfo
from sybline.replication.pressure import Shortage
from sybline.replication.state_dump import SavedState, StateDump
from sybline.state_machine.commands import AnyCommand
from sybline.state_machine.live_bodies import LiveRuns
from sybline.state_machine.replies import AnyReply


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """The leader's view of one follower."""

    member: int
    match_index: int
    lag_entries: int
    last_answer_age_s: float
    connected: bool
    image_sent_bytes: int = 0  # of the checkpoint it is being sent
    image_bytes: int = 0  # 0: it is sent none


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
    is_voter: bool = True  # in the configuration that this member knows
    configuration_version: int = 0
    last_log_term: int = 0  # of the last entry
    removed: bool = False  # it was a member once and is none any more
    formed: bool = True  # it knows that its cluster has formed: only then are commands taken


class MemberView(Struct, frozen=True):
    """What is known of one member. Only the leader knows more than `info`."""

    info: MemberInfo
    match_index: int  # up to here its disk has the leader's log; 0: not known
    lag_entries: int  # what it lacks of the leader's log
    heard_age_s: (
        float  # since the newest heartbeat that it answered was sent; inf: never, or not known
    )
    connected: bool


class Membership(Struct, frozen=True):
    """One member's view of the membership."""

    configuration: Configuration  # in force: the latest, committed or not
    committed: bool
    leader: int | None
    term: int
    member: int  # whose view this is
    removed: bool  # it was a member once and is none any more
    view_age_s: float  # how long ago this was certainly so; inf: nothing was heard of a leader
    members: tuple[MemberView, ...]  # in the order of the configuration


@dataclass(frozen=True, slots=True)
class MemberIdentity:
    """Who listens at an address."""

    id: int
    name: str
    cluster_uid: int  # 0: it belongs to no formed cluster yet


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
        """Let another member lead, `target` or the one that has most of the log, and return whether it does.

        On any member: others ask the leader. Nothing has changed for certain when it returns False at once.
        """

    def membership(self) -> Membership:
        """Return this member's own view, at once; it may be stale."""

    async def ask_leader_membership(self, *, deadline_s: float) -> Membership:
        """Return the leader's view, confirmed by a quorum after this call.

        Raises:
            NoLeader: no confirmed leader answered in time.
        """

    async def change_members(
        self, change: Change, *, expected_version: int, force: bool = False, deadline_s: float
    ) -> Configuration:
        """Make one change through the leader and return the configuration once it is committed.

        `expected_version` is that of the configuration the caller decided upon. `force`: also when too few voters are
        healthy. The leader that is to be removed hands over first.

        Raises:
            ChangeRefused: it was definitely not made, and why.
            NoLeader, NotProposed: it was definitely not made.
            OutcomeUnknown: it may be made: look at the version.
        """

    async def identify(self, address: str, *, deadline_s: float) -> MemberIdentity:
        """Return who listens for members at "host:port", after it proved to know the cluster's secret.

        Raises:
            Unreachable: nobody, a stranger, or not in time.
        """

    def shortage(self) -> Shortage | None:
        """Return why publishes must be refused; None: they may go on (Z-5)."""


class ReplicatedState(Protocol):
    """What the Raft node drives: committed payloads in, checkpoints out. Called on the loop, in log order."""

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """Apply one committed entry. An exception stops the member (C-9)."""

    def begin_dump(self, first_page: int) -> StateDump:
        """Return the state as of the last applied entry, to be collected while it goes on changing.

        New pages are numbered from `first_page` on. Nothing may be collected of an earlier dump any more.
        """

    def restore(self, saved: SavedState) -> None:
        """Replace the state by a saved one. An exception stops the member: never go on with an empty state."""

    def live_bodies(self, start: int, end: int, runs_max: int) -> LiveRuns:
        """Return which messages with a position in [start, end), or in a first part of it, the queues need.

        A message that was not needed once never is again.
        """

    def thin(self, payload: bytes, live: Iterable[tuple[int, int]]) -> bytes | None:
        """Return an entry's payload with the bodies of these messages only, by number and count. Any thread.

        None: the entry has no messages.
        """


NoteHook = Callable[[bytes], bytes]
