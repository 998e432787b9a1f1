"""Nothing leaves before what it depends on is on disk (rules 3 and 5); the members are those of the log.

Owns the sync of the journal and the messages that wait for it, and which configuration is in force: the latest of the
log, committed or not. A storage error ends the member: nothing is retried.
"""

from collections.abc import Callable, Sequence
from random import Random

from sybline.clock import Clock
from sybline.errors import FailStop
from sybline.replication.configuration import (
    Configuration,
    MemberInfo,
    UnknownConfiguration,
    decode_configuration,
    encode_configuration,
)
from sybline.replication.configurations import Configurations
from sybline.replication.journal import CONFIGURATION, Entry, Journal, SyncBatch
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
        self._journal = journal
        self._configurations = _recovered(journal)
        self._was_member = member in journal.first_configuration.ids
        self._was_member |= self._configurations.includes(member)
        self._voters: frozenset[int] = frozenset()  # these three follow the configuration in force
        self._voting_peers: tuple[int, ...] = ()
        self._others: tuple[int, ...] = ()
        self._follow_configuration()
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

    # --- the members ---
    @property
    def configuration(self) -> Configuration:
        """Return the configuration in force: the latest in the log, committed or not."""
        return self._configurations.current

    @property
    def configuration_index(self) -> int:
        """Return the index of its entry; at most the checkpoint's if no entry in the log is newer."""
        return self._configurations.index

    @property
    def is_configuration_committed(self) -> bool:
        """Return whether the configuration in force is known to stay."""
        return self._configurations.index <= self.commit_index

    @property
    def committed_version(self) -> int:
        """Return the version of the newest configuration that is known to stay."""
        return self._configurations.at(self.commit_index).version

    @property
    def known_members(self) -> dict[int, MemberInfo]:
        """Return everybody in the newest configuration known to stay or a later one: any of these may come to count."""
        since = self._configurations.since(self.commit_index)
        return {info.id: info for configuration in since for info in configuration.members}

    @property
    def is_voter(self) -> bool:
        """Return whether this member votes in the configuration in force."""
        return self.member in self._voters

    def _configuration_at(self, index: int) -> bytes:
        """Return the configuration as of an entry, for the checkpoint there."""
        return encode_configuration(self._configurations.at(index))

    def _follow_configuration(self) -> None:
        """Let the configuration in force count from now on."""
        configuration = self._configurations.current
        self._voters = configuration.voters
        self._others = tuple(each for each in configuration.ids if each != self.member)
        self._voting_peers = tuple(each for each in self._others if each in self._voters)
        self._was_member = self._was_member or self.member in configuration.ids

    def _configuration_moved(self) -> None:
        """Another configuration is in force; the layers above do more."""
        self._follow_configuration()

    def _append(self, entries: Sequence[Entry]) -> None:
        """Add entries to the log; a configuration among them counts at once."""
        self._journal.append(entries)
        news = [entry for entry in entries if entry.kind == CONFIGURATION]
        for entry in news:
            self._configurations.append(entry.index, _decode(entry))
        if news:
            self._configuration_moved()

    def _cut(self, index: int) -> None:
        """Cut the log from an entry on; the configuration before counts again."""
        self._journal.truncate_from(index)
        if self._configurations.index >= index:
            self._configurations.truncate_from(index)
            self._configuration_moved()

    def _replace_configurations(self) -> None:
        """The log was replaced by an image's: begin again with what it holds."""
        self._configurations = _recovered(self._journal)
        self._configuration_moved()

    # --- durability ---

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


def _recovered(journal: Journal) -> Configurations:
    """Return what counts according to a journal as it was opened or installed."""
    base, base_index = journal.first_configuration, journal.checkpoint_index
    if base_index:
        base = _decode_bytes(journal.checkpoint_configuration, f"the checkpoint at {base_index}")
    configurations = Configurations(base, base_index)
    for index in journal.configuration_indexes:
        if index > base_index:
            configurations.append(index, _decode(journal.entry(index)))
    return configurations


def _decode(entry: Entry) -> Configuration:
    return _decode_bytes(entry.payload, f"entry {entry.index}")


def _decode_bytes(data: bytes, where: str) -> Configuration:
    try:
        return decode_configuration(data)
    except UnknownConfiguration as error:
        text = f"the members in {where} cannot be read by this version: {error}"
        raise FailStop(text) from error
