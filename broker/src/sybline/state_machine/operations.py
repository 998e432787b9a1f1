"""What each session did to accounts lately, so that repeating it is safe (G-4 b).

Bounded by RETRY_OPERATIONS_MAX operations a session, oldest out first, and by RETRY_WINDOW_MS of log time. Only knows
that something was done; whether its end state still holds is for the handler to say.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from msgspec import msgpack

from sybline import limits
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.tables import Table

Operation: TypeAlias = tuple[str, ...]  # name of the command, then what it named
OperationsDump: TypeAlias = list[tuple[bytes, list[tuple[Operation, int]]]]
_Done: TypeAlias = dict[Operation, int]
_SESSIONS_PER_PAGE: Final = 16
_decoder = msgpack.Decoder(OperationsDump)


def _dump(rows: Iterable[tuple[bytes, _Done]]) -> OperationsDump:
    return [(consumer, list(done.items())) for consumer, done in rows]


def _encode(rows: dict[bytes, _Done]) -> bytes:
    return msgpack.encode(_dump(rows.items()))


def _decode(page: bytes) -> Iterator[tuple[bytes, _Done]]:
    for consumer, done in _decoder.decode(page):
        yield consumer, dict(done)


def _due_ms(done: _Done) -> int:
    return done[next(reversed(done))] + limits.RETRY_WINDOW_MS + 1


class Operations:
    """The operations of all sessions, the session whose newest is oldest first."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        # consumer -> operation -> log time when it was done, oldest first
        self._sessions: Table[bytes, _Done] = Table(_SESSIONS_PER_PAGE, _encode)

    def remember(self, consumer: bytes, operation: Operation, now_ms: int) -> None:
        """Note that the session did this."""
        if consumer in self._sessions:
            self._sessions.move_to_end(consumer)
        else:
            self._sessions.put(consumer, {})
        done = self._sessions.changes(consumer)
        done.pop(operation, None)
        done[operation] = now_ms
        if len(done) > limits.RETRY_OPERATIONS_MAX:
            del done[next(iter(done))]

    def did(self, consumer: bytes, operation: Operation, now_ms: int) -> bool:
        """Return whether the session did this within the retry window."""
        done_ms = (self._sessions.get(consumer) or {}).get(operation)
        return done_ms is not None and done_ms + limits.RETRY_WINDOW_MS >= now_ms

    def forget(self, consumer: bytes) -> None:
        """Drop the memory of a session that ended."""
        if consumer in self._sessions:
            self._sessions.remove(consumer)

    def next_due_ms(self) -> int | None:
        """Return when the next whole session's memory is out of date."""
        first = self._sessions.first()
        return None if first is None else _due_ms(first[1])

    def expire(self, now_ms: int, budget: int) -> int:
        """Drop memories that are out of date; return how many."""
        used = 0
        while used < budget:
            first = self._sessions.first()
            if first is None or _due_ms(first[1]) > now_ms:
                break
            self._sessions.remove(first[0])
            used += 1
        return used

    def dump(self) -> OperationsDump:
        """Return all operations, in order."""
        return _dump(self._sessions.items())

    @classmethod
    def load(cls, dump: OperationsDump) -> "Operations":
        """Return the operations of a dump."""
        operations = cls()
        for consumer, done in dump:
            operations._sessions.put(consumer, dict(done))
        return operations

    def capture(self, capture: Capture) -> bytes:
        """Include all operations and return the numbers of their pages."""
        return self._sessions.capture(capture)

    @classmethod
    def load_pages(cls, pages: bytes, reader: Reader) -> "Operations":
        """Return the operations in pages."""
        operations = cls()
        operations._sessions.load(pages, reader, _decode)
        return operations

    def check_invariants(self) -> None:
        """Raise AssertionError when the memory contradicts itself."""
        newest = []
        for done in self._sessions.values():
            assert 0 < len(done) <= limits.RETRY_OPERATIONS_MAX
            times = list(done.values())
            assert times == sorted(times)
            newest.append(times[-1])
        assert newest == sorted(newest)
