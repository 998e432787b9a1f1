"""A journal beside a list that says what it must hold: what was promised, and what a crash may leave.

`JournalModel` runs random operations on a simulated disk. After a crash, `open` requires that the recovered log is one
of the states it went through since the last promise, and that vote and checkpoint are the promised ones, or the ones
under way.
"""

import random
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from sybline import limits
from sybline.replication.cold_file import Needs
from sybline.replication.configuration import NO_MEMBERS, Configuration
from sybline.replication.journal import Entry, Installation, Journal, JournalOptions
from tests.simulation.disk import SimulatedDisk
from tests.support.paged_bytes import PagedBytes, finish_install, read_state, write_state

ROOT = Path("/data")
Log = dict[int, Entry]
SMALL = JournalOptions(segment_bytes=600, recent_bytes=3000, margin_entries=3, margin_bytes=5000)


def journal_on(
    disk: SimulatedDisk,
    *,
    member: int = 1,
    root: Path = ROOT,
    options: JournalOptions = SMALL,
    first: Configuration = NO_MEMBERS,
) -> Journal:
    """Open a journal of the tests' cluster."""
    return Journal.open(
        root, cluster_id="test", member=member, first=first, files=disk, options=options
    )


def entries_of(journal: Journal) -> Log:
    """Read the whole log back, one by one and in slices, which must agree."""
    one_by_one = {i: journal.entry(i) for i in range(journal.first, journal.last + 1)}
    if one_by_one:
        sliced = []
        while journal.first + len(sliced) <= journal.last:
            sliced += journal.slice(journal.first + len(sliced), journal.last, 500)
        assert sliced == list(one_by_one.values())
    for index, entry in one_by_one.items():
        assert journal.term(index) == entry.term
    return one_by_one


def send_image(source: Journal, target: Journal, chunk: int) -> Installation:
    """Copy an image to another member, without finishing it."""
    image = source.open_image()
    install = target.begin_install(image.index, image.term, image.total_bytes, image.image_id)
    while install.received < image.total_bytes:
        install.write(install.received, image.read(install.received, chunk))
    image.close()
    return install


