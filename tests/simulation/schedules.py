"""Scripted schedules: the few histories that random runs meet too rarely, message by message.

Time stands still, so nobody acts but when told to; a message travels only when it is delivered.
"""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

from sybline import limits
from sybline.errors import NotApplied
from sybline.replication.checkpoint import (
    NO_CHECKPOINT,
    PREFIX,
    CheckpointOwner,
    checkpoint_name,
    load_root,
)
from sybline.replication.checkpoint_store import CheckpointStore
from sybline.replication.configuration import (
    Change,
    MemberInfo,
    Promote,
    Remove,
    first_configuration,
)
from sybline.replication.identity import Identity
from sybline.replication.journal import COMMAND, Entry, Journal
from sybline.replication.messages import RaftMessage, decode, encode
from sybline.replication.node import CheckpointDistance
from sybline.replication.state_dump import WholeDump
from tests.simulation.checker import Checker
from tests.simulation.configurations import FAR, QUICK, SMALL, TINY
from tests.simulation.disk import SimulatedDisk
from tests.simulation.durable import DurableView
from tests.simulation.events import Action, Events, HostClock
from tests.simulation.host import CLUSTER, ROOT
from tests.simulation.memberships import Memberships
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

    def membership_changed(self) -> None: ...


class Stage:
    """Five members without pre-vote, and the messages between them."""

    def __init__(
        self, *, forgetful: tuple[int, ...] = (), voters: tuple[int, ...] = MEMBERS
    ) -> None:
        """`forgetful`: members that write checkpoints and drop their log; images are verified when told to.

        `voters`: of the first configuration; all others are learners in it.
        """
        self._forgetful = forgetful
        self._background: dict[int, list[tuple[Action, Action]]] = {
            member: [] for member in MEMBERS
        }
        self.clock = HostClock(Events())
        self.disks = {member: SimulatedDisk(random.Random(member)) for member in MEMBERS}
        views = {m: DurableView(d, ROOT, Identity(CLUSTER, m)) for m, d in self.disks.items()}
        members = (MemberInfo(member, "", "", voter=member in voters) for member in MEMBERS)
        self.first = first_configuration(members, cluster_uid=1)
        self.checker = Checker(Memberships(self.first), views)
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
            ROOT, cluster_id=CLUSTER, member=member, first=self.first, files=disk,
            options=TINY if member in self._forgetful else SMALL,
        )  # fmt: skip
        assert isinstance(journal, WatchedJournal)
        journal.watch(self.checker, member)
        self.nodes[member] = Hasty(
            member=member, journal=journal, state=Tags(lambda index, tag: None),
            send=lambda peer, message: self._sent(member, peer, message),
            clock=self.clock, rng=random.Random(member), timing=QUICK, listener=_Silent(),
            checkpoint=CheckpointDistance(entries=40) if member in self._forgetful else FAR,
            checker=self.checker,
            start_sync=_at_once if self._forgetful else None,
            start_background=lambda run, done: self._background[member].append((run, done)),
        )  # fmt: skip
        for other in MEMBERS:
            self.nodes[member].peer_connected(other)

    def _sent(self, member: int, peer: int, message: RaftMessage) -> None:
        self.checker.sends(member, peer, message)
        self._under_way.setdefault((member, peer), []).append(encode(message))

    def remind(self, leader: int, follower: int) -> None:
        """Let a leader send again what it waits for."""
        self.nodes[leader].peer_connected(follower)
        self.nodes[leader].tick()

    def finish_background(self, member: int) -> int:
        """Let a member's checkpoint, or the verification of an image, come to its end; return how many there were."""
        count = len(self._background[member])
        while work := self._background[member]:
            run, done = work.pop(0)
            run()
            done()
        return count

    def journal(self, member: int) -> Journal:
        """Return a member's journal."""
        return self.checker.journals[member]

    def propose(self, member: int, count: int) -> None:
        """Append commands at a leader, without waiting for its first commit."""
        node = self.nodes[member]
        for _ in range(count):
            node._queue_command(TAG.pack(0), lambda _result, _error: None)
        node.tick()

    def change(self, member: int, change: Change) -> bool:
        """Ask a member for a change, forced, and return whether it was appended."""
        node = self.nodes[member]
        try:
            node.change_members(
                change, expected_version=node.configuration.version, force=True,
                done=lambda _configuration: None,
            )  # fmt: skip
        except NotApplied:
            return False
        node.tick()
        return True

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
            self.nodes[peer].receive(member, decode(*frame))
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


def _keep_all(payload: bytes, _live: Iterable[tuple[int, int]]) -> bytes:
    return payload


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
        job = journal.begin_checkpoint(journal.last, WholeDump(b"state"), live=lambda *_: False)
        journal.run_checkpoint(job)
        assert journal.end_checkpoint(job)
        while (work := journal.cold.next_work(journal.checkpoint_index, _keep_all)) is not None:
            journal.run_upkeep(journal.cold, work.run)
            work.done()
    assert removed, "nothing was dropped"


