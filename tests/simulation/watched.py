"""The product's node and journal with a checker looking over their shoulders; nothing of what they do is changed.

`Hasty` is the exception: a node without pre-vote and stickiness, which hide mistakes of elections.
"""

from collections.abc import Sequence
from typing import Any

from sybline.replication.journal import Entry, Installation, Journal, SyncBatch
from sybline.replication.node import RaftNode
from sybline.replication.quirks import LEADER
from tests.simulation.checker import Checker


class WatchedJournal(Journal):
    """Tells the checker what is added and cut."""

    checker: Checker | None = None
    member = 0

    def watch(self, checker: Checker, member: int) -> None:
        self.checker, self.member = checker, member
        checker.started(member, self)

    def append(self, entries: Sequence[Entry]) -> None:
        term_before, last = self.term(self.last), self.last
        super().append(entries)
        if self.checker is not None:
            self.checker.appended(self.member, entries, term_before)
            self.checker.step("appended", self.member, last, self.last)

    def end_sync(self, batch: SyncBatch) -> None:
        durable = self.durable
        super().end_sync(batch)
        if self.checker is not None:
            self.checker.step("synced", self.member, durable, self.durable)

    def truncate_from(self, index: int) -> None:
        if self.checker is not None and index <= self.last:
            self.checker.cut(self.member, index, self.term(index))
            self.checker.totals["cuts"] += 1
        super().truncate_from(index)

    def _adopt(self, installation: Installation, verified: Any) -> bool:
        switched = super()._adopt(installation, verified)
        if self.checker is not None:
            if switched:
                self.checker.holds_now(self.member, self)
            self.checker.still_committed()
        return switched


class WatchedNode(RaftNode):
    """Tells the checker what is committed and applied, and who leads."""

    def __init__(self, *, checker: Checker, journal: Journal, **parts: Any) -> None:
        self._checker = checker
        self._replacing = True  # the state, by a checkpoint or an image
        super().__init__(journal=journal, **parts)
        self._replacing = False

    def _role_changed(self, before: int, after: int) -> None:
        super()._role_changed(before, after)
        if after == LEADER:
            self._checker.leads(self.member, self.term, self._journal)
        elif before == LEADER:
            self._checker.leads_no_more(self.member)

    def _set_commit(self, index: int) -> None:
        if not self._replacing:
            leads = self.role_number == LEADER
            before = self.commit_index
            self._checker.commits(self.member, before, index, self._journal, leads=leads)
            self._checker.step("committed", self.member, before, index)
        super()._set_commit(index)

    def _set_applied(self, index: int) -> None:
        before = self.applied_index
        if not self._replacing:
            self._checker.applies(self.member, index, before, self._journal)
        elif index:
            term = self._journal.term(index)
            # The library counts from 1 before anything is applied.
            self._checker.restores(self.member, index, before, term)
        super()._set_applied(index)

    def _take_over(self, installation: Installation) -> None:
        self._replacing = True
        super()._take_over(installation)
        self._replacing = False


class Hasty(WatchedNode):
    """Campaigns at once and believes every candidate: plain Raft of figure 2."""

    def _ask_for_prevotes(self, now_s: float) -> None:
        self._campaign(now_s, transfer=False)

    def _hears_leader(self, now_s: float) -> bool:
        return False
