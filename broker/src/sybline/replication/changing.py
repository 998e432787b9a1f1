"""How the members change: one at a time, through the log (thesis 4.1 to 4.4; rules of docs/internals/membership.md).

Owns the change under way at a leader, the forming of a new cluster, and the stepping down of a leader that is no member
any more. What a change may be is decided in `configuration.py` and `change_rules.py`.
"""

import math
from collections.abc import Callable
from random import Random
from typing import Any

from sybline.errors import NoLeader
from sybline.replication import change_rules
from sybline.replication.configuration import (
    Change,
    ChangeReason,
    ChangeRefused,
    Configuration,
    Promote,
    Remove,
    changed,
    encode_configuration,
    with_cluster_uid,
)
from sybline.replication.journal import CONFIGURATION, Entry
from sybline.replication.leading import Leading
from sybline.replication.quirks import LEADER

CLUSTER_UID_BITS = 63

Changed = Callable[[Configuration | None], None]  # None: this member stopped leading before it knew


def draw_cluster_uid(rng: Random) -> int:
    """Return a number that no other cluster has, but for chance; never 0."""
    return rng.getrandbits(CLUSTER_UID_BITS) | 1


class Changing(Leading):
    """The part of a leader that changes who the members are."""

    def __init__(self, **parts: Any) -> None:
        self._change: tuple[int, Configuration, Changed] | None = (
            None  # under way: entry, what it brings
        )
        super().__init__(**parts)

    # --- what is asked for ---
    def change_members(
        self, change: Change, *, expected_version: int, force: bool = False, done: Changed
    ) -> None:
        """Append a change; a tick must follow. `done` gets the configuration once it is committed.

        `expected_version`: of the configuration the caller decided upon. `force`: even if too few voters would be fit,
        and if this leader itself is to go.

        Raises:
            ChangeRefused: it was definitely not appended.
            NoLeader: nor was it, for this member may not lead any more.
        """
        if not self.quorum_confirmed:
            raise NoLeader("this member does not lead, or hears no quorum")
        if not self._knows_others:
            raise NoLeader("this member has just begun to lead and has not heard from all yet")
        if not self._is_free:
            raise ChangeRefused(ChangeReason.PENDING, "another change, or a transfer, is under way")
        before = self.configuration
        if expected_version != before.version:
            text = f"the configuration has version {before.version}, not {expected_version}"
            raise ChangeRefused(ChangeReason.VERSION, text)
        after = changed(before, change)
        self._check_change(change, after, force=force)
        self._append_configuration(after, done)

    @property
    def _knows_others(self) -> bool:
        """Return whether all others have said what they have, or had the time to: what is judged by it is known."""
        is_settled = self._now_s() - self._won_s >= self._timing.election_s
        return is_settled or all(self._progress[peer].match for peer in self._others)

    @property
    def _is_free(self) -> bool:
        """Return whether a change may begin: the one before and this term's no-op are committed, no transfer is on."""
        is_settled = self.is_configuration_committed and self.commit_index >= self._no_op
        return is_settled and self._transfer is None

    def _check_change(self, change: Change, after: Configuration, *, force: bool) -> None:
        now_s = self._now_s()
        match change:
            case Promote():
                lag_entries, heard_age_s = self._condition(change.id, now_s)
                change_rules.check_promotion(
                    change.id, lag_entries=lag_entries, heard_age_s=heard_age_s,
                    heard_s=self._timing.election_s,
                )  # fmt: skip
            case Remove() if change.id == self.member and not force:
                text = f"member {change.id} leads: leadership must move first"
                raise ChangeRefused(ChangeReason.LEADS, text)
        if after.voters != self._voters and not force:
            change_rules.check_quorum(after, self._fit_members(now_s))

    def _condition(self, peer: int, now_s: float) -> tuple[int, float]:
        """Return how many entries a follower lacks, and how many seconds ago it was heard; inf: not yet."""
        progress = self._progress[peer]
        heard_age_s = progress.heard_age_s(now_s) if progress.match else math.inf
        return self._journal.last - progress.match, heard_age_s

    def _fit_members(self, now_s: float) -> set[int]:
        fit = {self.member}
        for peer in self._progress:
            lag_entries, heard_age_s = self._condition(peer, now_s)
            if change_rules.is_fit(
                lag_entries=lag_entries, heard_age_s=heard_age_s, heard_s=self._timing.election_s
            ):
                fit.add(peer)
        return fit

    def _append_configuration(self, configuration: Configuration, done: Changed) -> None:
        index = self._journal.last + 1
        payload = encode_configuration(configuration)
        self._change = (index, configuration, done)
        self._append([Entry(index, self.term, CONFIGURATION, payload)])

    # --- what follows by itself ---
    def _follow_changes(self) -> None:
        """Do what a commit makes possible: tell of a change, note the cluster, form it, step down."""
        if self._change is not None and self.commit_index >= self._change[0]:
            _, configuration, done = self._change
            self._change = None
            done(configuration)
        self._note_cluster()
        if self.role_number != LEADER:
            return
        if not self.configuration.cluster_uid:
            self._form_cluster()
        if not self.is_voter and self.is_configuration_committed:
            self._follow(self.term, None)

    def _note_cluster(self) -> None:
        """Remember durably which cluster this is as soon as a committed configuration has this member in it.

        Not sooner: who joins a cluster that went on after a forced recovery reads in its log of the one before.
        """
        if self._journal.cluster_uid or not self.configuration.cluster_uid:
            return
        committed = self._configurations.at(self.commit_index)
        if committed.cluster_uid and committed.get(self.member) is not None:
            self._journal.set_cluster_uid(committed.cluster_uid)

    def _form_cluster(self) -> None:
        """Number the cluster once every voter has something on disk: from then on an empty disk is a lost one."""
        if self._is_free and all(self._progress[peer].match for peer in self._voting_peers):
            named = with_cluster_uid(self.configuration, draw_cluster_uid(self._rng))
            self._append_configuration(named, lambda _configuration: None)

    def _lost(self) -> None:
        super()._lost()
        change, self._change = self._change, None
        if change is not None:
            change[2](None)
