"""What a leader does: feed the others, count what is on disk, confirm that it still leads (rules 3, 4, 7, 8).

Everybody in the configuration in force is fed, learners too, but only voters count. Who was removed is fed until it
knows, for a while at most.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from sybline import limits
from sybline.replication import rules
from sybline.replication.following import Following
from sybline.replication.journal import NO_OP, Entry
from sybline.replication.messages import (
    Append,
    AppendReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
)
from sybline.replication.progress import Mode, Progress
from sybline.replication.quirks import LEADER

ROUNDS_REMEMBERED = 64


@dataclass(slots=True)
class _Farewell:
    """What a removed member still gets: the entry that removes it, and the news that this is committed."""

    index: int
    until_s: float
    round: int | None = (
        None  # whose answer shows that the news has arrived; None: it is not sent yet
    )


class Leading(Following):
    """The part of a member that leads."""

    def __init__(self, **parts: Any) -> None:
        self._progress: dict[int, Progress] = {}
        self._farewells: dict[int, _Farewell] = {}
        self._no_op = 0  # index of this leadership's no-op
        self._won_s = -math.inf
        self._round = 0
        self._round_began_s: deque[tuple[int, float]] = deque(maxlen=ROUNDS_REMEMBERED)
        self._heartbeat_due_s = 0.0
        self._wants_round = False  # a read waits for a new heartbeat round
        self._transfer: tuple[int, float] | None = None  # target, deadline
        super().__init__(**parts)

    # --- beginning and end ---
    def _won(self, now_s: float) -> None:
        journal = self._journal
        self._progress = {peer: Progress(journal.last + 1, now_s) for peer in self._others}
        self._transfer = None
        self._no_op = journal.last + 1
        self._won_s = now_s
        self._append([Entry(self._no_op, self.term, NO_OP, b"")])
        self._heartbeat_due_s = now_s
        self._replicate(now_s)

    def _lost(self) -> None:
        for progress in self._progress.values():
            progress.close_image()
        self._progress = {}
        self._farewells = {}
        self._transfer = None

    @property
    def is_ready_leader(self) -> bool:
        """Return whether this member leads and has applied its no-op."""
        return self.role_number == LEADER and self.applied_index >= self._no_op

    @property
    def quorum_confirmed(self) -> bool:
        """Return whether this member leads and a majority confirmed it within one election time-out (C-5)."""
        return self.is_ready_leader and self._hears_quorum(self._now_s(), self._timing.election_s)

    def _hears_quorum(self, now_s: float, within_s: float) -> bool:
        """Return whether a majority answered a heartbeat round that began within the last seconds."""
        heard = {peer for peer, p in self._progress.items() if p.heard_s > now_s - within_s}
        return self._is_quorum(heard | {self.member})

    @property
    def view_age_s(self) -> float:
        """Return how long ago what this member knows of the leadership was certainly so; inf: nothing was heard.

        A leader: when the newest heartbeat round left that a majority answered.
        """
        now_s = self._now_s()
        if self.role_number != LEADER:
            return now_s - self._leader_heard_s
        ages = sorted(self._progress[peer].heard_age_s(now_s) for peer in self._voting_peers)
        needed = rules.quorum(len(self._voters)) - self.is_voter
        return ages[needed - 1] if needed else 0.0

    # --- who is fed ---
    @property
    def leaving(self) -> frozenset[int]:
        """Return who was removed and is still told so."""
        return frozenset(self._farewells)

    def _configuration_moved(self) -> None:
        super()._configuration_moved()
        if self.role_number != LEADER:
            return
        now_s, others = self._now_s(), frozenset(self._others)
        for peer in others - self._progress.keys():
            progress = self._progress[peer] = Progress(self._journal.last + 1, now_s)
            progress.heard_s = -math.inf  # it never answered yet
        for peer in others & self._farewells.keys():
            del self._farewells[peer]  # back again
        for peer in self._progress.keys() - others - self._farewells.keys():
            self._farewells[peer] = _Farewell(
                self.configuration_index, now_s + limits.TELL_REMOVED_S
            )

    def _end_farewells(self, now_s: float) -> None:
        """Feed no longer who knows that it was removed, or does not listen."""
        for peer, farewell in list(self._farewells.items()):
            progress = self._progress[peer]
            if farewell.round is None and progress.commit_told >= farewell.index:
                farewell.round = self._round + 1  # what is answered later was sent later, in order
            is_told = farewell.round is not None and (
                progress.match >= farewell.index and progress.round >= farewell.round
            )
            if is_told or now_s >= farewell.until_s:
                progress.close_image()
                del self._progress[peer], self._farewells[peer]

    # --- sending ---
    def _replicate(self, now_s: float) -> None:
        is_round = now_s >= self._heartbeat_due_s or self._wants_round
        if is_round:
            self._wants_round = False
            self._round += 1
            self._round_began_s.append((self._round, now_s))
            self._heartbeat_due_s = now_s + self._timing.heartbeat_s
        if self._farewells:
            self._end_farewells(now_s)
        for peer, progress in self._progress.items():
            self._feed(peer, progress, now_s, is_round=is_round)

    def _feed(self, peer: int, progress: Progress, now_s: float, *, is_round: bool) -> None:
        retry_s = self._timing.retry_s
        if (
            progress.mode is Mode.REPLICATE
            and not progress.is_idle
            and now_s - max(progress.answered_s, progress.sent_s) > retry_s
            and now_s >= progress.large_until_s
        ):
            progress.probe(now_s)  # something was lost
        if progress.mode is not Mode.INSTALL and progress.next < self._journal.first:
            progress.install(self._journal.open_image(), now_s)
        if progress.mode is Mode.REPLICATE:
            self._feed_window(peer, progress, now_s, is_round=is_round)
        elif now_s >= progress.due_s or is_round:
            progress.due_s = now_s + retry_s
            if progress.mode is Mode.PROBE and now_s < progress.large_until_s:
                self._send_append(peer, progress, ())
            elif progress.mode is Mode.PROBE:
                self._send_entries(peer, progress, now_s)
            else:
                self._send_chunk(peer, progress, now_s)

    def _feed_window(self, peer: int, progress: Progress, now_s: float, *, is_round: bool) -> None:
        sent = False
        while progress.next <= self._journal.last and progress.has_room:
            self._send_entries(peer, progress, now_s)
            sent = True
        if not sent and (is_round or progress.commit_told < self.commit_index):
            self._send_append(peer, progress, (), is_silent=not is_round)

    def _send_entries(self, peer: int, progress: Progress, now_s: float) -> None:
        journal, first = self._journal, progress.next
        last = min(journal.last, first + limits.APPEND_ENTRIES_MAX - 1)
        entries: tuple[Entry, ...] = ()
        if first <= last:
            entries = tuple(journal.slice(first, last, limits.APPEND_BYTES_MAX))
        self._send_append(peer, progress, entries)
        if not entries:
            return
        size_bytes = sum(len(entry.payload) for entry in entries)
        if size_bytes > limits.APPEND_BYTES_MAX:
            progress.sent_large(size_bytes, now_s)
        if progress.mode is Mode.REPLICATE:
            progress.sent(entries[-1].index, size_bytes, now_s)

    def _send_append(
        self,
        peer: int,
        progress: Progress,
        entries: tuple[Entry, ...],
        *,
        is_silent: bool = False,
    ) -> None:
        prev = progress.next - 1
        progress.commit_told = self.commit_index
        message = Append(
            self.term, prev, self._journal.term(prev), self.commit_index, self._round, entries,
            is_silent,
        )  # fmt: skip
        self._post(peer, message)

    def _send_chunk(self, peer: int, progress: Progress, now_s: float) -> None:
        """Send the next bytes of the image; none, as a heartbeat, to a follower that has no room for it."""
        image = progress.image
        assert image is not None
        size = min(limits.INSTALL_CHUNK_BYTES, image.total_bytes - progress.offset)
        if now_s < progress.paused_until_s:
            size = 0
        data = image.read(progress.offset, size) if size else b""
        self._post(
            peer,
            SnapshotChunk(
                self.term, image.index, image.term, image.image_id, image.total_bytes,
                progress.offset, self._round, data,
            ),
        )  # fmt: skip

    # --- answers ---
    def _on_append_reply(self, peer: int, message: AppendReply, now_s: float) -> None:
        progress = self._answering(peer, message.term, message.round)
        if progress is None:
            return
        if message.ok:
            progress.matched(message.match, now_s)
            if progress.mode is Mode.INSTALL and progress.match + 1 >= self._journal.first:
                progress.probe(now_s)
            if progress.mode is Mode.PROBE:
                progress.replicate(now_s)
            progress.next = max(progress.next, progress.match + 1)
            self._push_transfer(peer)
        elif progress.mode is Mode.REPLICATE:
            if message.prev > progress.match:
                progress.probe(now_s)
        elif progress.mode is Mode.PROBE and message.prev == progress.next - 1:
            next_index = rules.next_probe(
                hint=message.hint, prev=message.prev, match=progress.match
            )
            progress.probe(now_s, at=next_index)

    def _on_chunk_reply(self, peer: int, message: SnapshotReply, now_s: float) -> None:
        progress = self._answering(peer, message.term, message.round)
        if progress is None:
            return
        progress.matched(message.match, now_s)
        image = progress.image
        if progress.mode is not Mode.INSTALL or image is None:
            return
        if progress.match >= image.index or progress.match + 1 >= self._journal.first:
            progress.probe(now_s)
        elif message.pause_ms:
            self._pause_image(progress, message.pause_ms, now_s)
        elif message.image_id == image.image_id and message.offset != progress.offset:
            progress.offset = message.offset
            progress.due_s = now_s + self._timing.retry_s
            self._send_chunk(peer, progress, now_s)

    def _pause_image(self, progress: Progress, pause_ms: int, now_s: float) -> None:
        """Begin anew later, with the newest image: an old one would keep files of this member that are not needed."""
        progress.paused_until_s = now_s + pause_ms / 1000
        progress.offset = 0
        image = progress.image
        if image is not None and image.index < self._journal.checkpoint_index:
            progress.close_image()
            progress.install(self._journal.open_image(), progress.paused_until_s)

    def _answering(self, peer: int, term: int, round_: int) -> Progress | None:
        """Return the progress of a follower whose answer counts, having noted that it answered."""
        if term > self.term:
            self._follow(term, None)
            return None
        if self.role_number != LEADER or term != self.term:
            return None
        progress = self._progress.get(peer)
        if progress is not None and round_ > progress.round:
            progress.round = round_
            for began, began_s in self._round_began_s:
                if began == round_:
                    progress.heard_s = began_s
        return progress

    # --- committing ---
    def _majority_index(self) -> int:
        durable = [self._progress[peer].match for peer in self._voting_peers]
        if self.is_voter:  # one that is removing itself does not count
            durable.append(self._journal.durable)
        return rules.majority_index(durable, len(self._voters))

    def _advance(self) -> bool:
        """Commit what a majority has on disk, this member included; return whether that is news."""
        index, commit = self._majority_index(), self.commit_index
        if index <= commit or not rules.may_commit(
            index, commit=commit, index_term=self._journal.term(index), term=self.term
        ):
            return False
        self._set_commit(index)
        return True

    # --- handing over ---
    def _begin_transfer(self, target: int | None, now_s: float) -> bool:
        peers = self._voting_peers
        if self.role_number != LEADER or self._transfer is not None or not peers:
            return False
        if target is None:
            target = max(sorted(peers), key=lambda peer: self._progress[peer].match)
        if target not in peers:
            return False
        self._transfer = (target, now_s + self._timing.election_s)
        self._push_transfer(target)
        return True

    def _push_transfer(self, peer: int) -> None:
        """Tell the target to campaign once it has everything."""
        is_target = self._transfer is not None and self._transfer[0] == peer
        if is_target and self._progress[peer].match == self._journal.last:
            self._post(peer, TimeoutNow(self.term))
