"""One machine: a disk that outlives its process, and the process, which is the product's node with what drives it.

A machine is one member for ever: who gets another disk is another member, and another host.

Owns starting, stopping and crashing, and when the node works: as in the product, one turn after whatever arrived, and
when the node said that something is due. Syncs and checkpoints run within the turn, or as threads would: later, while
messages go on arriving.
"""

import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

from sybline import limits
from sybline.errors import FailStop
from sybline.replication.admission import Refusal, Standing
from sybline.replication.configuration import Change, Configuration
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.identity import Identity
from sybline.replication.journal import CorruptData, JournalOptions
from sybline.replication.log import ReplicatedState
from sybline.replication.messages import BadFrame, RaftMessage, encode
from sybline.replication.neighbours import Neighbours
from sybline.replication.node import CheckpointDistance
from sybline.replication.timing import Timing
from sybline.replication.transport import Link
from tests.simulation.checker import Checker
from tests.simulation.disk import Crashed, SimulatedDisk
from tests.simulation.durable import DurableView
from tests.simulation.events import Action, Events, HostClock
from tests.simulation.network import Frame, Network
from tests.simulation.violation import Violation
from tests.simulation.watched import Hasty, WatchedJournal, WatchedNode

ROOT = Path("/data")
CLUSTER = "simulated"
TURN_S = (0.00002, 0.0005)  # from what arrived to the turn that handles it
RESERVE_LOOK_S = 0.5
START_S = (0.05, 0.4)  # from the end of a process to the next one


def address_of(member: int) -> str:
    """Return where a member's first machine is."""
    return f"machine-{member}:7000"


class OpenEdge:
    """A fail-stop edge that lets everything through: the host ends the process."""

    is_broken = False

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None: ...


class Application(Protocol):
    """What runs above the node in one life of a process: its state, its clients, their proposals and reads.

    It is the node's listener and takes every frame, as the product's layers above the node do.
    """

    @property
    def state(self) -> ReplicatedState: ...

    def started(self, node: WatchedNode) -> None:
        """The process is up."""

    def stopped(self) -> None:
        """The process is gone, with everything that waits."""

    def ask(self, rng: random.Random) -> None:
        """Do what a client asks of this member."""

    def change_members(
        self, change: Change, version: int, *, force: bool, done: Callable[[object], None]
    ) -> None:
        """Do what an administrator asks of this member; `done` gets the configuration or the error."""

    @property
    def is_quiet(self) -> bool:
        """Return whether nobody waits for an answer that must come."""

    def check_settled(self) -> None:
        """All is quiet and everybody has applied the same: the state is what all know it to be."""

    # --- a turn, and what is due later (monotonic seconds)
    def begin_turn(self, now_s: float) -> None: ...

    @property
    def next_event_s(self) -> float: ...

    # --- the transport's receiver
    def connected(self, peer: int) -> None: ...

    def disconnected(self, peer: int) -> None: ...

    def frame(self, peer: int, kind: int, body: bytes) -> None: ...

    # --- the node's listener
    def leader_changed(self, leader: int | None, term: int) -> None: ...

    def applied(self, index: int) -> None: ...

    def installed(self) -> None: ...

    def checkpointed(self, index: int) -> None: ...

    def membership_changed(self) -> None: ...


@dataclass(frozen=True)
class Manner:
    """How the processes of one run work."""

    timing: Timing
    options: JournalOptions
    checkpoint: CheckpointDistance
    threads: bool  # syncs and checkpoints in the background
    hasty: bool  # without pre-vote and stickiness
    slow_sync_rate: float
    gather_s: float