@dataclass
class JournalModel:
    """One member's journal and what is known about it."""

    disk: SimulatedDisk
    rng: random.Random
    options: JournalOptions = SMALL
    states: list[Log] = field(default_factory=lambda: [{}])  # since the last promise, oldest first
    votes: list[tuple[int, int | None]] = field(default_factory=lambda: [(0, None)])
    checkpoints: list[tuple[int, bytes | None]] = field(default_factory=lambda: [(0, None)])
    floor: int = 1  # the oldest entry that must still be there
    opened: int = 0
    pages: PagedBytes = field(default_factory=PagedBytes)
    needed: Log = field(default_factory=dict)  # entries whose bodies the state needs now
    saved_needs: dict[int, Log] = field(
        default_factory=lambda: {0: {}}
    )  # by index of a checkpoint in `checkpoints`

    def open(self) -> None:
        """Open for the first time, or after a crash, and compare."""
        self.journal = journal_on(self.disk, options=self.options)
        self.opened += 1
        self.pages = PagedBytes()
        self.check_recovered()

    def check_recovered(self) -> None:
        """Require what was promised, and take over what was found."""
        journal = self.journal
        assert (journal.current_term, journal.voted_for) in self.votes
        found = (journal.checkpoint_index, read_state(journal.load_checkpoint()))
        assert found in self.checkpoints, (found, self.checkpoints)
        log = entries_of(journal)
        assert journal.durable == journal.last
        assert any(self._same(log, journal, state) for state in self.states), (
            log, journal.first, journal.last, self.states,
        )  # fmt: skip
        assert journal.first <= self.floor
        self.states = [log]
        self.votes = [(journal.current_term, journal.voted_for)]
        self.checkpoints = [found]
        self.floor = journal.first
        self.needed = dict(self.saved_needs.get(found[0], {}))
        self.saved_needs = {found[0]: dict(self.needed)}
        self.check_bodies()

    @staticmethod
    def _same(log: Log, journal: Journal, state: Log) -> bool:
        last = max(state, default=journal.checkpoint_index)
        return last == journal.last and all(
            log[i] == state.get(i) for i in range(journal.first, last + 1)
        )

    @property
    def log(self) -> Log:
        """Return the log as it should be now."""
        return self.states[-1]

    # ---- operations, each of which may be interrupted anywhere

    def append(self, count: int, bytes_max: int = 120) -> None:
        """Add entries of random size and kind."""
        journal, rng = self.journal, self.rng
        new = [
            Entry(
                journal.last + 1 + n, journal.current_term, rng.randint(0, 2),
                rng.randbytes(rng.choice([0, rng.randint(1, bytes_max)])),
            )
            for n in range(count)
        ]  # fmt: skip
        for entry in new:
            self.states.append({**self.log, entry.index: entry})
        journal.append(new)

    def truncate(self, back: int) -> None:
        """Cut off some of the newest entries."""
        index = max(self.journal.last + 1 - back, self.journal.checkpoint_index + 1)
        if index < self.journal.first or index > self.journal.last:
            return
        self.states.append({i: e for i, e in self.log.items() if i < index})
        self.journal.truncate_from(index)

    def sync(self) -> None:
        """Make everything durable; from then on it is promised."""
        self.journal.sync()
        assert self.journal.durable == self.journal.last
        self.states = [self.log]

    def sync_while_busy(self) -> None:
        """Add and cut while a batch is being written; only what its promise says counts afterwards."""
        batch = self.journal.begin_sync()
        if batch is None:
            return
        begun = self.log
        self.rng.choice([lambda: self.append(2), lambda: self.truncate(3), lambda: None])()
        self.journal.run_sync(batch)
        self.journal.end_sync(batch)
        since = next(n for n, state in enumerate(self.states) if state is begun)
        self.states = self.states[since:]

    def vote(self) -> None:
        """Go to a later term, with or without a vote."""
        vote = (self.journal.current_term + 1, self.rng.choice([None, 1, 2, 3]))
        self.votes.append(vote)
        self.journal.set_vote(*vote)
        self.votes = [vote]

    def checkpoint(self) -> None:
        """Save the state as of a durable entry, and drop what it makes unneeded."""
        journal = self.journal
        if journal.durable <= journal.checkpoint_index:
            return
        index = self.rng.randint(journal.checkpoint_index + 1, journal.durable)
        state = self.rng.randbytes(self.rng.randint(0, 300))
        since = self.checkpoints[0][0] + 1
        self.needed |= {i: e for i, e in self.log.items() if since <= i <= index and i % 3 == 0}
        self.settle()
        self.checkpoints.append((index, state))
        self.saved_needs[index] = dict(self.needed)
        errors, floor = self.disk.errors, self.floor
        self.floor = max(floor, index)
        job = write_state(journal, index, state, self.pages, self._has_live)
        if self.disk.errors == errors:
            self.checkpoints = [(index, state)]
        else:  # the disk was full, so it is given up and nothing has changed
            self.checkpoints.pop()
            self.floor = floor
            self.needed = {
                i: e for i, e in self.needed.items() if i < since
            }  # those may be cut off
        assert journal.end_checkpoint(job) == (self.disk.errors == errors)
        assert (
            journal.checkpoint_index,
            read_state(journal.load_checkpoint()),
        ) == self.checkpoints[0]
        assert journal.first <= self.floor

    # ---- the bodies that the state needs

    def _has_live(self, first: int, end: int) -> bool:
        return any(first <= index < end for index in self.needed)

    def settle(self) -> None:
        """Need some bodies no more."""
        for index in self.rng.sample(sorted(self.needed), len(self.needed) // 3):
            del self.needed[index]

    def survey(self) -> None:
        """Tell the journal what is needed of its cold files, unless it still has to act on what it knows."""
        checkpoint = self.journal.checkpoint_index
        if self.journal.cold.has_rewrites(checkpoint):
            return
        as_of = checkpoint + (
            self.needed != self.saved_needs[checkpoint]
        )  # bodies are settled by entries
        for file in self.journal.cold.tier:
            found = [index for index in sorted(self.needed) if file.base <= index < file.next_index]
            positions = array("Q", [index * limits.BATCH_MESSAGES_MAX for index in found])
            size = sum(len(self.needed[index].payload) + 40 for index in found)
            counts = array("I", [1] * len(found))
            file.needs = Needs(as_of, positions, counts, size)

    def look_after_files(self) -> None:
        """Do everything that there is to do about cold files."""
        self.survey()
        index = self.journal.checkpoint_index
        while (work := self.journal.cold.next_work(index, lambda payload, _: payload)) is not None:
            work.run()
            work.done()
        self.check_bodies()

    def scrub(self) -> None:
        """Read all cold files again."""
        self.journal.cold.begin_scrub()
        while (work := self.journal.cold.next_scrub()) is not None:
            work.run()

    def check_bodies(self) -> None:
        """Require every body that the newest checkpoint's state, and hence any later one, needs."""
        for index, entry in self.saved_needs[self.journal.checkpoint_index].items():
            assert self.journal.stored(index) == entry, index

    def install(self, source: Journal, needs: Log) -> bool:
        """Receive an image if it is ahead of this log; `needs`: what its state needs."""
        image_log = {i: source.entry(i) for i in range(source.first, source.checkpoint_index + 1)}
        if source.checkpoint_index <= self.journal.last:
            return False
        if self.journal.current_term < source.current_term:
            self.votes.append((source.current_term, None))
            self.journal.set_vote(source.current_term, None)
            self.votes = [(source.current_term, None)]
        install = send_image(source, self.journal, self.rng.randint(50, 3000))
        state = read_state(source.load_checkpoint())
        self.states = [*self.states, image_log]
        self.checkpoints = [*self.checkpoints, (source.checkpoint_index, state)]
        self.saved_needs[source.checkpoint_index] = needs
        self.floor = max(self.floor, source.first)
        assert finish_install(install) == state
        self.pages = PagedBytes()
        self.states, self.checkpoints = [image_log], [(source.checkpoint_index, state)]
        self.needed = dict(needs)
        self.check_now()
        return True

    def check_now(self) -> None:
        """Compare what can be read now with what should be there."""
        log = entries_of(self.journal)
        assert self.journal.last == max(self.log, default=self.journal.checkpoint_index)
        assert all(log[i] == self.log[i] for i in log)

    def restart(self, *, power: bool) -> None:
        """Crash between operations, and open again."""
        self.disk.crash(power=power)
        self.open()

    def step(self) -> None:
        """Do one random operation."""
        operations = [
            (lambda: self.append(self.rng.randint(1, 4)), 8),
            (lambda: self.truncate(self.rng.randint(1, 6)), 2),
            (self.sync, 5),
            (self.sync_while_busy, 3),
            (self.vote, 1),
            (self.checkpoint, 1),
            (self.check_now, 1),
            (self.settle, 1),
            (self.look_after_files, 2),
            (self.scrub, 1),
        ]
        self.rng.choices([o for o, _ in operations], [w for _, w in operations])[0]()
