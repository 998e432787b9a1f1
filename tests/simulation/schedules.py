"""Scripted schedules: the few histories that random runs meet too rarely, message by message.

Time stands still, so nobody acts but when told to; a message travels only when it is delivered.
"""

import random
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from sybline import limits
from sybline.replication.checkpoint import checkpoint_name
from sybline.replication.identity import Identity
from sybline.replication.journal import COMMAND, Entry, Journal
from sybline.replication.messages import decode, encode
from sybline.replication.node import CheckpointDistance
from tests.simulation.checker import Checker
from tests.simulation.configurations import FAR, QUICK, SMALL, TINY
from tests.simulation.disk import SimulatedDisk
from tests.simulation.durable import DurableView
from tests.simulation.events import Action, Events, HostClock
from tests.simulation.host import CLUSTER, ROOT
from tests.simulation.network import Frame
from tests.simulation.tags import TAG, Tags
from tests.simulation.violation import Violation
from tests.simulation.watched import Hasty, WatchedJournal

MEMBERS = (1, 2, 3, 4, 5)


def _at_once(run: Action, done: Action) -> None:
    run()
    done()


class _Silent:
    """A listener of a node whom nothing interests."""

    def leader_changed(self, leader: int | None, term: int) -> None: ...

    def applied(self, index: int) -> None: ...

    def installed(self) -> None: ...

    def checkpointed(self, index: int) -> None: ...


class Stage:
    """Five members without pre-vote, and the messages between them."""

    def __init__(self, *, forgetful: tuple[int, ...] = ()) -> None:
        """`forgetful`: members that write checkpoints and drop their log; images are verified when told to."""
        self._forgetful = forgetful
        self._background: dict[int, list[tuple[Action, Action]]] = {
            member: [] for member in MEMBERS
        }
        self.clock = HostClock(Events())
        self.disks = {member: SimulatedDisk(random.Random(member)) for member in MEMBERS}
        views = {m: DurableView(d, ROOT, Identity(CLUSTER, m)) for m, d in self.disks.items()}
        self.checker = Checker(3, views)
        self.nodes: dict[int, Hasty] = {}
        self._under_way: dict[tuple[int, int], list[Frame]] = {}
        for member in MEMBERS:
            self.start(member)

    def start(self, member: int) -> None:
        """Start a member, again if it ran."""
        disk = self.disks[member]
        if member in self.nodes:
            disk.crash(power=True)
            self.checker.stopped(member)
        journal = WatchedJournal.open(
            ROOT, cluster_id=CLUSTER, member=member, files=disk,
            options=TINY if member in self._forgetful else SMALL,
        )  # fmt: skip
        assert isinstance(journal, WatchedJournal)
        journal.watch(self.checker, member)
        self.nodes[member] = Hasty(
            member=member, voters=MEMBERS, journal=journal, state=Tags(lambda index, tag: None),
            send=lambda peer, message: self._sent(member, peer, encode(message)),
            clock=self.clock, rng=random.Random(member), timing=QUICK, listener=_Silent(),
            checkpoint=CheckpointDistance(entries=40) if member in self._forgetful else FAR,
            checker=self.checker,
            start_sync=_at_once if self._forgetful else None,
            start_background=lambda run, done: self._background[member].append((run, done)),
        )  # fmt: skip

    def _sent(self, member: int, peer: int, frame: Frame) -> None:
        self._under_way.setdefault((member, peer), []).append(frame)

    def remind(self, leader: int, follower: int) -> None:
        """Let a leader send again what it waits for."""
        self.nodes[leader].peer_connected(follower)
        self.nodes[leader].tick()

    def finish_background(self, member: int) -> int:
        """Let a member's checkpoint, or the verification of an image, come to its end; return how many there were."""
        work, self._background[member] = self._background[member], []
        for run, done in work:
            run()
            done()
        return len(work)

    def journal(self, member: int) -> Journal:
        """Return a member's journal."""
        return self.checker.journals[member]

    def propose(self, member: int, count: int) -> None:
        """Append commands at a leader, without waiting for its first commit."""
        node = self.nodes[member]
        for _ in range(count):
            node._queue_command(TAG.pack(0), lambda _result, _error: None)
        node.tick()

    def lead(self, member: int, *voters: int) -> None:
        """Let a member campaign in a new term and be elected by these."""
        node = self.nodes[member]
        node._follow(max(other.term for other in self.nodes.values()), None)
        node._campaign(self.clock.monotonic_s(), transfer=False)
        for voter in voters:
            self.deliver((member, voter), 1)
            self.deliver((voter, member), 1)
        assert node.role == "leader", f"{member} is {node.role} in {node.term}"

    def deliver(self, direction: tuple[int, int], count: int) -> None:
        """Deliver the next messages of a direction."""
        member, peer = direction
        for _ in range(count):
            frame = self._under_way[direction].pop(0)
            self.nodes[peer].receive(member, decode(*frame))  # type: ignore[arg-type]
            self.nodes[peer].tick()

    def exchange(self, one: int, other: int, rounds: int = 20) -> None:
        """Deliver everything between two members, and what comes of it."""
        for _ in range(rounds):
            for direction in ((one, other), (other, one)):
                self.deliver(direction, len(self._under_way.get(direction, [])))

    def lose(self, *kept: tuple[int, int]) -> None:
        """Lose everything under way, but for some directions."""
        self._under_way = {d: frames for d, frames in self._under_way.items() if d in kept}


