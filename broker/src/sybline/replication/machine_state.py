"""The state machine as replication drives it: payload in, reply to whoever waits for it.

Owns the current `StateMachine` object and the way from bytes to `apply`. An entry of an unknown format, and whatever
the state machine raises while changing, stops the member with the entry's index (C-9): its state cannot be trusted.
"""

from collections.abc import Callable, Iterable

from sybline.errors import FailStop
from sybline.replication.codec import UnknownFormat, decode_command, decode_header, thin
from sybline.replication.measures import Counters
from sybline.replication.state_dump import SavedState, StateDump
from sybline.state_machine.live_bodies import LiveRuns
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.meta import Meta
from sybline.state_machine.pages import Reader
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

    def begin_dump(self, first_page: int) -> StateDump:
        """Return the state as of the last applied entry."""
        return self._machine.begin_capture(first_page)

    def restore(self, saved: SavedState) -> None:
        """Replace the state by a saved one.

        Raises:
            FailStop: it was not written by a version that this one knows.
        """
        try:
            reader = Reader(saved.page, is_kept=saved.is_kept)
            self._machine = self._factory.load_capture(saved.root, reader)
        except UnknownSnapshot as error:
            raise FailStop(f"the checkpoint cannot be read by this version: {error}") from error

    def live_bodies(self, start: int, end: int, runs_max: int) -> LiveRuns:
        """Return which messages with a position in [start, end), or in a first part of it, the queues need."""
        return self._machine.live_bodies(start, end, runs_max)

    @staticmethod
    def thin(payload: bytes, live: Iterable[tuple[int, int]]) -> bytes | None:
        """Return an entry's payload with these messages' bodies only; see `codec.thin`."""
        return thin(payload, live)
