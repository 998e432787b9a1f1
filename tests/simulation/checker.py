"""The invariants of Raft, checked at the moment at which they could break.

The checker sees every append, cut, commit, apply, send and restore of every member and keeps what Raft promises about
them. What is on disk it asks of the disks, never of the members. What clients were told is the history's affair.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sybline import limits
from sybline.replication.journal import CONFIGURATION, Entry, Journal
from sybline.replication.messages import (
    Append,
    AppendReply,
    PreVote,
    RaftMessage,
    RequestVote,
    SnapshotReply,
    Vote,
)
from tests.simulation.durable import DurableView
from tests.simulation.memberships import Memberships, is_quorum
from tests.simulation.violation import Violation


@dataclass
class Checker:
    """What all members together have done so far."""

    memberships: Memberships
    disks: dict[
        int, DurableView
    ]  # of everybody who ever was a member: a disk that is thrown away never votes again
    totals: "Counter[str]" = field(default_factory=Counter)
    journals: dict[int, Journal] = field(default_factory=dict)  # of members that run
    committed: dict[int, int] = field(default_factory=dict)  # index -> term
    last_committed: int = 0

    def __post_init__(self) -> None:
        self._entries: dict[
            tuple[int, int], tuple[int, bytes, int]
        ] = {}  # kind, payload, term before
        self._leaders: dict[int, int] = {}  # term -> member
        self._leading: dict[int, int] = {}  # member -> term, while it leads
        self._committed_in: dict[int, int] = {}  # index -> term of the leader that committed it
        self._votes: defaultdict[int, dict[int, int]] = defaultdict(
            dict
        )  # member -> term -> candidate
        self._electorate: frozenset[int] = (
            frozenset()
        )  # by whose majority the newest commit was made
        self._knows: dict[int, int] = {}  # member -> up to where it knows what is committed
        self.on_step: Callable[[str, int, int | None], None] = lambda step, member, changed: None

    # ------------------------------------------------------------------ the log

    def appended(self, member: int, entries: Sequence[Entry], term_before: int) -> None:
        """Log matching: the same index and term means the same entry behind the same history."""
        before = self.memberships.newest(member).configuration
        self.memberships.appended(member, entries, self._is_committed)
        for entry in entries:
            if entry.kind == CONFIGURATION and self._leading.get(member) == entry.term:
                self._check_first_commit(member, entry)
                self._check_promotion(self.memberships.promoted_by(entry, before), entry)
            fact = (entry.kind, entry.payload, term_before)
            known = self._entries.setdefault((entry.index, entry.term), fact)
            if known != fact:
                raise Violation(
                    "log matching",
                    f"member {member} has another entry {entry.index} of term {entry.term}",
                )
            term_before = entry.term

    def _is_committed(self, index: int, term: int) -> bool:
        return self.committed.get(index) == term

    def _check_first_commit(self, member: int, entry: Entry) -> None:
        """No change before the leader has committed an entry of its own term (the bug in the thesis' 4.1)."""
        if self.committed.get(self._knows[member]) != entry.term:
            raise Violation(
                "change before the first commit",
                f"member {member} appends {entry.index} of term {entry.term}, knows {self._knows[member]}",
            )

    def _check_promotion(self, promoted: int | None, entry: Entry) -> None:
        """Who is made a voter has nearly all of the log on its disk, and something at least."""
        if promoted is None:
            return
        last = self.disks[promoted].last()
        if not last or entry.index - 1 - last > limits.CAUGHT_UP_LAG_ENTRIES_MAX:
            raise Violation("promoted too soon", f"member {promoted} has {last}, by {entry.index}")

    def cut(self, member: int, index: int, term: int) -> None:
        """Nothing that is committed is ever cut from a log."""
        if self.committed.get(index) == term:
            raise Violation(
                "committed entry cut", f"member {member} cuts from {index} of term {term}"
            )
        self.memberships.cut(member, index)

    def started(self, member: int, journal: Journal) -> None:
        """What a member finds at start is what was added once, and all that it promised."""
        self.holds_now(member, journal)
        for index in range(journal.first, journal.last + 1):
            entry = journal.entry(index)
            known = self._entries.get((index, entry.term))
            if known is None or known[:2] != (entry.kind, entry.payload):
                raise Violation("recovery", f"member {member} found an entry {index} nobody added")
        term, votes = journal.current_term, self._votes[member]
        if votes and (max(votes) > term or votes.get(term, journal.voted_for) != journal.voted_for):
            raise Violation(
                "vote forgotten",
                f"member {member} came back with term {term}, vote {journal.voted_for}; it voted {votes}",
            )
        self.still_committed()

    def holds_now(self, member: int, journal: Journal) -> None:
        """A member has another log: it started, or switched to one it received."""
        self.journals[member] = journal
        self._knows[member] = journal.checkpoint_index
        entries = map(journal.entry, range(journal.first, journal.last + 1))
        self.memberships.started(member, journal.checkpoint_index, entries)

    def stopped(self, member: int) -> None:
        """A member's process ended; its disk may have lost what was not synced."""
        self.journals.pop(member, None)
        self._leading.pop(member, None)
        self._knows.pop(member, None)
        self.still_committed()

    def gone(self, member: int) -> None:
        """A stopped member will never be back. What was on its disk still speaks for what it promised once."""
        self.memberships.forgets(member)

    def was_appended(self, start: bytes) -> bool:
        """Return whether a payload that starts so was ever in a log."""
        return any(payload.startswith(start) for _, payload, _ in self._entries.values())

    # ------------------------------------------------------------------ leaders and commits

    def leads(self, member: int, term: int, journal: Journal) -> None:
        """Election safety and leader completeness."""
        self.totals["elections"] += 1
        self._leading[member] = term
        other = self._leaders.setdefault(term, member)
        if other != member:
            raise Violation("election safety", f"members {other} and {member} lead term {term}")
        self._check_electors(member, term)
        for index in range(journal.first, self.last_committed + 1):
            if self._committed_in[index] >= term:
                continue  # a late winner may lack what a later term committed
            if index > journal.last or journal.term(index) != self.committed[index]:
                raise Violation(
                    "leader completeness", f"member {member}, leader of {term}, lacks entry {index}"
                )

    def _check_electors(self, member: int, term: int) -> None:
        """A majority of the voters in the candidate's newest configuration voted for it."""
        held = self.memberships.newest(member)
        for_it = {voter for voter, votes in self._votes.items() if votes.get(term) == member}
        own = self.disks[member].vote()
        if (own.term, own.voted_for) == (term, member):
            for_it.add(member)
        if not is_quorum(for_it, held.configuration.voters):
            raise Violation(
                "elected by a minority", f"member {member} by {sorted(for_it)} in {term}: {held}"
            )
        self._may_campaign(member)

    def _may_campaign(self, member: int) -> None:
        """A learner or a stranger never does; a removed one may until it knows that it is (thesis 4.2.2)."""
        held = self.memberships.newest(member)
        own = held.configuration.get(member)
        was_removed = own is None and held.index > self._knows[member]
        if not was_removed and (own is None or not own.voter):
            raise Violation("not a voter", f"member {member} campaigns, its log ends with {held}")

    def leads_no_more(self, member: int) -> None:
        """A leader stepped down."""
        self._leading.pop(member, None)

    def commits(
        self, member: int, after: int, index: int, journal: Journal, *, leads: bool
    ) -> None:
        """A leader commits what a majority has on disk; a follower only what a leader committed."""
        if index > journal.last:
            raise Violation("commit beyond the log", f"member {member}: {index} > {journal.last}")
        self._knows[member] = max(index, self._knows[member])
        is_news = index > self.last_committed
        for at in range(max(after + 1, journal.first), index + 1):
            term = journal.term(at)
            if at not in self.committed and leads:
                self.committed[at] = term
                self._committed_in[at] = journal.current_term
                self.last_committed = at
                self.memberships.commits(at, term)
            if self.committed.get(at) != term:
                raise Violation(
                    "commit conflict",
                    f"member {member} commits entry {at} of term {term}, a leader committed "
                    f"{self.committed.get(at)}",
                )
        if is_news:
            self._electorate = self.memberships.newest(member).configuration.voters
            self.still_committed()

    def still_committed(self) -> None:
        """A majority has the newest committed entry on disk, hence all before it.

        A majority of the voters in its leader's log at the moment of the commit: all later ones share a member with it.
        """
        index = self.last_committed
        if not index:
            return
        term = self.committed[index]
        copies = [member for member in self._electorate if self.disks[member].holds(index, term)]
        if not is_quorum(copies, self._electorate):
            raise Violation(
                "no durable quorum",
                f"entry {index} of term {term} is on the disks of {sorted(copies)}, voters are "
                f"{sorted(self._electorate)}",
            )

    def applies(self, member: int, index: int, before: int, journal: Journal) -> None:
        """Only what is committed is applied, each entry once and in order."""
        if index != before + 1:
            raise Violation("apply order", f"member {member} applies {index} after {before}")
        term = journal.term(index)
        if self.committed.get(index) != term:
            raise Violation("applied uncommitted", f"member {member}: entry {index} of term {term}")

    def restores(self, member: int, index: int, before: int, term: int) -> None:
        """A snapshot is of committed entries and never older than the state it replaces."""
        if index < before:
            raise Violation("snapshot goes back", f"member {member} from {before} to {index}")
        if self.committed.get(index) != term:
            raise Violation("snapshot of uncommitted", f"member {member}: {index} of term {term}")
        self._knows[member] = max(index, self._knows[member])

    def step(self, name: str, member: int, after: int, upto: int) -> None:
        """A member has come so far with the entries between: tell who lies in wait if there is a change among them."""
        held = self.memberships.newest(member)
        if after < held.index <= upto:
            self.on_step(name, member, self.memberships.changed_by(held))

    # ------------------------------------------------------------------ promises

    def sends(self, member: int, peer: int, message: RaftMessage) -> None:
        """A power loss now must not break what a message says."""
        disk = self.disks[member]
        if type(message) is not PreVote:
            term = getattr(message, "current", message.term)
            if disk.vote().term < term:
                raise Violation("term not durable", f"member {member} sends {message}")
        if type(message) in (PreVote, RequestVote):
            self._may_campaign(member)
        if type(message) is Append and message.entries:
            self.step("sent", member, message.prev, message.entries[-1].index)
        match message:
            case Vote(term=term, granted=True):
                self._votes_for(member, term, peer)
            case RequestVote(term=term):
                self._votes_for(member, term, member)
            case AppendReply(ok=True, match=index) | SnapshotReply(match=index) if index:
                self._promises(member, peer, message.term, index)

    def _votes_for(self, member: int, term: int, candidate: int) -> None:
        before = self._votes[member].setdefault(term, candidate)
        if before != candidate:
            raise Violation("two votes", f"member {member} for {before} and {candidate} in {term}")
        vote = self.disks[member].vote()
        if vote.term == term and vote.voted_for != candidate:
            raise Violation("vote not durable", f"member {member} for {candidate}, has {vote}")

    def _promises(self, member: int, leader: int, term: int, index: int) -> None:
        """What is promised is on disk, and is what the leader has."""
        journal, disk = self.journals[member], self.disks[member]
        if index < journal.first:
            return  # the checkpoint holds it
        own_term = journal.term(index) if index <= journal.last else None
        if own_term is None or not disk.holds(index, own_term):
            raise Violation(
                "answer not durable", f"member {member} promises {index}, has {disk.last()} on disk"
            )
        theirs = self.journals.get(leader)
        if (
            theirs is not None
            and self._leading.get(leader) == term
            and theirs.first <= index
            and (index > theirs.last or theirs.term(index) != own_term)
        ):
            raise Violation(
                "false match", f"member {member} promises {index} of {own_term}, the leader differs"
            )