def figure_8() -> None:
    """An entry of an older term is on a majority, and yet a later leader may overwrite it (paper 5.4.2)."""
    with mock.patch.object(limits, "APPEND_ENTRIES_MAX", 1):
        stage = Stage()
        stage.lead(1, 2, 3)  # term 1; its first entry stays with members 1 and 2
        stage.exchange(1, 2)
        stage.lose()
        stage.start(1)
        stage.lead(5, 3, 4)  # term 2; its first entry stays at member 5
        stage.lose()
        stage.start(5)
        stage.lead(1, 3, 4)  # term 3
        for member in (3, 4):
            stage.deliver((1, member), 1)  # the first entry of term 3 does not fit
            stage.deliver((member, 1), 1)
            stage.deliver((1, member), 1)  # the entry of term 1 does
            stage.deliver((member, 1), 1)
        stage.lose()
        stage.start(1)
        stage.lead(5, 3, 4)  # term 4, with an entry of term 2 where term 1 was on a majority
        for member in (2, 3, 4):
            stage.exchange(5, member)
    assert stage.nodes[5].commit_index >= 2


def late_answer() -> None:
    """An answer of an older leadership arrives in a later one of the same member."""
    stage = Stage()
    stage.lead(1, 3, 4)
    stage.exchange(1, 2)
    stage.propose(1, 2)  # entries 1 to 3 of term 1 are with members 1 and 2 …
    stage.deliver((1, 2), 1)  # … and the answer about it is under way
    late = (2, 1)
    stage.lose(late)
    stage.lead(3, 4, 5)  # term 2
    for member in (1, 2, 4, 5):
        stage.exchange(3, member)
    assert stage.nodes[3].commit_index == 1
    stage.lose(late)
    stage.lead(1, 4, 5)  # term 3
    stage.propose(1, 2)
    stage.exchange(1, 4)
    stage.deliver(late, 1)  # "I have entries 1 to 3", said member 2, but those were of term 1
    assert stage.nodes[1].commit_index < 2
    stage.exchange(1, 5)
    assert stage.nodes[1].commit_index == 4


def image_behind_the_log() -> None:
    """While a member verifies an image, another leader gives it the whole log and counts it."""
    stage = _overtaken_image()
    stage.finish_background(5)
    assert stage.nodes[5].applied_index == 40
    stage.exchange(2, 5)
    assert stage.nodes[5].applied_index == 62


def image_behind_the_state() -> None:
    """As before, but the member has also applied what the image holds, and more."""
    stage = _overtaken_image()
    stage.exchange(2, 5)
    stage.finish_background(5)
    assert stage.nodes[5].applied_index == 62


def _overtaken_image() -> Stage:
    """Member 5 verifies an image of member 1 and has its entries, and later ones, from member 2."""
    stage = Stage(forgetful=(1,))
    stage.lead(1, 2, 3)
    for _ in range(60):
        stage.propose(1, 1)
        stage.exchange(1, 2)
        stage.exchange(1, 3)
    stage.finish_background(1)
    stage.start(2)  # it no longer knows what is committed
    stage.lose()
    stage.remind(1, 5)
    stage.exchange(1, 5)  # the image is there, not yet verified
    stage.lose()
    stage.lead(2, 3, 4)
    stage.exchange(2, 5)
    stage.exchange(2, 3)  # committed now: members 2, 3 and 5 have it
    return stage


def two_images() -> None:
    """Another leader sends its image while the first one's is being verified (it once answered with a wrong offset)."""
    stage = Stage(forgetful=(1, 2))
    stage.lead(3, 1, 2)
    for background in ((1, 2), (1,)):  # the image of member 2 is older and shorter
        for _ in range(60):
            stage.propose(3, 1)
            stage.exchange(3, 1)
            stage.exchange(3, 2)
        for member in background:
            stage.finish_background(member)
    for leader in (1, 2):
        stage.lose()
        stage.lead(leader, 3, 4)
        stage.exchange(leader, 5)
    stage.finish_background(5)
    stage.remind(2, 5)
    stage.exchange(2, 5)
    stage.finish_background(5)
    stage.exchange(2, 3)
    stage.exchange(2, 5)
    assert stage.nodes[5].commit_index == stage.nodes[2].commit_index


def log_dropped() -> None:
    """Whenever a segment is removed, the platter has the name of the checkpoint that makes it unneeded.

    Asked of the platter at that moment: names reach the simulated disk in order, so no power loss would show it.
    """
    disk = SimulatedDisk(random.Random(1))
    journal = Journal.open(ROOT, cluster_id=CLUSTER, member=1, files=disk, options=SMALL)
    journal.set_vote(1, 1)
    removed: list[str] = []

    def look(step: str) -> None:
        path = Path(step.removeprefix("remove "))
        if step.startswith("remove ") and path.name.startswith("log-"):
            removed.append(path.name)
            if checkpoint_name(journal.checkpoint_index) not in disk.durable_files(path.parent):
                raise Violation("checkpoint not durable", f"{path.name} is removed")

    disk.before_step = look
    for _ in range(3):
        for _ in range(60):
            journal.append([Entry(journal.last + 1, 1, COMMAND, bytes(200))])
            journal.sync()
        job = journal.begin_checkpoint(journal.last, b"state")
        journal.run_checkpoint(job)
        assert journal.end_checkpoint(job, None)
    assert removed, "nothing was dropped"


SCHEDULES: dict[str, Callable[[], None]] = {
    "figure 8": figure_8,
    "late answer": late_answer,
    "image behind the log": image_behind_the_log,
    "image behind the state": image_behind_the_state,
    "two images": two_images,
    "log dropped": log_dropped,
}