class Host:
    """See the module."""

    def __init__(
        self,
        member: int,
        first: Configuration,
        *,
        events: Events,
        network: Network,
        checker: Checker,
        manner: Manner,
        application: Callable[["Host"], Application],
        seed: str,
        may_stop: bool = False,
    ) -> None:
        """`first`: what a member of the bootstrap begins with; nobody for one that joins.

        `may_stop`: it has reason to end itself.
        """
        self.member = member
        self._first = first
        self.events = events
        self.network = network
        self._checker = checker
        self._manner = manner
        self._application = application
        self.clock = HostClock(events)
        self.rng = random.Random(f"{seed} process {member}")
        self._times = random.Random(f"{seed} times {member}")
        self._options = self._own_options()
        self.disk = SimulatedDisk(random.Random(f"{seed} disk {member}"))
        checker.disks[member] = DurableView(self.disk, ROOT, Identity(CLUSTER, member))
        network.join(member, self)
        self.life = 0
        self.node: WatchedNode | None = None
        self.application: Application | None = None
        self._neighbours: Neighbours | None = None
        self._links: dict[int, Link] = {}
        self.paused_until_s = 0.0
        self._turn_planned = False
        self._timer_s = float("inf")
        self._errors_before = 0  # disk errors of earlier lives
        self._is_gone = False
        self._may_stop = may_stop
        self.name = f"machine-{member}"
        self.address = address_of(member)
        self._moves = 0

    @property
    def is_up(self) -> bool:
        return self.node is not None

    @property
    def is_paused(self) -> bool:
        return self.events.now_s < self.paused_until_s

    @property
    def journal(self) -> WatchedJournal:
        """Return the journal of the running process."""
        journal = self._checker.journals[self.member]
        assert isinstance(journal, WatchedJournal)
        return journal

    def running(self) -> tuple[WatchedNode, Application]:
        """Return what the process of this machine consists of."""
        assert self.node is not None
        assert self.application is not None
        return self.node, self.application

    def _own_options(self) -> JournalOptions:
        """Return the journal's sizes: some members keep more of their log than others."""
        options, factor = self._manner.options, self._times.choice((1, 1, 100))
        return replace(
            options,
            margin_entries=options.margin_entries * factor,
            margin_bytes=options.margin_bytes * factor,
        )

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start the process unless it runs."""
        if self.is_up or self._is_gone:
            return
        self.life += 1
        self._turn_planned, self._timer_s = False, float("inf")
        self._errors_before = self.disk.errors
        self._guarded(self._open)
        if self.is_up:
            self.network.look_for_peers(self.member)
            self.later(RESERVE_LOOK_S, self._look_for_space)
            self.wake()

    def _open(self) -> None:
        manner = self._manner
        try:
            journal = WatchedJournal.open(
                ROOT,
                cluster_id=CLUSTER,
                member=self.member,
                first=self._first,
                files=self.disk,
                options=self._options,
            )
        except CorruptData as error:
            raise Violation("cannot start", f"member {self.member}: {error}") from error
        assert isinstance(journal, WatchedJournal)
        journal.watch(self._checker, self.member)
        application = self._application(self)
        work = self._in_background if manner.threads else None
        kind = Hasty if manner.hasty else WatchedNode
        self.node = kind(
            member=self.member, journal=journal, state=application.state,
            send=self._send, clock=self.clock, rng=self.rng, timing=manner.timing,
            listener=application, start_sync=work, start_background=work,
            checkpoint=manner.checkpoint, gather_s=manner.gather_s, checker=self._checker,
        )  # fmt: skip
        self.application = application
        self._neighbours = Neighbours(
            node=self.node, journal=journal, name=self.name, addresses={}, is_proven=True,
            edge=cast(FailStopEdge, OpenEdge()), wake=self.wake,
        )  # fmt: skip
        self._links = self._neighbours.links()
        application.started(self.node)

    def stop(self) -> None:
        """End the process in order."""
        if self.is_up:
            self._guarded(self.journal.close)
            self._ended(power=False)
            self._start_later()

    def crash(self, *, power: bool) -> None:
        """End the process, and maybe take the power from its disk, at this moment."""
        if self.is_up:
            self._checker.totals["power losses" if power else "crashes"] += 1
            self._ended(power=power)
            self._start_later()

    def leave(self) -> None:
        """End the process and never start it again: the machine is gone, with its disk."""
        self._is_gone = True
        self.crash(power=True)
        self.network.leave(self.member)
        self._checker.gone(self.member)

    def _start_later(self) -> None:
        self.events.after(self._times.uniform(*START_S), self.start)

    def _ended(self, *, power: bool) -> None:
        application, self.application, self.node = self.application, None, None
        self._neighbours = None
        self.disk.crash_at = None
        self.disk.crash(power=power)
        self.network.stopped(self.member, silently=power)
        if application is not None:
            application.stopped()
        self._checker.stopped(self.member)

    def move(self) -> None:
        """Get another address: who dials the old one finds nobody."""
        self._moves += 1
        self.address = f"{self.name}-{self._moves}:7000"

    # ------------------------------------------------------------------ work

    def _guarded(self, work: Action) -> None:
        """Do a piece of the process's work; what comes out of it ends the process, as in the product."""
        try:
            work()
        except Crashed:
            power = self._times.random() < 0.5
            self._checker.totals["crashes in file operations"] += 1
            self._checker.totals["power losses" if power else "crashes"] += 1
            self._ended(power=power)
            self._start_later()
        except (FailStop, OSError) as error:
            if self.disk.errors == self._errors_before and not self._may_stop:
                raise Violation("stopped itself", f"member {self.member}: {error}") from error
            self._checker.totals["stopped for the disk"] += 1
            self._ended(power=self._times.random() < 0.3)
            self._start_later()
        except Exception as error:  # whatever a member dies of is a finding, not the end of the run
            text = "".join(traceback.format_exception(error))
            raise Violation("exception", f"member {self.member}: {text}") from error

    def act(self, work: Action) -> None:
        """Let the process of this moment do something: now, or when it is no longer paused."""
        life = self.life

        def when_running() -> None:
            if self.life != life or not self.is_up:
                return
            if self.is_paused:
                self.events.at(self.paused_until_s, when_running)
            else:
                self._guarded(work)

        when_running()

    def wake(self) -> None:
        """Take a turn soon."""
        if not self._turn_planned and self.is_up:
            self._turn_planned = True
            life = self.life
            self.events.after(self._times.uniform(*TURN_S), lambda: self._turn(life))

    @property
    def has_turn_planned(self) -> bool:
        """Return whether something has arrived that the process has not handled yet."""
        return self._turn_planned

    def _turn(self, life: int) -> None:
        if life == self.life:
            self._turn_planned = False
            self.act(self._run)

    def _run(self) -> None:
        node, application = self.running()
        now_s = self.clock.monotonic_s()
        application.begin_turn(now_s)
        due_s = min(node.tick(), application.next_event_s - now_s)
        self._checker.memberships.check_view(self.member, node.configuration)
        self._set_timer(self.events.now_s + max(0.0, due_s))

    def _set_timer(self, at_s: float) -> None:
        if at_s >= self._timer_s - 0.0005:
            return
        self._timer_s = at_s

        def ring(life: int = self.life) -> None:
            if life == self.life and self._timer_s == at_s:
                self._timer_s = float("inf")
                self.wake()

        self.events.at(at_s, ring)

    def _in_background(self, run: Action, done: Action) -> None:
        """What a thread does: the work happens after a while, and the loop hears of it later still."""
        times = self._times
        run_s, done_s = times.uniform(0.0001, 0.003), times.uniform(0.0001, 0.003)
        if times.random() < self._manner.slow_sync_rate:
            run_s, done_s = run_s + times.uniform(0.01, 0.8), done_s + times.uniform(0.0, 0.2)

        def finished() -> None:
            done()
            self.wake()

        def running() -> None:
            run()
            self.later(done_s, finished)

        self.later(run_s, running)

    def later(self, delay_s: float, work: Action) -> None:
        """Let the process of this moment do something after a while, if it still lives."""
        life = self.life
        self.events.after(delay_s, lambda: self.act(work) if self.life == life else None)

    def members_changed(self) -> None:
        """The node says that other members count, or are sure to."""
        self.later(0.0, self._watch_members)

    def was_appended(self, start: bytes) -> bool:
        """Return whether a payload that starts so was ever in a log, of whatever member."""
        return self._checker.was_appended(start)

    def hand_over(self, target: int | None) -> None:
        """Ask the process to hand over leadership."""

        def transfer() -> None:
            node, _ = self.running()
            self._checker.totals["transfers"] += node.transfer_leadership(target)
            self.wake()

        if self.is_up:
            self.act(transfer)

    def _look_for_space(self) -> None:
        """What the product's watch over the disk does for a log that could not reserve its next segment."""
        if self.journal.is_full:
            self.journal.retry_reserve()
        self.later(RESERVE_LOOK_S, self._look_for_space)

    def check_bodies(self, state: ReplicatedState) -> None:
        """Require that every body the state needs can be read."""
        journal, per_entry = self.journal, limits.BATCH_MESSAGES_MAX
        live = state.live_bodies(0, (journal.last + 1) * per_entry, 1 << 30)
        for position in live.positions:
            if journal.stored(position // per_entry) is None:
                raise Violation("body lost", f"member {self.member}: entry {position // per_entry}")

    # ------------------------------------------------------------------ the network's side

    def _watch_members(self) -> None:
        """Other members count now: dial those that are new, close what leads to one that is gone."""
        assert self._neighbours is not None
        before, self._links = self._links, self._neighbours.links()
        for peer in before.keys() - self._links.keys():
            self.network.close(self.member, peer)
        self.network.look_for_peers(self.member)

    def link(self, peer: int) -> Link | None:
        """Return how its process reaches a peer; None: it knows of none."""
        return self._links.get(peer) if self.is_up else None

    def standing(self) -> Standing:
        """Return what its process says of itself."""
        assert self._neighbours is not None
        return self._neighbours.standing()

    def judge(self, peer: Standing) -> Refusal | None:
        """Return why its process does not talk to another one; None: it talks."""
        assert self._neighbours is not None
        return self._neighbours.judge(peer)

    def told(self, member: int, refusal: Refusal) -> None:
        """Another member refused this one."""
        neighbours = self._neighbours
        assert neighbours is not None
        self.act(lambda: neighbours.told(member, refusal))

    def _send(self, peer: int, message: RaftMessage) -> None:
        self._checker.sends(self.member, peer, message)
        self.network.send(self.member, peer, encode(message))

    def connected(self, peer: int) -> None:
        self.act(lambda: self._tell(lambda application: application.connected(peer)))

    def disconnected(self, peer: int) -> None:
        self.act(lambda: self._tell(lambda application: application.disconnected(peer)))

    def received(self, peer: int, frame: Frame) -> None:
        self.act(lambda: self._tell(lambda application: application.frame(peer, *frame)))

    def _tell(self, what: Callable[[Application], None]) -> None:
        try:
            what(self.running()[1])
        except BadFrame as error:
            raise Violation("bad frame", f"at member {self.member}: {error}") from error
