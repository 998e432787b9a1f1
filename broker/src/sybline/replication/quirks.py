"""Every private name of pysyncobj that we use or replace, and the guard that they are the ones we read.

`SyncObjCore` is `pysyncobj.SyncObj` with its names translated to ours. SyncObj stays the object: its configuration,
Node, Transport and Journal seams, its command queue, its state changes. What 0.3.17 does unsafely is overridden here or
in `node.py` (ADR-0001). Another file of the library could call around an override without any error, hence the digest.

| name | what we do | why |
| --- | --- | --- |
| `_SyncObj__raftLog` | our journal, the constructor's is ignored | no fsync, no checksums, pickles (S5, S6, S20) |
| `_onTick` | replaced by `RaftNode` | commits and answers before anything is on disk |
| `_SyncObj__onMessageReceived` | replaced by `RaftNode` | S1-S3, S9, S12, L1-L3 |
| `_checkCommandsToApply` | replaced by `RaftNode` | forwards through pickles, answers that are not definite |
| `_SyncObj__generateRaftTimeout` | our random source | the library's is global |
| `__setCurrentTerm`, `__setState`, the queue, `_applyCommand` | the library's | |
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysyncobj.syncobj as library
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from sybline.replication.journal import Journal
from sybline.replication.messages import RaftMessage

CHECKED_VERSION = "0.3.17"
CHECKED_SHA256 = "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4"
FOLLOWER, CANDIDATE, LEADER = 0, 1, 2  # the library's numbers
QUEUE_FULL, NOT_LEADER = 1, 4  # of its FAIL_REASON
ROLE_NAMES = {FOLLOWER: "follower", CANDIDATE: "candidate", LEADER: "leader"}


def check_library(version: str, source: bytes) -> None:
    """Refuse a pysyncobj whose private names nobody has checked.

    Raises:
        ImportError: another version or another text.
    """
    digest = hashlib.sha256(source).hexdigest()
    if (version, digest) != (CHECKED_VERSION, CHECKED_SHA256):
        raise ImportError(
            f"the overrides were checked against pysyncobj {CHECKED_VERSION} ({CHECKED_SHA256[:12]}), "
            f"found {version} ({digest[:12]}): read the difference, run the simulator, change the digest"
        )


check_library(VERSION, Path(library.__file__).read_bytes())


class MemberNode(Node):
    """A member as the library sees it; its hash does not depend on PYTHONHASHSEED."""

    def __hash__(self) -> int:
        return int(self.id)


class _Port(Transport):
    """The library's transport seam: messages go out through a callback and come in through `deliver`."""

    def __init__(self, send: Callable[[int, RaftMessage], None]) -> None:
        super().__init__(None, None, None)
        self.send_to = send
        self._nodes: dict[int, MemberNode] = {}

    def send(self, node: Node, message: RaftMessage) -> bool:
        self.send_to(int(node.id), message)
        return True

    def deliver(self, member: int, message: RaftMessage) -> None:
        node = self._nodes.get(member)
        if node is None:
            node = self._nodes[member] = MemberNode(member)
        self._onMessageReceived(node, message)

    def addNode(self, node: Node) -> None:
        """Members change through the log, never through here."""

    def dropNode(self, node: Node) -> None:
        """As addNode."""

    def destroy(self) -> None:
        """Connections are the transport's, not the library's."""


class _LogView:
    """Our journal behind the few names of the library's journal that are still called."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __len__(self) -> int:
        return self._journal.last + 1  # never empty: the library would add an entry of its own

    def __getitem__(self, at: int) -> tuple[bytes, int, int]:
        journal = self._journal
        return b"", journal.last, journal.term(journal.last)

    def getCurrentTerm(self) -> int:
        return self._journal.current_term

    def getVotedForNodeId(self) -> int | None:
        return self._journal.voted_for

    def setCurrentTerm(self, term: int, vote: int | None) -> None:
        self._journal.set_vote(term, vote)

    def getRaftCommitIndex(self) -> int:
        return self._journal.checkpoint_index

    def setRaftCommitIndex(self, index: int) -> None:
        """Not stored: what is committed is found out again (S7)."""


class SyncObjCore(SyncObj):
    """pysyncobj's object under names of ours."""

    def __init__(
        self,
        *,
        member: int,
        others: list[int],
        journal: Journal,
        send: Callable[[int, RaftMessage], None],
        proposals_max: int,
        on_role: Callable[[int, int], None],
    ) -> None:
        self._log_view = _LogView(journal)
        self._port = _Port(send)
        conf = SyncObjConf(
            autoTick=False,  # its thread would start inside the constructor
            useFork=False,
            appendEntriesUseBatch=True,  # else it opens a pipe to wake its own poller
            commandsQueueSize=proposals_max,
            journalFile=None,
            fullDumpFile=None,
            onStateChanged=on_role,
        )
        super().__init__(
            MemberNode(member), [MemberNode(o) for o in others], conf, transport=self._port
        )

    # --- seams ---
    @property
    def _SyncObj__raftLog(self) -> _LogView:
        return self._log_view

    @_SyncObj__raftLog.setter
    def _SyncObj__raftLog(self, value: Any) -> None:
        """Ignore the journal the constructor makes."""

    def _SyncObj__onMessageReceived(self, node: Node, message: RaftMessage) -> None:
        self.on_message(int(node.id), message)

    def _SyncObj__generateRaftTimeout(self) -> float:
        return self.election_timeout_s()

    def _onTick(self, timeToWait: float = 0.0) -> None:
        self.run_tick()

    def on_message(self, peer: int, message: RaftMessage) -> None:
        """Handle one message; `RaftNode` does."""

    def run_tick(self) -> None:
        """Do what is due; `RaftNode` does."""

    def election_timeout_s(self) -> float:
        """Return the next randomised election time-out; `RaftNode` does."""
        return 1.0

    # --- the library's state under plain names ---
    @property
    def term(self) -> int:
        """Return the current term."""
        return int(self._SyncObj__raftCurrentTerm)

    @property
    def voted_for(self) -> int | None:
        vote = self._SyncObj__votedForNodeId
        return None if vote is None else int(vote)

    @property
    def role_number(self) -> int:
        return int(self._SyncObj__raftState)

    @property
    def leader(self) -> int | None:
        """Return the member that leads, as far as this one knows."""
        node = self._SyncObj__raftLeader
        return None if node is None else int(node.id)

    @property
    def commit_index(self) -> int:
        return int(self._SyncObj__raftCommitIndex)

    @property
    def applied_index(self) -> int:
        return int(self._SyncObj__raftLastApplied)

    def _set_term(self, term: int, vote: int | None) -> None:
        """Store term and vote durably, then take them over."""
        self._SyncObj__setCurrentTerm(term, vote)

    def _set_role(self, role: int) -> None:
        self._SyncObj__setState(role)

    def _set_leader(self, member: int | None) -> None:
        self._SyncObj__raftLeader = None if member is None else MemberNode(member)

    def _set_commit(self, index: int) -> None:
        self._SyncObj__raftCommitIndex = index

    def _set_applied(self, index: int) -> None:
        self._SyncObj__raftLastApplied = index

    def _queue_command(self, payload: bytes, callback: Callable[[Any, int], None]) -> None:
        """Put a proposal into the library's bounded queue; the callback gets QUEUE_FULL if it is full."""
        self._applyCommand(payload, callback)

    def _next_command(self) -> tuple[bytes, Callable[[Any, int], None]] | None:
        try:
            command: tuple[bytes, Callable[[Any, int], None]] = (
                self._SyncObj__commandsQueue.get_nowait()
            )
        except library.Queue.Empty:
            return None
        return command
