"""Which configuration is in force where: in every log, at every committed index, and how one may follow another.

Asks nobody: it sees the entries that are appended and cut and hears what was committed. Its law is chapter 4 of the
thesis: what a log ends with rules, committed or not; one change at a time; one member in each.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sybline.replication import rules
from sybline.replication.configuration import (
    NO_MEMBERS,
    AddLearner,
    Change,
    Configuration,
    Promote,
    Remove,
    UpdateAddress,
    decode_configuration,
)
from sybline.replication.journal import CONFIGURATION, Entry
from tests.simulation.violation import Violation


@dataclass(frozen=True)
class Held:
    """A configuration and the entry that holds it; index 0: that of the bootstrap, or nothing at all."""

    index: int
    term: int
    configuration: Configuration


def is_quorum(members: Iterable[int], voters: frozenset[int]) -> bool:
    """Return whether these are a majority of the voters."""
    return len(voters.intersection(members)) >= rules.quorum(len(voters))


def change_between(before: Configuration, after: Configuration) -> Change:
    """Return the one change that leads from one configuration to the next."""
    differing = set(before.members) ^ set(after.members)
    ids = {member.id for member in differing}
    if len(ids) != 1:
        raise Violation("not one change", f"{after} follows {before}")
    (member,) = ids
    old, new = before.get(member), after.get(member)
    if new is None:
        return Remove(member)
    if old is None and not new.voter:
        return AddLearner(member, new.name, new.address)
    if old is not None and new.voter and not old.voter and old.address == new.address:
        return Promote(member)
    if old is not None and new.voter == old.voter:
        return UpdateAddress(member, new.address)
    raise Violation("not one change", f"{after} follows {before}")


class Memberships:
    """The configurations of all logs of one cluster; see the module."""

    def __init__(self, first: Configuration) -> None:
        """`first`: what the members of the bootstrap begin with; everybody else begins with nothing."""
        self.first = first
        self._logs: dict[int, list[Held]] = {}  # of members that run or ran
        self._entries: dict[tuple[int, int], Configuration] = {}
        self._changed: dict[tuple[int, int], int | None] = {}  # which member an entry changes
        self.ids_ever = set(first.ids)  # in any configuration that was committed
        self.committed = [Held(0, 0, first)]

    # ------------------------------------------------------------------ questions

    def newest(self, member: int) -> Held:
        """Return the configuration in force in a member's log."""
        return self._logs[member][-1]

    def in_force_at(self, index: int) -> Held:
        """Return the configuration that rules at a committed index."""
        at = bisect_right(self.committed, index, key=lambda held: held.index)
        return self.committed[at - 1]

    def promoted_by(self, entry: Entry, before: Configuration) -> int | None:
        """Return who became a voter by an entry; None: nobody."""
        grown = self._decoded(entry).voters - before.voters
        return next(iter(grown)) if grown else None

    def changed_by(self, held: Held) -> int | None:
        """Return the member that an entry adds, changes or removes; None: it names the cluster."""
        return self._changed.get((held.index, held.term))

    @property
    def latest(self) -> Held:
        """Return the newest committed configuration."""
        return self.committed[-1]

    def possible(self) -> list[Configuration]:
        """Return the newest committed configuration and those that may still follow it: some log ends with them."""
        latest = self.latest
        ends = [log[-1] for log in self._logs.values() if log]
        return [latest.configuration] + [
            held.configuration for held in ends if held.index > latest.index
        ]

    def check_view(self, member: int, configuration: Configuration) -> None:
        """A member acts by what its log ends with, whatever was added, cut, installed or found at start."""
        held = self.newest(member)
        if configuration != held.configuration:
            raise Violation(
                "wrong configuration",
                f"member {member} goes by {configuration}, its log ends with {held}",
            )

    # ------------------------------------------------------------------ what happens

    def started(self, member: int, checkpoint: int, entries: Iterable[Entry]) -> None:
        """A member has this checkpoint and, in its log, these entries."""
        if checkpoint:
            log = [self.in_force_at(checkpoint)]
        else:
            is_first = self.first.get(member) is not None
            log = [Held(0, 0, self.first if is_first else NO_MEMBERS)]
        for entry in entries:
            if entry.kind == CONFIGURATION and entry.index > checkpoint:
                log.append(Held(entry.index, entry.term, self._decoded(entry)))
        self._logs[member] = log

    def appended(
        self, member: int, entries: Sequence[Entry], is_committed: Callable[[int, int], bool]
    ) -> None:
        """No log ever holds two changes that are not committed, and each follows its predecessor."""
        log = self._logs[member]
        for entry in entries:
            if entry.kind != CONFIGURATION:
                continue
            is_first = (entry.index, entry.term) not in self._entries
            held = Held(entry.index, entry.term, self._decoded(entry))
            if is_first:
                step = self._check_step(log[-1].configuration, held)
                self._changed[held.index, held.term] = None if step is None else step.id
            pending = [h.index for h in log if h.index and not is_committed(h.index, h.term)]
            if pending and not is_committed(entry.index, entry.term):
                raise Violation(
                    "two changes at once",
                    f"member {member} has entry {entry.index} behind the uncommitted {pending}",
                )
            log.append(held)

    def cut(self, member: int, index: int) -> None:
        """A log was cut from an entry on: the configuration before is in force again."""
        log = self._logs[member]
        while log[-1].index >= index:
            log.pop()

    def forgets(self, member: int) -> None:
        """A log is gone for good."""
        self._logs.pop(member, None)

    def commits(self, index: int, term: int) -> None:
        """A leader committed an entry, of whatever kind."""
        configuration = self._entries.get((index, term))
        if configuration is not None:
            self.committed.append(Held(index, term, configuration))
            self.ids_ever.update(configuration.ids)

    # ------------------------------------------------------------------ steps

    def _decoded(self, entry: Entry) -> Configuration:
        known = self._entries.get((entry.index, entry.term))
        if known is None:
            known = decode_configuration(entry.payload)
            self._entries[entry.index, entry.term] = known
        return known

    def _check_step(self, before: Configuration, held: Held) -> Change | None:
        """One configuration follows another by one change of one member, or by the naming of the cluster."""
        after = held.configuration
        if after.version != before.version + 1:
            raise Violation("version", f"{after} follows {before}")
        if after.cluster_uid != before.cluster_uid:
            if before.cluster_uid or after.members != before.members:
                raise Violation("cluster uid", f"{after} follows {before}")
            return None
        step = change_between(before, after)
        if isinstance(step, AddLearner) and step.id in self.ids_ever:
            raise Violation("id used again", f"{after} follows {before}")
        return step
