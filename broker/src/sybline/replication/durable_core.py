"""Nothing leaves before what it depends on is on disk (rules 3 and 5).

Owns the sync of the journal and the messages that wait for it. A storage error ends the member: nothing is retried.
"""

from collections.abc import Callable, Sequence
from random import Random

from sybline.clock import Clock
from sybline.errors import FailStop
from sybline.replication.journal import Journal, SyncBatch
from sybline.replication.messages import RaftMessage
from sybline.replication.quirks import SyncObjCore
from sybline.replication.timing import Timing

Background = Callable[
    [Callable[[], None], Callable[[], None]], None
]  # (run in a thread, then on the loop)
PROPOSALS_MAX = 100_000  # in the library's queue; bytes are bounded above it


class DurableCore(SyncObjCore):
    """Journal, term and vote of this member, and its outbox."""

    def __init__(
        self,
        *,
        member: int,
        voters: Sequence[int],
        journal: Journal,
        send: Callable[[int, RaftMessage], None],
        clock: Clock,
        rng: Random,
        timing: Timing,
        start_sync: Background | None,
    ) -> None:
        """`start_sync(run, done)`: call run() in another thread, then done() here; a tick must follow if `has_work`.

        None: sync within the tick.
        """
        self.member = member
        self._voters = tuple(sorted(voters))
        self._others = tuple(v for v in self._voters if v != member)
        self._journal = journal
        self._clock = clock
        self._rng = rng
        self._timing = timing
        self._start_sync = start_sync
        self._syncing: SyncBatch | None = None
        self._outbox: list[tuple[int, RaftMessage]] = []  # wait for the next sync
        self._held: list[tuple[int, RaftMessage]] = []  # wait for the sync under way
        super().__init__(
            member=member,
            others=list(self._others),
            journal=journal,
            send=send,
            proposals_max=PROPOSALS_MAX,
            on_role=self._role_changed,
        )
        self._post = self._port.send_to

    def _role_changed(self, before: int, after: int) -> None:
        """Hear of a change of role; for observers."""

    def _now_s(self) -> float:
        return self._clock.monotonic_s()

    def _promise(self, peer: int, message: RaftMessage) -> None:
        """Send a message once everything appended so far is on disk."""
        self._outbox.append((peer, message))

    def _store_term(self, term: int, vote: int | None) -> None:
        """Make term and vote durable; what was promised in an older term does not leave any more."""
        try:
            self._set_term(term, vote)
        except OSError as error:
            raise FailStop(f"term and vote cannot be stored: {error}") from error
        self._outbox, self._held = [], []

    def _flush(self) -> None:
        """Begin one sync for everything appended since the last one."""
        if self._syncing is not None:
            return  # the next batch collects meanwhile
        messages, self._outbox = self._outbox, []
        batch = self._journal.begin_sync()
        if batch is None:
            self._release(messages)
            return
        self._syncing, self._held = batch, messages
        if self._start_sync is None:
            self._run_sync(batch)
            self._end_sync(batch)
        else:
            self._start_sync(lambda: self._run_sync(batch), lambda: self._end_sync(batch))

    def _run_sync(self, batch: SyncBatch) -> None:
        try:
            self._journal.run_sync(batch)
        except OSError as error:
            raise FailStop(f"the log cannot be synced: {error}") from error

    def _end_sync(self, batch: SyncBatch) -> None:
        """Release what waited for this sync; the next tick commits and begins the next one."""
        self._journal.end_sync(batch)
        self._syncing = None
        messages, self._held = self._held, []
        self._release(messages)

    def _release(self, messages: list[tuple[int, RaftMessage]]) -> None:
        for peer, message in messages:
            self._post(peer, message)
