"""One member: the `ReplicatedLog` of the broker, from its start to its end.

Owns how long callers wait, and what a member says of itself before, while and after it works. The work is the
engine's.
"""

import asyncio
import contextlib
import math
import secrets

import structlog

from sybline.clock import Clock
from sybline.errors import NoLeader, Unreachable
from sybline.replication.changing import draw_cluster_uid
from sybline.replication.configuration import (
    NO_MEMBERS,
    Change,
    Configuration,
    MemberInfo,
    first_configuration,
)
from sybline.replication.data_directory import is_initialised
from sybline.replication.engine import Engine, MemberSettings
from sybline.replication.fail_stop import Die, FailStopEdge, end_process
from sybline.replication.journal import COMMAND, Entry, Journal
from sybline.replication.log import MemberIdentity, Membership, NoteHook, ReplicationStatus
from sybline.replication.measures import Counters, Observer, StorageUse
from sybline.replication.pressure import Marks, Shortage
from sybline.replication.resource_watch import ResourceUse
from sybline.state_machine.commands import AnyCommand
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.replies import AnyReply

__all__ = ["Member", "MemberSettings"]

log = structlog.get_logger(__name__)


class Member:
    """ReplicatedLog over sockets and disks."""

    def __init__(
        self,
        settings: MemberSettings,
        *,
        clock: Clock,
        on_note: NoteHook,
        observer: Observer,
        die: Die = end_process,
    ) -> None:
        """`die` ends the process when this member is broken; a test may hear of it instead."""
        self._settings = settings
        self._clock = clock
        self._on_note = on_note
        self._observer = observer
        self._edge = FailStopEdge(die, describe=self._in_hand)
        self._engine: Engine | None = None
        self.counters = Counters()

    # --- start and stop ---
    async def start(self) -> None:
        """Verify what is stored, listen for peers, and take part.

        Raises:
            CorruptData, DirectoryInUse: the data directory cannot be used.
            OSError: the disk, or the address to listen on.
            FailStop: the stored state cannot be used by this version.
        """
        loop = asyncio.get_running_loop()
        self._edge.watch(loop)
        journal = await loop.run_in_executor(None, self._open_journal)
        with contextlib.ExitStack() as undo:
            undo.callback(journal.close)
            engine = Engine(
                self._settings, journal, clock=self._clock, edge=self._edge,
                counters=self.counters, observer=self._observer, on_note=self._on_note,
            )  # fmt: skip
            await engine.start()
            undo.pop_all()
        self._engine = engine

    async def stop(self) -> None:
        """Fail who waits, definitely or as unknown, finish what is being written, and close everything."""
        if self._engine is not None:
            await self._engine.stop()

    def _open_journal(self) -> Journal:
        """Open what is stored; an empty directory begins a cluster only if the settings say so."""
        settings, member = self._settings, self._settings.member
        first = _first_members(settings)
        if not settings.bootstrap and not is_initialised(settings.data_dir):
            member = None  # a disk of its own is what makes a member: a number from the settings may have been used
        journal = Journal.open(
            settings.data_dir, cluster_id=settings.cluster_id, member=member, first=first,
            options=settings.journal,
        )  # fmt: skip
        identity = journal.identity
        log.info(
            "data_directory_opened", member=identity.member, is_new=journal.is_blank,
            first_members=list(journal.first_configuration.ids),
        )  # fmt: skip
        if settings.member not in (None, identity.member):
            log.warning("member_id_ignored", setting=settings.member, member=identity.member)
        return journal

    def _in_hand(self) -> str:
        """Return what this member was at, for its last words."""
        index = None if self._engine is None else self._engine.state.applying_index
        return "" if index is None else f"while applying entry {index}"

    def _working(self) -> Engine:
        if self._engine is None:
            raise NoLeader("this member has not started")
        return self._engine

    # --- ReplicatedLog ---
    async def propose(self, command: AnyCommand, *, deadline_s: float) -> AnyReply:
        """Replicate, apply here, and return the reply; see `ReplicatedLog`."""
        engine = self._working()
        answer: asyncio.Future[AnyReply] = asyncio.get_running_loop().create_future()
        sequence = engine.proposals.add(command, deadline_s=deadline_s, answer=answer)
        if not engine.node.is_gathering:
            engine.turns.wake()
        try:
            return await answer
        finally:
            if answer.cancelled():
                engine.proposals.drop(sequence)

    async def barrier(self, *, deadline_s: float, note: bytes = b"") -> bytes:
        """Return once everything acknowledged before this call is applied here; see `ReplicatedLog`."""
        engine = self._working()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        request = engine.reads.add(note=note, deadline_s=deadline_s, answer=answer)
        engine.turns.wake()
        try:
            return await answer
        finally:
            if answer.cancelled():
                engine.reads.drop(request, answer)

    async def wait_for_leader(self, *, deadline_s: float) -> bool:
        """Return whether a leader is known, waiting up to `deadline_s` seconds for one."""
        engine = self._working()
        ends_s = self._clock.monotonic_s() + deadline_s
        while engine.leader is None and not engine.is_stopping:
            left_s = ends_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            await engine.leader_moves(left_s)
        return engine.leader is not None

    async def transfer_leadership(self, *, deadline_s: float, target: int | None = None) -> bool:
        """Let another member lead and return whether it does; see `ReplicatedLog`. Repeated until the deadline."""
        administration = self._working().administration
        return await administration.transfer(target=target, deadline_s=deadline_s)

    def membership(self) -> Membership:
        """Return this member's own view of the members, at once."""
        if self._engine is None:
            return Membership(
                NO_MEMBERS, committed=False, leader=None, term=0, member=self._settings.member or 0,
                removed=False, view_age_s=math.inf, members=(),
            )  # fmt: skip
        return self._engine.membership()

    async def ask_leader_membership(self, *, deadline_s: float) -> Membership:
        """Return the leader's view, confirmed by a quorum after this call; see `ReplicatedLog`."""
        return await self._working().administration.view(deadline_s=deadline_s)

    async def change_members(
        self, change: Change, *, expected_version: int, force: bool = False, deadline_s: float
    ) -> Configuration:
        """Make one change of members through the leader; see `ReplicatedLog`."""
        return await self._working().administration.change(
            change, expected_version=expected_version, force=force, deadline_s=deadline_s
        )

    async def identify(self, address: str, *, deadline_s: float) -> MemberIdentity:
        """Return who listens for members at "host:port"; see `ReplicatedLog`."""
        try:
            async with asyncio.timeout(deadline_s):
                found = await self._working().transport.identify(address)
        except TimeoutError as error:
            raise Unreachable("no answer in time") from error
        return MemberIdentity(found.member, found.name, found.cluster_uid)

    def payload(self, index: int) -> bytes:
        """Return the command bytes of a log entry that is applied and still live.

        Raises:
            KeyError: the entry is no longer stored.
        """
        engine = self._working()
        if index > engine.node.applied_index:
            raise KeyError(index)
        entry: Entry | None = None
        with self._edge:  # what cannot be read is damaged
            entry = engine.journal.stored(index)
        if entry is None or entry.kind != COMMAND:
            raise KeyError(index)
        return entry.payload

    def status(self) -> ReplicationStatus:
        """Return this member's own view, at once."""
        if self._engine is None:
            return ReplicationStatus(
                self._settings.member or 0, "follower", term=0, leader=None, ready=False, quorum_confirmed=False,
                commit_index=0, applied_index=0, first_index=0, last_index=0,
                pending_proposals=0, peers=(),
            )  # fmt: skip
        node, journal = self._engine.node, self._engine.journal
        return ReplicationStatus(
            member=node.member,
            role=node.role,
            term=node.term,
            leader=node.leader,
            ready=node.ready,
            quorum_confirmed=node.quorum_confirmed,
            commit_index=node.commit_index,
            applied_index=node.applied_index,
            first_index=journal.first,
            last_index=journal.last,
            last_log_term=journal.term(journal.last),
            pending_proposals=len(self._engine.proposals),
            peers=self._engine.peers(),
            is_voter=node.is_voter,
            configuration_version=node.configuration.version,
            removed=node.is_removed,
            formed=bool(journal.cluster_uid),
        )

    def shortage(self) -> Shortage | None:
        """Return why publishes must be refused; None: they may go on (Z-5)."""
        engine = self._engine
        return None if engine is None else engine.pressure.shortage(engine.leader)

    # --- for metrics and the composition root ---
    @property
    def machine(self) -> StateMachine:
        """The current state; a checkpoint of the leader replaces the object, so do not keep it."""
        return StateMachine() if self._engine is None else self._engine.state.machine

    @property
    def peer_port(self) -> int:
        """Return the port that peers connect to."""
        return self._working().transport.port

    def judge_by(self, marks: Marks) -> None:
        """Judge what this member lacks by other marks from now on; it has started."""
        self._working().resources.judge_by(marks)

    @property
    def resources(self) -> ResourceUse:
        """Return what was measured last of disk, memory and open files."""
        return ResourceUse() if self._engine is None else self._engine.resources.use

    @property
    def storage(self) -> StorageUse:
        """Return what is stored, and how far an image has been received."""
        return StorageUse() if self._engine is None else self._engine.storage_use()

    @property
    def log_bytes(self) -> int:
        """Return the bytes of the stored log."""
        return 0 if self._engine is None else self._engine.journal.stored_bytes

    @property
    def log_live_bytes(self) -> int:
        """Return the bytes of the bodies that queues still hold; the rest of the log is history and framing."""
        bodies = sum(queue.bytes for queue in self.machine.queue_stats())
        return min(bodies, self.log_bytes)  # a message in several queues is stored once


def _first_members(settings: MemberSettings) -> Configuration:
    """Return what an empty directory begins with: the members that the settings name, or, for a joiner, nobody."""
    if not settings.bootstrap:
        return NO_MEMBERS
    if settings.member is None:
        raise ValueError("a first member needs a number; the settings must have refused this")
    addresses = {**settings.peers, settings.member: settings.address}
    names = {member: address.rpartition(":")[0] for member, address in addresses.items()}
    names[settings.member] = settings.name
    members = [MemberInfo(m, names[m], address, voter=True) for m, address in addresses.items()]
    # Who begins alone has its number before it says a word to anybody: nobody could refuse it if it had lost its disk.
    uid = 0 if settings.peers else draw_cluster_uid(secrets.SystemRandom())
    return first_configuration(members, uid)
