"""First replies of numbered requests, so that a command that is proposed again is applied once (P-9, ADR-0003).

Owns, for each proposing process, the replies it may still wait for. Bounded by REPLY_WEIGHT_MAX a process and by
ORIGINS_MAX processes; a process that was silent for REQUEST_ORIGIN_IDLE_MS of log time is forgotten.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct, msgpack

from sybline import limits
from sybline.state_machine.meta import Meta
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.replies import AnyReply, CheckedOut, Reason, Refused, Settled
from sybline.state_machine.tables import Table

_PROCESSES_PER_PAGE: Final = (
    1  # each request moves its process to the end, which costs nothing when it is alone
)
_FORGOTTEN = Refused(Reason.REPLY_FORGOTTEN)


class OriginDump(Struct, frozen=True, array_like=True):
    """One process; replies in the order in which they were given."""

    origin: int
    floor: int
    last_ms: int
    replies: list[tuple[int, AnyReply]]


class _Origin:
    """The replies of one process from `floor` on."""

    __slots__ = ("floor", "last_ms", "replies", "weight")

    def __init__(self, floor: int) -> None:
        self.floor = floor  # no reply to a smaller sequence is kept
        self.last_ms = 0
        self.replies: dict[int, AnyReply] = {}
        self.weight = 0

    def keep(self, sequence: int, reply: AnyReply) -> None:
        if sequence < self.floor:
            return  # its caller has given up
        self.replies[sequence] = reply
        self.weight += _weight(reply)
        while self.weight > limits.REPLY_WEIGHT_MAX:
            self._drop_smallest()

    def raise_floor(self, floor: int) -> None:
        if floor - self.floor > len(self.replies):
            for sequence in [sequence for sequence in self.replies if sequence < floor]:
                self._drop(sequence)
        else:
            for sequence in range(self.floor, floor):
                self._drop(sequence)
        self.floor = max(self.floor, floor)

    def _drop_smallest(self) -> None:
        if self.floor not in self.replies:
            self.floor = min(self.replies)
        self._drop(self.floor)
        self.floor += 1

    def _drop(self, sequence: int) -> None:
        reply = self.replies.pop(sequence, None)
        if reply is not None:
            self.weight -= _weight(reply)


def _weight(reply: AnyReply) -> int:
    if isinstance(reply, CheckedOut):
        return 1 + len(reply.deliveries)
    if isinstance(reply, Settled):
        return 1 + len(reply.failed)
    return 1


_decoder = msgpack.Decoder(list[OriginDump])


def _dump(rows: Iterable[tuple[int, _Origin]]) -> list[OriginDump]:
    return [
        OriginDump(origin, known.floor, known.last_ms, list(known.replies.items()))
        for origin, known in rows
    ]


def _load(dump: list[OriginDump]) -> Iterator[tuple[int, _Origin]]:
    for stored in dump:
        known = _Origin(stored.floor)
        known.last_ms = stored.last_ms
        known.replies = dict(stored.replies)
        known.weight = sum(map(_weight, known.replies.values()))
        yield stored.origin, known


def _encode(rows: dict[int, _Origin]) -> bytes:
    return msgpack.encode(_dump(rows.items()))


class Requests:
    """The replies of all processes, the longest silent first."""

    __slots__ = ("_origins",)

    def __init__(self) -> None:
        self._origins: Table[int, _Origin] = Table(_PROCESSES_PER_PAGE, _encode)

    def reply_to(self, origin: int, sequence: int) -> AnyReply | None:
        """Return the first reply of a request; None: it was not applied, or its reply is no longer kept."""
        known = self._origins.get(origin)
        return None if known is None else known.replies.get(sequence)

    def repeated(self, meta: Meta) -> AnyReply | None:
        """Return the answer to a request that must not be applied; None: apply it.

        Below the floor nobody waits any more, or the table overflowed: the outcome is not known here.
        """
        known = self._origins.get(meta.origin)
        if known is None:
            return None
        if meta.sequence < known.floor:
            return _FORGOTTEN
        return known.replies.get(meta.sequence)

    def remember(self, meta: Meta, reply: AnyReply, now_ms: int) -> None:
        """Keep the first reply of a request."""
        if meta.origin in self._origins:
            self._origins.move_to_end(meta.origin)
        else:
            self._origins.put(meta.origin, _Origin(meta.answered_below))
            if len(self._origins) > limits.REQUEST_ORIGINS_MAX:
                self._origins.remove(next(iter(self._origins)))
        known = self._origins.changes(meta.origin)
        if meta.answered_below > known.floor:
            known.raise_floor(meta.answered_below)
        known.last_ms = now_ms
        known.keep(meta.sequence, reply)

    def next_due_ms(self) -> int | None:
        """Return when the longest silent process is forgotten."""
        first = self._origins.first()
        return None if first is None else first[1].last_ms + limits.REQUEST_ORIGIN_IDLE_MS + 1

    def expire(self, now_ms: int, budget: int) -> int:
        """Forget silent processes; return how many."""
        used = 0
        while used < budget:
            due_ms = self.next_due_ms()
            if due_ms is None or due_ms > now_ms:
                break
            self._origins.remove(next(iter(self._origins)))
            used += 1
        return used

    def dump(self) -> list[OriginDump]:
        """Return all replies, in order."""
        return _dump(self._origins.items())

    @classmethod
    def load(cls, dump: list[OriginDump]) -> "Requests":
        """Return the replies of a dump."""
        requests = cls()
        for origin, known in _load(dump):
            requests._origins.put(origin, known)
        return requests

    def capture(self, capture: Capture) -> bytes:
        """Include all replies and return the numbers of their pages."""
        return self._origins.capture(capture)

    @classmethod
    def load_pages(cls, pages: bytes, reader: Reader) -> "Requests":
        """Return the replies in pages."""
        requests = cls()
        requests._origins.load(pages, reader, lambda page: _load(_decoder.decode(page)))
        return requests

    def check_invariants(self) -> None:
        """Raise AssertionError when the table contradicts itself."""
        assert len(self._origins) <= limits.REQUEST_ORIGINS_MAX
        for known in self._origins.values():
            assert known.weight == sum(map(_weight, known.replies.values()))
            assert known.weight <= limits.REPLY_WEIGHT_MAX
            assert all(sequence >= known.floor for sequence in known.replies)
