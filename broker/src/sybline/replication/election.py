"""Who leads: pre-vote, votes, stickiness, stepping down (rules 1, 5, 6, 7; thesis 4.1, 4.2.3, 9.6).

Timers and connections decide only *when* somebody asks; who may lead is decided by terms, votes and logs. Anybody is
answered, for the others may know of changes that this member does not; only votes of current voters count.

A first member with an empty disk may have lost it. Until it has met so many others that one of them would know of a
formed cluster, and refuse it (`admission.py`), it takes no part (ADR-0005).
"""

import math
from typing import Any

from sybline.errors import FailStop
from sybline.replication import rules
from sybline.replication.durable_core import DurableCore
from sybline.replication.messages import PreVote, PreVoteReply, RequestVote, Vote
from sybline.replication.quirks import CANDIDATE, FOLLOWER, LEADER


class Elections(DurableCore):
    """The part of a member that elects and is elected."""

    def __init__(self, **parts: Any) -> None:
        self._votes: set[int] = set()
        self._prevotes: set[int] | None = None  # None: no pre-vote is being held
        self._leader_heard_s = -math.inf
        self._hurry_until_s = -math.inf  # the leader's connection closed: do not wait for time-outs
        self._is_told_removed = False
        self._met: set[int] = set()  # first members that welcomed this one since it started
        self._must_meet = 0
        super().__init__(**parts)
        first = self._journal.first_configuration
        if self._journal.is_blank and self.member in first.voters:
            self._must_meet = rules.others_to_meet(len(first.voters))
        self._deadline_s = self._now_s() + (self.election_timeout_s() if self._others else 0.0)

    # --- what the layers above do ---
    def _won(self, now_s: float) -> None:
        """Begin to lead."""

    def _lost(self) -> None:
        """Stop leading."""

    # --- who may ---
    @property
    def _takes_part(self) -> bool:
        """Return whether this member's empty disk, if it is empty, is known to be a new one."""
        return len(self._met) >= self._must_meet

    def _meet(self, peer: int) -> None:
        """A connection to a member stands: each side has let the other in."""
        if peer in self._journal.first_configuration.voters:
            self._met.add(peer)

    @property
    def _may_campaign(self) -> bool:
        if not self._takes_part or self._is_told_removed:
            return False
        return self.is_voter or self._is_needed_still

    @property
    def _is_needed_still(self) -> bool:
        """Return whether this voter is being removed and that is not known to be committed (thesis 4.2.2).

        Until then the others may need it: nobody else may have the entry that removes it. It does not count itself.
        """
        if self.is_configuration_committed or self.configuration.get(self.member) is not None:
            return False
        return self.member in self._configurations.at(self.configuration_index - 1).voters

    @property
    def is_removed(self) -> bool:
        """Return whether this member was one once, and is none any more as far as it knows."""
        if self._is_told_removed:
            return True
        is_out = self._was_member and self.configuration.get(self.member) is None
        return is_out and self.is_configuration_committed

    def told_removed(self) -> None:
        """Another member says that this one is no member any more: leave the others in peace.

        It goes on answering; a leader that sends anything takes it back.
        """
        self._is_told_removed = self._was_member

    # --- timers ---
    def election_timeout_s(self) -> float:
        timing = self._timing
        return self._rng.uniform(timing.election_s, timing.election_max_s)

    def _postpone_election(self, now_s: float) -> None:
        self._deadline_s = now_s + self.election_timeout_s()

    def _retry_election(self, now_s: float) -> None:
        """Set when to ask again if this campaign gets no answer."""
        if now_s < self._hurry_until_s:
            self._deadline_s = now_s + self._rng.uniform(*self._timing.hurry_s)
        else:
            self._postpone_election(now_s)

    def _hears_leader(self, now_s: float) -> bool:
        return self.role_number == LEADER or now_s - self._leader_heard_s < self._timing.election_s

    def _leader_gone(self, now_s: float) -> None:
        """The leader's end closed the connection: ask soon instead of waiting for a time-out.

        Safe whatever the reason: who still hears the leader refuses the pre-vote.
        """
        self._leader_heard_s = -math.inf
        self._hurry_until_s = now_s + self._timing.election_s
        jitter_s = self._rng.uniform(*self._timing.disconnect_jitter_s)
        self._deadline_s = min(self._deadline_s, now_s + jitter_s)

    # --- roles ---
    def _follow(self, term: int, leader: int | None) -> None:
        """Become, or stay, a follower in `term`, of `leader` if it is known."""
        was = self.role_number
        if term > self.term:
            self._store_term(term, None)
            self._set_leader(None)
        if leader is not None or was != FOLLOWER:
            self._set_leader(leader)
        self._prevotes = None
        self._postpone_election(self._now_s())
        self._set_role(FOLLOWER)
        if was == LEADER:
            self._lost()

    def _heard_leader(self, peer: int, now_s: float) -> None:
        """A message of this term's leader arrived."""
        if self.role_number == LEADER or self.leader not in (None, peer):
            raise FailStop(f"two leaders in term {self.term}: {self.leader} and {peer}")
        if self.role_number != FOLLOWER:
            self._follow(self.term, peer)
        if self.leader is None:
            self._set_leader(peer)
        self._prevotes = None
        self._is_told_removed = False
        self._leader_heard_s = now_s
        self._hurry_until_s = -math.inf
        self._postpone_election(now_s)

    # --- campaign ---
    def _time_is_up(self, now_s: float) -> None:
        """No leader was heard in time."""
        if now_s - self._leader_heard_s >= self._timing.election_s:
            self._set_leader(None)
        if not self._may_campaign:
            self._postpone_election(now_s)
        elif self._voting_peers:
            self._ask_for_prevotes(now_s)
        else:
            self._campaign(now_s, transfer=False)

    def _ask_for_prevotes(self, now_s: float) -> None:
        """Find out whether a campaign could be won, changing nothing anywhere."""
        self._retry_election(now_s)
        self._prevotes = {self.member}
        last, last_term = self._last_entry()
        for peer in self._voting_peers:
            self._post(peer, PreVote(self.term + 1, last, last_term))

    def _campaign(self, now_s: float, *, transfer: bool) -> None:
        self._retry_election(now_s)
        self._prevotes = None
        self._set_leader(None)
        self._store_term(self.term + 1, self.member)
        self._set_role(CANDIDATE)
        self._votes = {self.member}
        last, last_term = self._last_entry()
        for peer in self._voting_peers:
            self._post(peer, RequestVote(self.term, last, last_term, transfer))
        self._count_votes(now_s)

    def _count_votes(self, now_s: float) -> None:
        if self.role_number == CANDIDATE and self._is_quorum(self._votes):
            self._set_leader(self.member)
            self._set_role(LEADER)
            self._won(now_s)

    def _is_quorum(self, members: set[int]) -> bool:
        """Return whether the members that are voters now are a majority of them."""
        return len(members.intersection(self._voters)) >= rules.quorum(len(self._voters))

    # --- messages ---
    def _on_pre_vote(self, peer: int, message: PreVote, now_s: float) -> None:
        granted = (
            message.term > self.term
            and not self._hears_leader(now_s)
            and self._is_up_to_date(message.last, message.last_term)
        )
        self._post(peer, PreVoteReply(message.term, granted, self.term))

    def _on_pre_vote_reply(self, peer: int, message: PreVoteReply, now_s: float) -> None:
        if message.current > self.term:
            self._follow(message.current, None)
        elif (
            self._prevotes is not None
            and message.granted
            and message.term == self.term + 1
            and self.role_number != LEADER
        ):
            self._prevotes.add(peer)
            if self._is_quorum(self._prevotes):
                self._campaign(now_s, transfer=False)

    def _on_request_vote(self, peer: int, message: RequestVote, now_s: float) -> None:
        if self._hears_leader(now_s) and not message.transfer:
            return  # not even the term is taken over
        if message.term > self.term:
            self._follow(message.term, None)
        granted = (
            message.term == self.term
            and self.role_number == FOLLOWER
            and self.voted_for in (None, peer)
            and self._is_up_to_date(message.last, message.last_term)
        )
        if granted:
            if self.voted_for is None:
                self._store_term(self.term, peer)
            self._postpone_election(now_s)
        self._post(peer, Vote(self.term, granted))

    def _on_vote(self, peer: int, message: Vote, now_s: float) -> None:
        if message.term > self.term:
            self._follow(message.term, None)
        elif message.term == self.term and self.role_number == CANDIDATE and message.granted:
            self._votes.add(peer)
            self._count_votes(now_s)

    def _last_entry(self) -> tuple[int, int]:
        last = self._journal.last
        return last, self._journal.term(last)

    def _is_up_to_date(self, last: int, last_term: int) -> bool:
        own_last, own_last_term = self._last_entry()
        return rules.is_up_to_date(
            last=last, last_term=last_term, own_last=own_last, own_last_term=own_last_term
        )
