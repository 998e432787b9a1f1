"""What each session did to accounts lately, so that repeating it is safe (G-4 b).

Bounded by RETRY_OPERATIONS_MAX operations a session, oldest out first, and by RETRY_WINDOW_MS of log time. Only knows
that something was done; whether its end state still holds is for the handler to say.
"""

from collections import OrderedDict
from typing import TypeAlias

from sybline import limits

Operation: TypeAlias = tuple[str, ...]  # name of the command, then what it named
OperationsDump: TypeAlias = list[tuple[bytes, list[tuple[Operation, int]]]]


class Operations:
    """The operations of all sessions, the session whose newest is oldest first."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        # consumer -> operation -> log time when it was done, oldest first
        self._sessions: OrderedDict[bytes, dict[Operation, int]] = OrderedDict()

    def remember(self, consumer: bytes, operation: Operation, now_ms: int) -> None:
        """Note that the session did this."""
        done = self._sessions.setdefault(consumer, {})
        self._sessions.move_to_end(consumer)
        done.pop(operation, None)
        done[operation] = now_ms
        if len(done) > limits.RETRY_OPERATIONS_MAX:
            del done[next(iter(done))]

    def did(self, consumer: bytes, operation: Operation, now_ms: int) -> bool:
        """Return whether the session did this within the retry window."""
        done_ms = self._sessions.get(consumer, {}).get(operation)
        return done_ms is not None and done_ms + limits.RETRY_WINDOW_MS >= now_ms

    def forget(self, consumer: bytes) -> None:
        """Drop the memory of a session that ended."""
        self._sessions.pop(consumer, None)

    def next_due_ms(self) -> int | None:
        """Return when the next whole session's memory is out of date."""
        for done in self._sessions.values():
            return done[next(reversed(done))] + limits.RETRY_WINDOW_MS + 1
        return None

    def expire(self, now_ms: int, budget: int) -> int:
        """Drop memories that are out of date; return how many."""
        used = 0
        while used < budget:
            due_ms = self.next_due_ms()
            if due_ms is None or due_ms > now_ms:
                break
            self._sessions.popitem(last=False)
            used += 1
        return used

    def dump(self) -> OperationsDump:
        """Return all operations, in order."""
        return [(consumer, list(done.items())) for consumer, done in self._sessions.items()]

    @classmethod
    def load(cls, dump: OperationsDump) -> "Operations":
        """Return the operations of a dump."""
        operations = cls()
        for consumer, done in dump:
            operations._sessions[consumer] = dict(done)
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
