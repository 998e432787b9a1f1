"""The small state: a list of tagged commands, enough for every rule of Raft and cheap enough for many thousand runs.

Its clients propose at whichever member leads. As in the product, a write is acknowledged when the own state applies it.
"""

import random
import struct
from array import array
from collections.abc import Callable

from sybline.replication.messages import decode
from tests.simulation.history import History, Write
from tests.simulation.host import Host
from tests.simulation.violation import Violation
from tests.simulation.watched import WatchedNode

TAG = struct.Struct("<I")
_DUMP = struct.Struct("<I")
LIVE_ENTRIES = 15  # of how many of its newest entries the state still needs the bodies
BODY_BYTES = (0, 0, 8, 40, 300)
READ_RATE = 0.4  # of what clients do


class Tags:
    """The tags of all applied commands and their log indexes: a ReplicatedState."""

    def __init__(self, applied: Callable[[int, bytes], None]) -> None:
        self._applied = applied
        self.tags: array[int] = array("I")
        self.indexes: array[int] = array("I")

    def apply(self, index: int, _term: int, payload: bytes) -> None:
        self.tags.append(TAG.unpack_from(payload)[0])
        self.indexes.append(index)
        self._applied(index, payload[: TAG.size])

    def dump(self) -> bytes:
        return _DUMP.pack(len(self.tags)) + self.tags.tobytes() + self.indexes.tobytes()

    def restore(self, data: bytes) -> None:
        (count,) = _DUMP.unpack_from(data)
        middle = _DUMP.size + count * self.tags.itemsize
        self.tags, self.indexes = array("I"), array("I")
        self.tags.frombytes(data[_DUMP.size : middle])
        self.indexes.frombytes(data[middle:])

    def oldest_live_index(self) -> int | None:
        return self.indexes[-LIVE_ENTRIES:][0] if self.indexes else None


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

    def check_settled(self) -> None:
        known = self._history.in_order()
        assert [TAG.pack(tag) for tag in self.state.tags] == [tag for _, tag in known]
        assert list(self.state.indexes) == [index for index, _ in known]
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
        if self._node.receive(peer, message):  # type: ignore[arg-type]  # only Raft's are sent
            self._host.wake()

    def leader_changed(self, leader: int | None, term: int) -> None: ...

    def applied(self, index: int) -> None: ...

    def checkpointed(self, index: int) -> None:
        self._history.totals["checkpoints"] += 1