def cut_while_synced() -> None:
    """Entries are cut and replaced while the older ones are being synced: that proves nothing of the newer ones."""
    disk = SimulatedDisk(random.Random(1))
    journal = Journal.open(ROOT, cluster_id=CLUSTER, member=1, files=disk, options=SMALL)
    view = DurableView(disk, ROOT, Identity(CLUSTER, 1))
    journal.set_vote(2, None)
    journal.append([Entry(index, 1, COMMAND, b"older") for index in (1, 2, 3)])
    batch = journal.begin_sync()
    assert batch is not None
    journal.truncate_from(2)
    journal.append([Entry(index, 2, COMMAND, b"newer") for index in (2, 3)])
    journal.run_sync(batch)
    journal.end_sync(batch)
    if not view.holds(journal.durable, journal.term(journal.durable)):
        raise Violation("answer not durable", f"{journal.durable} is said to be on disk")
    journal.sync()
    assert view.holds(3, 2)


def pages_durable() -> None:
    """Whenever a checkpoint gets its name, the platter has the names of all page files that it needs.

    Asked of the platter at that moment: names reach the simulated disk in order, so no power loss would show it.
    """
    disk = SimulatedDisk(random.Random(1))
    files = CheckpointStore(
        disk, ROOT, CheckpointOwner(bytes(16), 0), NO_CHECKPOINT, file_bytes=500
    )
    disk.make_directory(ROOT)
    disk.sync_directory(ROOT.parent)
    state = Tags(lambda _index, _tag: None)
    named = 0

    def look(step: str) -> None:
        nonlocal named
        if step.startswith("rename ") and PREFIX in step:
            named += 1
            facts, _ = load_root(disk, Path(step.split()[1]), CheckpointOwner(bytes(16), 0))
            durable = disk.durable_files(ROOT)
            for name, _ in facts.names()[1:]:
                if name not in durable:
                    raise Violation("pages not durable", name)

    disk.before_step = look
    for index in range(1, 200):
        state.apply(index, 1, TAG.pack(index))
        if index % 40 == 0:
            job = files.begin(
                index, 1, state.begin_dump(files.next_page), configuration=b"", needed=()
            )
            files.run(job)
            while not job.is_done:
                job.collect()
                files.run(job)
            assert files.end(job)
    assert named == 4


def change_before_the_first_commit() -> None:
    """A leader that changes the members before it has committed anything undoes what is committed (raft-dev, 2015).

    Two leaders make a change each from the same configuration, and the majorities of the two have no member in common.
    """
    stage = Stage(voters=(1, 2, 3, 4))
    stage.lead(1, 2, 3)
    for member in (2, 3, 4, 5):
        stage.exchange(1, member)
    assert stage.change(1, Promote(5))
    stage.deliver((1, 5), 1)  # five voters, as 1 and 5 know
    stage.lose()
    stage.lead(2, 3, 4)
    stage.lose()
    stage.change(2, Remove(1))  # three, as 2 and 3 would know
    stage.exchange(2, 3)
    stage.lose()
    stage.lead(1, 4, 5)
    for member in (2, 3, 4, 5):
        stage.exchange(1, member)
    assert stage.nodes[1].configuration.voters == {1, 2, 3, 4, 5}


def learners_confirm_nothing() -> None:
    """A leader that only learners still answer does not know whether it leads: it answers no read."""
    stage = Stage(voters=(1, 2, 3))
    stage.lead(1, 2, 3)
    for member in (2, 3, 4, 5):
        stage.exchange(1, member)
    stage.lose()
    stage.lead(2, 3)
    stage.exchange(2, 3)  # a new leader, and a commit that member 1 knows nothing of
    answers: list[int | None] = []
    stage.nodes[1].read_index(answers.append)
    stage.nodes[1].tick()
    for member in (4, 5):
        stage.exchange(1, member)
    if answers:
        raise Violation("stale read", f"member 1 reads at {answers}, learners confirmed it")


def removed_but_needed() -> None:
    """A member alone has the entry that removes it: nobody can lead before it has led again (thesis 4.2.2)."""
    stage = Stage(voters=(1, 2))
    stage.lead(2, 1)
    for member in (1, 3, 4, 5):
        stage.exchange(2, member)
    assert stage.change(2, Remove(2))
    stage.start(2)
    stage.lose()
    stage.nodes[2]._time_is_up(stage.clock.monotonic_s())
    stage.exchange(2, 1)
    for member in (1, 2):
        node = stage.nodes[member]
        if node.configuration.voters != {1} or not node.is_configuration_committed:
            raise Violation("no agreement", f"member {member} goes by {node.configuration}")
    if stage.nodes[2].role == "leader":
        raise Violation("leads on", "member 2, although its removal is committed")


SCHEDULES: dict[str, Callable[[], None]] = {
    "pages durable": pages_durable,
    "figure 8": figure_8,
    "late answer": late_answer,
    "image behind the log": image_behind_the_log,
    "image behind the state": image_behind_the_state,
    "two images": two_images,
    "log dropped": log_dropped,
    "cut while synced": cut_while_synced,
    "change before the first commit": change_before_the_first_commit,
    "learners confirm nothing": learners_confirm_nothing,
    "removed but needed": removed_but_needed,
}
