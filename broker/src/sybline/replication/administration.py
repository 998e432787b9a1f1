"""What an administrator asks of a member, on any member: the leader's view, changes of members, another leader.

Owns the deadlines, the way to the leader and what an outcome is called; the leader's side of it, too. A change is asked
for again only while it was definitely not made.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from sybline import limits
from sybline.clock import Clock
from sybline.errors import NoLeader, NotProposed, OutcomeUnknown
from sybline.replication.configuration import Change, ChangeRefused, Configuration, Remove
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.leader_calls import (
    Answer,
    AnyAnswer,
    AnyCall,
    CallLost,
    ChangeCall,
    ChangeMade,
    ChangeNotMade,
    ChangeUnknown,
    LeaderCalls,
    NotLeading,
    TransferBegun,
    TransferCall,
    View,
    ViewCall,
)
from sybline.replication.log import Membership
from sybline.replication.node import RaftNode

RETRY_S = 0.05  # after an answer of somebody who does not lead


class Lead(Protocol):
    """What is known of the leader and the members here."""

    @property
    def leader(self) -> int | None:
        """Return who takes proposals; this member only once it is ready to."""

    @property
    def is_stopping(self) -> bool: ...

    async def leader_moves(self, within_s: float) -> None:
        """Return when the leader changes or this member stops, at the latest after so many seconds."""

    def membership(self) -> Membership: ...

    def hand_over_leadership(self, target: int | None) -> bool:
        """Begin to hand over, or go on with it; False: there is nobody to hand over to."""


class Administration:
    """See the module."""

    def __init__(
        self,
        *,
        node: RaftNode,
        lead: Lead,
        calls: Callable[[], LeaderCalls],
        clock: Clock,
        edge: FailStopEdge,
        wake: Callable[[], None],
        patience_s: float,
    ) -> None:
        """`patience_s`: when to begin a transfer again, if nothing came of it."""
        self._node = node
        self._lead = lead
        self._calls = calls
        self._clock = clock
        self._edge = edge
        self._wake = wake
        self._patience_s = patience_s

    # --- the leader's side ---
    def serve(self, call: AnyCall, answer: Answer) -> None:
        """Answer a question as the leader; called within the fail-stop edge."""
        match call:
            case ChangeCall():
                self._change(call, answer)
            case ViewCall():
                self._node.read_index(
                    lambda index: answer(
                        NotLeading() if index is None else View(self._lead.membership())
                    )
                )
            case TransferCall():
                if self._lead.leader == self._node.member:
                    answer(TransferBegun(self._lead.hand_over_leadership(call.target)))
                else:
                    answer(NotLeading())
        self._wake()

    def _change(self, call: ChangeCall, answer: Answer) -> None:
        def done(configuration: Configuration | None) -> None:
            answer(ChangeUnknown() if configuration is None else ChangeMade(configuration))

        try:
            self._node.change_members(
                call.change, expected_version=call.expected_version, force=call.force, done=done
            )
        except ChangeRefused as error:
            answer(ChangeNotMade(error.reason, error.text))
        except NoLeader:
            answer(NotLeading())

    # --- questions ---
    async def change(
        self, change: Change, *, expected_version: int, force: bool, deadline_s: float
    ) -> Configuration:
        """Make a change; see `ReplicatedLog.change_members`."""
        ends_s = self._now_s() + deadline_s
        if isinstance(change, Remove) and await self._leader(ends_s) == change.id:
            # If nobody takes over, the leader itself says what stands in the way.
            await self.transfer(target=None, deadline_s=max(0.0, ends_s - self._now_s()) / 2)
        answer = await self._ask(ChangeCall(change, expected_version, force), ends_s)
        match answer:
            case ChangeMade():
                return answer.configuration
            case ChangeNotMade():
                raise ChangeRefused(answer.reason, answer.text)
        raise OutcomeUnknown("the leader stopped leading before the change was committed")

    async def view(self, *, deadline_s: float) -> Membership:
        """Return the leader's view; see `ReplicatedLog.ask_leader_membership`."""
        asked_s = self._now_s()
        answer = await self._ask(ViewCall(), asked_s + deadline_s)
        assert isinstance(answer, View)
        view = answer.membership
        age_s = view.view_age_s + self._now_s() - asked_s  # at most
        return msgspec.structs.replace(view, view_age_s=age_s)

    async def transfer(self, *, target: int | None, deadline_s: float) -> bool:
        """Let another member lead; see `ReplicatedLog.transfer_leadership`."""
        member, ends_s = self._node.member, self._now_s() + deadline_s
        leaves = member if self._node.role == "leader" else self._lead.leader
        while not self._lead.is_stopping:
            leader = self._lead.leader
            leaves = leader if leaves is None else leaves
            if leader is not None and leader == target:
                return True
            if leader not in (None, leaves) and target is None:
                return True
            left_s = ends_s - self._now_s()
            if left_s <= 0:
                return False
            if leader is not None and not await self._begin_transfer(leader, target, ends_s):
                return False
            await self._lead.leader_moves(min(left_s, self._patience_s))
        return False

    async def _begin_transfer(self, leader: int, target: int | None, ends_s: float) -> bool:
        """Tell the leader; False: it has nobody to hand over to."""
        answer = await self._ask_once(leader, TransferCall(target), ends_s)
        return not (isinstance(answer, TransferBegun) and not answer.begun)

    # --- the way to the leader ---
    async def _ask(self, call: AnyCall, ends_s: float) -> AnyAnswer:
        """Return the leader's answer, asking whoever leads until the deadline.

        Raises:
            NoLeader, NotProposed: nothing was done.
            OutcomeUnknown: a change may have been made.
        """
        while True:
            leader = await self._leader(ends_s)
            answer = await self._ask_once(leader, call, ends_s)
            if answer is not None and not isinstance(answer, NotLeading):
                return answer
            if answer is None and isinstance(call, ChangeCall):
                raise OutcomeUnknown("no answer to a change came from the leader")
            await asyncio.sleep(min(RETRY_S, max(0.0, ends_s - self._now_s())))

    async def _leader(self, ends_s: float) -> int:
        """Return who leads, waiting for one.

        Raises:
            NoLeader, NotProposed: not in time, or this member stops.
        """
        gives_up_s = min(ends_s, self._now_s() + limits.LEADER_WAIT_S)
        while not self._lead.is_stopping:
            leader, left_s = self._lead.leader, gives_up_s - self._now_s()
            if left_s <= 0:
                raise NoLeader("no leader took the question in time")
            if leader is not None:
                return leader
            await self._lead.leader_moves(left_s)
        raise NotProposed("this member stops")

    async def _ask_once(self, leader: int, call: AnyCall, ends_s: float) -> AnyAnswer | None:
        """Return the answer of who seemed to lead; None: none came, though the question may have arrived."""
        if leader == self._node.member:
            answer = self._ask_here(call)
        else:
            sent = self._calls().ask(leader, call)
            if sent is None:
                return NotLeading()  # no connection: it was not asked
            answer = sent
        try:
            async with asyncio.timeout(max(0.0, ends_s - self._now_s())):
                return await answer
        except (TimeoutError, CallLost):
            return None

    def _ask_here(self, call: AnyCall) -> "asyncio.Future[AnyAnswer]":
        answer: asyncio.Future[AnyAnswer] = asyncio.get_running_loop().create_future()

        def answered(found: AnyAnswer) -> None:
            if not answer.done():
                answer.set_result(found)

        with self._edge:
            self.serve(call, answered)
        return answer

    def _now_s(self) -> float:
        return self._clock.monotonic_s()
