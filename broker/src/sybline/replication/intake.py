"""What a leader does with proposals, its own and those other members forward: stamp, bound, hand to the node.

Sans I/O. Owns the count of forwarded commands in flight per peer. It answers a peer only when a command was definitely
not appended; everything else the peer sees in its own log (ADR-0003). It may be asked while this member does not lead:
then the node refuses, and so does this.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from sybline import limits
from sybline.replication.codec import decode_command, decode_header, stamp
from sybline.replication.measures import Counters

Refusal = Callable[[bool], None]  # called with whether it was overload


class Appender(Protocol):
    """Hands a stamped payload to the node; `refused(overloaded)` is called iff it was definitely not appended."""

    def __call__(self, payload: bytes, refused: Refusal, /) -> None: ...


class Intake:
    """The door of the leader's log."""

    def __init__(
        self,
        *,
        append: Appender,
        stamp_ms: Callable[[], int],
        refuse: Callable[[int, int, int, bool], None],
        counters: Counters,
    ) -> None:
        """`refuse(peer, origin, sequence, overloaded)` tells a peer."""
        self._append = append
        self._stamp_ms = stamp_ms
        self._refuse = refuse
        self._counters = counters
        self._in_flight: dict[tuple[int, int], tuple[int, int]] = {}  # number -> peer, bytes
        self._count: dict[int, int] = {}  # of peer
        self._bytes = 0

    def propose(self, payload: bytes, refused: Refusal) -> None:
        """Take a command of this member."""
        self._append(stamp(payload, self._stamp_ms()), refused)

    def forwarded(self, peer: int, payload: bytes) -> None:
        """Take a command of another member.

        Raises:
            UnknownFormat: not a command this version knows. In the log it would stop every member, so it must not get
                there, whoever sent it.
        """
        header = decode_header(payload)
        decode_command(payload)
        self._counters.forwarded_in += 1
        number = (header.origin, header.sequence)
        if not self._has_room(peer, len(payload)):
            self._counters.proposals_refused += 1
            self._refuse(peer, *number, True)
            return
        self._enter(number, peer, len(payload))
        self._append(stamp(payload, self._stamp_ms()), partial(self._refused, peer, number))

    def applied(self, origin: int, sequence: int) -> None:
        """An entry was applied here: what was forwarded for it is no longer in flight."""
        if self._in_flight:
            self._leave((origin, sequence))

    def reset(self) -> None:
        """Leadership changed: nothing forwarded is in flight here any more."""
        self._in_flight.clear()
        self._count.clear()
        self._bytes = 0

    def in_flight(self, peer: int) -> int:
        """Return how many commands of a peer are in flight."""
        return self._count.get(peer, 0)

    def _has_room(self, peer: int, size_bytes: int) -> bool:
        return (
            self._count.get(peer, 0) < limits.FORWARDED_PER_PEER_MAX
            and self._bytes + size_bytes <= limits.PENDING_PROPOSAL_BYTES_MAX
        )

    def _enter(self, number: tuple[int, int], peer: int, size_bytes: int) -> None:
        self._leave(number)  # the same command again, after a broken connection: counted once
        self._in_flight[number] = (peer, size_bytes)
        self._count[peer] = self._count.get(peer, 0) + 1
        self._bytes += size_bytes

    def _leave(self, number: tuple[int, int]) -> None:
        entry = self._in_flight.pop(number, None)
        if entry is not None:
            peer, size_bytes = entry
            self._count[peer] -= 1
            self._bytes -= size_bytes

    def _refused(self, peer: int, number: tuple[int, int], overloaded: bool) -> None:
        self._leave(number)
        self._counters.proposals_refused += 1
        self._refuse(peer, *number, overloaded)
