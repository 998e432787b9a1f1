"""The small state: a list of tagged commands, enough for every rule of Raft and cheap enough for many thousand runs.

Its clients propose at whichever member leads. As in the product, a write is acknowledged when the own state applies it.
"""

import random
import struct
from array import array
from collections.abc import Callable, Iterable

from sybline import limits
from sybline.errors import NotApplied, OutcomeUnknown
from sybline.replication.configuration import Change, Configuration
from sybline.replication.messages import decode
from sybline.replication.state_dump import PAGE_NUMBERS, Page, SavedState
from sybline.state_machine.live_bodies import LiveRuns
from tests.simulation.history import History, Write
from tests.simulation.host import Host
from tests.simulation.violation import Violation
from tests.simulation.watched import WatchedNode

TAG = struct.Struct("<I")
_DUMP = struct.Struct("<I")
LIVE_ENTRIES = 15  # of how many of its newest entries the state still needs the bodies
STUCK_ENTRIES = 250  # among how many of the newest ones …
STUCK_EACH = 9  # … it also needs some older bodies, one in so many
BODY_BYTES = (0, 0, 8, 40, 300)
READ_RATE = 0.4  # of what clients do
PAGE_TAGS = 16


class Tags:
    """The tags of all applied commands and their log indexes: a ReplicatedState."""

    def __init__(self, applied: Callable[[int, bytes], None]) -> None:
        self._applied = applied
        self.tags: array[int] = array("I")
        self.indexes: array[int] = array("I")
        self.saved: array[int] = array(PAGE_NUMBERS)  # pages that stay as they are

    def apply(self, index: int, _term: int, payload: bytes) -> None:
        self.tags.append(TAG.unpack_from(payload)[0])
        self.indexes.append(index)
        self._applied(index, payload[: TAG.size])

    def begin_dump(self, first_page: int) -> "TagsDump":
        return TagsDump(self, first_page)

    def restore(self, saved: SavedState) -> None:
        (count,) = _DUMP.unpack_from(saved.root)
        self.saved = array(PAGE_NUMBERS)
        self.saved.frombytes(saved.root[_DUMP.size :])
        self.tags, self.indexes = array("I"), array("I")
        for number in self.saved:
            data = saved.page(number)
            self.tags.frombytes(data[: len(data) // 2])
            self.indexes.frombytes(data[len(data) // 2 :])
        assert len(self.tags) == count
        del self.saved[count // PAGE_TAGS if saved.is_kept else 0 :]

    def live_bodies(self, start: int, end: int, runs_max: int) -> LiveRuns:
        """Return the newest entries and some older ones, a message each."""
        newest = self.indexes[-LIVE_ENTRIES:]
        stuck = (
            index for index in self.indexes[-STUCK_ENTRIES:-LIVE_ENTRIES] if not index % STUCK_EACH
        )
        positions = [index * limits.BATCH_MESSAGES_MAX for index in (*stuck, *newest)]
        positions = [position for position in positions if start <= position < end]
        if len(positions) > runs_max:
            end = positions[runs_max]
        positions = positions[:runs_max]
        counts = array("I", [1] * len(positions))
        return LiveRuns(array("Q", positions), counts, 100 * len(positions), end)

    def thin(self, payload: bytes, _live: Iterable[tuple[int, int]]) -> bytes | None:
        return payload


class TagsDump:
    """A dump of the tags, a page a slice; what was saved of full pages is only referred to."""

    def __init__(self, state: Tags, first_page: int) -> None:
        self._state = state
        self._count = len(state.tags)
        self.next_page = first_page
        self._numbers = array(PAGE_NUMBERS, state.saved)
        self._begun = len(self._numbers)

    @property
    def is_whole(self) -> bool:
        return len(self._numbers) * PAGE_TAGS >= self._count

    def collect(self, _bytes_max: int) -> list[Page]:
        if self.is_whole:
            return []
        start = len(self._numbers) * PAGE_TAGS
        part = slice(start, min(start + PAGE_TAGS, self._count))
        data = self._state.tags[part].tobytes() + self._state.indexes[part].tobytes()
        number = self.next_page
        self.next_page += 1
        self._numbers.append(number)
        return [Page(number, data)]

    def root(self) -> bytes:
        return _DUMP.pack(self._count) + self._numbers.tobytes()

    def pages(self) -> "array[int]":
        return self._numbers

    def end(self, *, saved: bool) -> None:
        if saved:
            self._state.saved = self._numbers[: self._count // PAGE_TAGS]


class TagClients:
    """The clients of one member in one life of its process; an Application."""

    def __init__(self, host: Host, history: History, next_tag: Callable[[], int]) -> None:
        self._host = host
        self._history = history
        self._next_tag = next_tag
        self.state = Tags(self._state_applied)
        self._writes: dict[bytes, Write] = {}

    def started(self, node: WatchedNode) -> None:
        self._node = node
        self._check_restored()

    def stopped(self) -> None:
        for write in self._writes.values():
            self._history.leaves_unknown(write)
        self._writes = {}

    def ask(self, rng: random.Random) -> None:
        """Read, or write one or several commands in one turn."""
        if rng.random() < READ_RATE:
            self._read()
        for _ in range(rng.choice((1, 1, 2, 6))):
            self._write(bytes(rng.choice(BODY_BYTES)))
        self._host.wake()

    def _write(self, body: bytes) -> None:
        tag = TAG.pack(self._next_tag())
        write = self._writes[tag] = self._history.proposes(tag)

        def refused(_overloaded: bool) -> None:
            self._writes.pop(tag, None)
            self._history.refuses(write)

        self._node.propose(tag + body, refused)

    def change_members(
        self, change: Change, version: int, *, force: bool, done: Callable[[object], None]
    ) -> None:
        """Change the members if this one leads."""

        def ended(configuration: Configuration | None) -> None:
            done(configuration or OutcomeUnknown("it leads no more"))

        try:
            self._node.change_members(change, expected_version=version, force=force, done=ended)
        except NotApplied as error:
            done(error)
        self._host.wake()

    def _state_applied(self, index: int, tag: bytes) -> None:
        self._history.applied(self._host.member, index, tag)
        write = self._writes.pop(tag, None)
        if write is not None:
            self._history.acknowledges(write)

    def _read(self) -> None:
        read = self._history.reads()

        def done(index: int | None) -> None:
            state_index = self._node.applied_index if index is not None else None
            self._history.read_done(self._host.member, read, state_index)

        self._node.read_index(done)

    def installed(self) -> None:
        self._history.totals["installs"] += 1
        self._check_restored()
        for tag in [tag for tag in self._writes if tag in self._history.index_of]:
            self._history.acknowledges(self._writes.pop(tag))  # the image holds it

    def _check_restored(self) -> None:
        for index, tag in zip(self.state.indexes, self.state.tags, strict=True):
            self._history.applied(self._host.member, index, TAG.pack(tag))
        self._host.check_bodies(self.state)

    def check_settled(self) -> None:
        known = self._history.in_order()
        assert [TAG.pack(tag) for tag in self.state.tags] == [tag for _, tag in known]
        assert list(self.state.indexes) == [index for index, _ in known]
        self._host.check_bodies(self.state)
        for (
            tag
        ) in self._writes:  # cut off by another leader: nobody tells, the layer above has deadlines
            if not self._host.was_appended(tag):
                raise Violation("no answer", f"member {self._host.member}: {tag.hex()} vanished")

    @property
    def is_quiet(self) -> bool:
        return True

    def begin_turn(self, _now_s: float) -> None: ...

    @property
    def next_event_s(self) -> float:
        return float("inf")

    def connected(self, peer: int) -> None:
        self._node.peer_connected(peer)
        self._host.wake()

    def disconnected(self, peer: int) -> None:
        self._node.peer_disconnected(peer)
        self._host.wake()

    def frame(self, peer: int, kind: int, body: bytes) -> None:
        message = decode(kind, body)
        if self._node.receive(peer, message):
            self._host.wake()

    def leader_changed(self, leader: int | None, term: int) -> None: ...

    def applied(self, index: int) -> None: ...

    def checkpointed(self, index: int) -> None:
        self._history.totals["checkpoints"] += 1

    def membership_changed(self) -> None:
        self._host.members_changed()
