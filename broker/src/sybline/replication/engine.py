"""A member at work, from an open journal to a closed one: the parts of replication, and what drives them.

Everything here runs on one loop; only syncs and checkpoints are written in threads of their own. What becomes ready in
one turn of the loop is one tick of the node, hence one write, one sync and one message per follower. Whatever comes out
of replication's own callbacks ends the process (`fail_stop.py`).
"""

import asyncio
import contextlib
import math
import random
import secrets
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from sybline import limits
from sybline.clock import Clock
from sybline.replication.administration import Administration
from sybline.replication.codec import encode_request
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.intake import Intake
from sybline.replication.journal import Journal, JournalOptions
from sybline.replication.leader_calls import LeaderCalls
from sybline.replication.log import Membership, NoteHook, PeerStatus
from sybline.replication.log_time import LogTime, TickSource
from sybline.replication.machine_state import MachineState
from sybline.replication.measures import Counters, Observer, StorageUse
from sybline.replication.messages import RaftMessage, ShortageReport
from sybline.replication.neighbours import Neighbours
from sybline.replication.node import CheckpointDistance, RaftNode
from sybline.replication.peer_calls import PeerCalls, send_message, send_refusal
from sybline.replication.peer_security import PeerSecurity
from sybline.replication.pressure import Marks, Pressure, Resource
from sybline.replication.proposals import Proposals
from sybline.replication.reads import Reads
from sybline.replication.resource_watch import ResourceWatch
from sybline.replication.storage_threads import StorageThreads
from sybline.replication.timing import Timing
from sybline.replication.transport import PeerTransport, TransportSettings
from sybline.replication.turns import Turns
from sybline.state_machine.commands import Tick
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.replies import AnyReply

log = structlog.get_logger(__name__)

TICK_ORIGIN = 0  # the leader's own Ticks: numbered by nobody, awaited by nobody
_TICK = encode_request(TICK_ORIGIN, 0, 0, Tick())


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """Which member of which cluster this is. Addresses are "host:port", for members."""

    cluster_id: str
    member: int | None  # None: whoever the data directory says, or a new member
    data_dir: Path
    peers: Mapping[
        int, str
    ]  # of others, as far as known: tried beside the addresses of the configuration
    listen_host: str
    listen_port: int  # for peers; 0: any free one
    bootstrap: bool = (
        False  # an empty directory begins a cluster with `member` and `peers`; else it joins one
    )
    name: str = ""
    address: str = ""  # where others reach this member; "": not known
    secret: bytes = b""  # shared by the cluster; empty: none
    timing: Timing = field(default_factory=Timing)
    checkpoint: CheckpointDistance = field(default_factory=CheckpointDistance)
    journal: JournalOptions = field(default_factory=JournalOptions)
    marks: Marks = field(default_factory=Marks)
    tls: PeerSecurity | None = None  # None: members talk plain TCP


