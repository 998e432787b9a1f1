"""The state machine as replication drives it: payload in, reply to whoever waits for it.

Owns the current `StateMachine` object and the way from bytes to `apply`. An entry of an unknown format, and whatever
the state machine raises while changing, stops the member with the entry's index (C-9): its state cannot be trusted.
"""

from collections.abc import Callable

from sybline.errors import FailStop
from sybline.replication.codec import UnknownFormat, decode_command, decode_header
from sybline.replication.measures import Counters
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.meta import Meta
from sybline.state_machine.replies import AnyReply, Reason, Refused
from sybline.state_machine.snapshot import UnknownSnapshot

Replied = Callable[[int, int, AnyReply], None]  # (origin, sequence, reply)


class MachineState:
    """ReplicatedState over the state machine."""

    def __init__(
        self, *, factory: type[StateMachine], replied: Replied, counters: Counters
    ) -> None:
        """`replied` is called for every applied entry, in log order."""
        self._factory = factory
        self._replied = replied
        self._counters = counters
        self._machine = factory()
        self.applying_index: int | None = (
            None  # of the entry in hand, for the last words of a member that stops
        )

    @property
    def machine(self) -> StateMachine:
        """The current state; a snapshot replaces the object, so do not keep it."""
        return self._machine

    def apply(self, index: int, term: int, payload: bytes) -> None:
        """Apply one committed entry and pass its reply on.

        Raises:
            FailStop: the entry is of a format this version does not know.
            Exception: a decided change failed (fail-stop).
        """
        self.applying_index = index
        try:
            header = decode_header(payload)
            command = decode_command(payload)
        except UnknownFormat as error:
            raise FailStop(f"entry {index} cannot be read by this version: {error}") from error
        origin, sequence = header.origin, header.sequence
        meta = Meta(index, term, header.now_ms, origin, sequence, header.answered_below)
        reply = self._machine.apply(meta, command).reply
        self._counters.entries_applied += 1
        if type(reply) is Refused and reply.reason is Reason.INTERNAL:
            self._counters.apply_errors += 1
        self._replied(origin, sequence, reply)
        self.applying_index = None

    def dump(self) -> bytes:
        """Return the state as of the last applied entry."""
        return self._machine.dump()

    def restore(self, data: bytes) -> None:
        """Replace the state by a dump.

        Raises:
            FailStop: it was not written by a version that this one knows.
        """
        try:
            self._machine = self._factory.load(data)
        except UnknownSnapshot as error:
            raise FailStop(f"the checkpoint cannot be read by this version: {error}") from error

    def oldest_live_index(self) -> int | None:
        """Return the smallest log index whose bodies the state still needs; None: none."""
        return self._machine.oldest_live_index()