class Engine:
    """See the module. It hears of what happens in its node (`node.Listener`)."""

    def __init__(
        self,
        settings: MemberSettings,
        journal: Journal,
        *,
        clock: Clock,
        edge: FailStopEdge,
        counters: Counters,
        observer: Observer,
        on_note: NoteHook,
    ) -> None:
        """Restore the state of the journal's checkpoint; nothing runs before `start`.

        Raises:
            FailStop: the checkpoint cannot be used.
        """
        self.journal = journal
        self._clock = clock
        self._edge = edge
        self._counters = counters
        self._observer = observer
        self.turns = Turns(clock=clock, edge=edge, run=self._turn)
        self._storage = StorageThreads(
            journal, clock=clock, edge=edge, synced=self._synced, written=self.turns.wake
        )
        self._build_node(settings)
        self._build_calls(on_note, settings.timing.election_s)
        self._build_surroundings(settings)
        self._resources_task: asyncio.Task[None] | None = None
        self._leader_moved = asyncio.Event()  # another one after each change
        self.is_stopping = False

    # --- building ---
    def _build_node(self, settings: MemberSettings) -> None:
        """Make the node, its state and its connections; what it does with them is heard of by this engine."""
        rng = random.Random(secrets.randbits(64))
        self.transport = PeerTransport(
            TransportSettings(
                self.journal.identity, settings.listen_host, settings.listen_port,
                settings.secret, settings.tls,
            ),
            rng=rng, counters=self._counters, edge=self._edge,
        )  # fmt: skip
        self.state = MachineState(
            factory=StateMachine, replied=self._replied, counters=self._counters
        )
        self.node = RaftNode(
            member=self.journal.identity.member, journal=self.journal, state=self.state,
            send=self._send, clock=self._clock, rng=rng,
            timing=settings.timing, listener=self, start_sync=self._storage.syncs.start,
            start_background=self._storage.files.start, checkpoint=settings.checkpoint,
            gather_s=limits.GATHER_S,
        )  # fmt: skip

    def _build_calls(self, on_note: NoteHook, patience_s: float) -> None:
        """Make what carries commands, reads and notes to the leader, here or elsewhere, and answers back."""
        clock, wake = self._clock, self.turns.wake
        self._calls: PeerCalls  # these two and what is below need each other
        self._leader_calls: LeaderCalls
        self._log_time = LogTime(clock)
        self._log_time.follow(self.state.machine.now_ms)
        self._is_stamped = False  # an entry with log time was applied since `applied` looked
        self._ticks = TickSource(next_due_ms=self._next_due_ms, propose=self._propose_tick)
        self._intake = Intake(
            append=self.node.propose, stamp_ms=self._log_time.stamp_ms,
            refuse=partial(send_refusal, self.transport), counters=self._counters,
        )  # fmt: skip
        self.proposals = Proposals(
            origin=TICK_ORIGIN + 1 + secrets.randbits(63), now_s=clock.monotonic_s,
            send=lambda sequence, payload: self._calls.hand_over(sequence, payload),
            observer=self._observer,
        )  # fmt: skip
        self.reads = Reads(
            now_s=clock.monotonic_s, ask=lambda request, note: self._calls.ask(request, note),
            applied_index=lambda: self.node.applied_index, first_request=secrets.randbits(62),
        )  # fmt: skip
        self.pressure = Pressure(self.node.configuration.voters)
        self.administration = Administration(
            node=self.node, lead=self, calls=lambda: self._leader_calls, clock=clock,
            edge=self._edge, wake=wake, patience_s=patience_s,
        )  # fmt: skip
        self._leader_calls = LeaderCalls(
            send=partial(send_message, self.transport), serve=self.administration.serve,
            first_request=secrets.randbits(62),
        )  # fmt: skip
        self._calls = PeerCalls(
            node=self.node, wire=self.transport, intake=self._intake, proposals=self.proposals,
            reads=self.reads, pressure=self.pressure, leader_calls=self._leader_calls,
            counters=self._counters, on_note=on_note, edge=self._edge, wake=wake,
        )  # fmt: skip

    def _build_surroundings(self, settings: MemberSettings) -> None:
        """Make what knows the other members and what watches over disk and memory."""
        self.neighbours = Neighbours(
            node=self.node, journal=self.journal, name=settings.name, addresses=settings.peers,
            is_proven=bool(settings.secret) or settings.tls is not None,
            edge=self._edge, wake=self.turns.wake,
        )  # fmt: skip
        self.resources = ResourceWatch(
            member=self.node.member, directory=settings.data_dir, marks=settings.marks,
            pressure=self.pressure, is_full=self._is_full, tell_peers=self._report_shortage,
        )  # fmt: skip

    @property
    def leader(self) -> int | None:
        """Return who takes proposals, as far as this member knows; itself only once it is ready to."""
        return self._calls.leader

    # --- start and stop ---
    async def start(self) -> None:
        """Listen for peers and begin to work.

        Raises:
            OSError: the address cannot be listened on.
        """
        await self.transport.start(self._calls, self.neighbours)
        self.transport.set_links(self.neighbours.links())
        self._resources_task = self._edge.spawn(self.resources.run())
        self.turns.wake()

    async def stop(self) -> None:
        """Tell everybody who waits, leave the peers, and close the journal once nothing is being written."""
        self.is_stopping = True
        self.proposals.stop()
        self.reads.stop()
        self._leader_calls.stop()
        self._announce_leader()
        self.turns.stop()
        if self._resources_task is not None:
            self._resources_task.cancel()
            await asyncio.gather(self._resources_task, return_exceptions=True)
        await self.transport.stop()
        await self._storage.stop()

    # --- driving ---
    def _turn(self, now_s: float) -> float:
        """Do everything that became ready, and return when there is more to do (monotonic seconds)."""
        self._calls.begin_turn(now_s)
        tick_s = math.inf
        if self.node.is_ready_leader:
            tick_s = self._ticks.poll(now_s, self._log_time.now_ms())
        node_s = now_s + self.node.tick()
        self.transport.flush()
        return min(node_s, tick_s, self.proposals.next_event_s, self.reads.next_event_s)

    def _send(self, peer: int, message: RaftMessage) -> None:
        send_message(self.transport, peer, message)

    def _synced(self) -> None:
        self._observer.fsync_seconds(self._storage.syncs.seconds_taken)
        if self.node.has_work():
            self.turns.wake()

    def _next_due_ms(self) -> int | None:
        return self.state.machine.next_due_ms()

    def _propose_tick(self) -> None:
        self._counters.ticks_proposed += 1
        self._intake.propose(_TICK, lambda _overloaded: None)

    def _replied(self, origin: int, sequence: int, reply: AnyReply) -> None:
        """Take the reply of an entry that was applied: it is somebody's here, or a peer's, or a Tick's."""
        self._is_stamped = True
        if origin == self.proposals.origin:
            self.proposals.applied(sequence, reply)
        elif origin == TICK_ORIGIN:
            self._ticks.applied(self._clock.monotonic_s())
        else:
            self._intake.applied(origin, sequence)

    # --- resources ---
    def _is_full(self) -> bool:
        """Return whether there is no room for the log to go on, or for an image; each time, try again to get some."""
        return self._storage.is_full() or self.node.lacks_room

    def _report_shortage(self, short_of: AbstractSet[Resource]) -> None:
        report = ShortageReport(Resource.DISK in short_of, Resource.MEMORY in short_of)
        for peer in self.node.configuration.ids:
            send_message(self.transport, peer, report)

    # --- what the node tells (node.Listener) ---
    def leader_changed(self, leader: int | None, term: int) -> None:
        """Send proposals and reads elsewhere from now on."""
        log.info("leader_changed", leader=leader, term=term)
        self._counters.leader_changes += leader is not None
        self._intake.reset()
        self._ticks.reset()
        self._calls.leader_changed(leader)
        self._announce_leader()

    def applied(self, index: int) -> None:
        """Serve the reads that waited for this."""
        if self._is_stamped and self.leader != self.node.member:  # or it led only from here on
            self._log_time.follow(self.state.machine.now_ms)
        self._is_stamped = False
        self.reads.applied(index)

    def installed(self) -> None:
        """Answer whom the leader's checkpoint has an answer for: entries were skipped."""
        log.info("checkpoint_installed", index=self.node.applied_index)
        self._counters.snapshots_installed += 1
        self._is_stamped = True
        self.proposals.restored(self.state.machine.reply_to)
        self.applied(self.node.applied_index)

    def checkpointed(self, index: int) -> None:
        """Tell what it cost."""
        log.info("checkpoint_written", index=index, seconds=self._storage.files.seconds_taken)
        self._observer.checkpoint_seconds(self._storage.files.seconds_taken)

    def membership_changed(self) -> None:
        """Know other members from now on, or know of some that they stay."""
        configuration, node = self.node.configuration, self.node
        log.info(
            "membership", version=configuration.version, members=list(configuration.ids),
            voters=sorted(configuration.voters), committed=node.is_configuration_committed,
            removed=node.is_removed,
        )  # fmt: skip
        self.pressure.follow(configuration.voters)
        self.transport.set_links(self.neighbours.links())

    # --- the members ---
    def membership(self) -> Membership:
        """Return this member's own view."""
        return self.neighbours.view(self.transport.is_connected)

    # --- leadership ---
    def peers(self) -> tuple[PeerStatus, ...]:
        """Return this leader's view of its followers; empty on a follower."""
        last = self.journal.last
        return tuple(
            PeerStatus(
                member=peer.member,
                match_index=peer.match_index,
                lag_entries=last - peer.match_index,
                last_answer_age_s=peer.heard_age_s,
                connected=self.transport.is_connected(peer.member),
                image_sent_bytes=peer.image_sent_bytes,
                image_bytes=peer.image_bytes,
            )
            for peer in self.node.peers()
        )

    def storage_use(self) -> StorageUse:
        """Return what is stored, and how far an image has been received."""
        journal, cold = self.journal, self.journal.cold
        received_bytes, image_bytes = self.node.image_progress
        return StorageUse(
            log_segments=journal.segments_total,
            cold_files=len(cold.tier),
            cold_bytes=cold.tier.total_bytes,
            cold_rewrites=cold.rewrites,
            checkpoint_bytes=journal.checkpoint_bytes,
            image_received_bytes=received_bytes,
            image_bytes=image_bytes,
        )

    def hand_over_leadership(self, target: int | None) -> bool:
        """Begin to hand over, or go on with it; False: there is nobody to hand over to."""
        if self.node.is_transferring:
            return True
        if target is None:
            voters = self.node.configuration.voters
            connected = [p for p in self.peers() if p.connected and p.member in voters]
            if not connected:
                return False
            target = max(connected, key=lambda peer: peer.match_index).member
        self.turns.wake()
        return self.node.transfer_leadership(target)

    async def leader_moves(self, within_s: float) -> None:
        """Return when the leader changes or this member stops, at the latest after `within_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._leader_moved.wait()

    def _announce_leader(self) -> None:
        self._leader_moved.set()
        self._leader_moved = asyncio.Event()
