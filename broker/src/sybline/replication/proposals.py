"""What this member has proposed and waits for: sans I/O, driven by callbacks and `poll`.

Owns the numbering of commands (origin, sequence), the waiters, and the decision which error a caller gets: definite
(nothing was ever handed over that was not refused again) or unknown (ADR-0003). It does not know where the leader is:
`send` hands a payload on, `route_changed` says that everything has to be handed on again. A repeat has the same number,
so the state machine applies it once (P-9).
"""

from collections.abc import Callable
from typing import Protocol

from sybline import limits
from sybline.errors import (
    DeadlinePassed,
    NoLeader,
    NotProposed,
    OutcomeUnknown,
    Overloaded,
    SyblineError,
)
from sybline.replication.codec import encode_request
from sybline.replication.measures import Observer
from sybline.state_machine.commands import AnyCommand
from sybline.state_machine.replies import AnyReply, Reason, Refused

REFUSED_RETRY_S = 0.05  # a refused proposal is offered again after this, or when the leader changes
WAITER_BYTES = 1_024  # what a waiting proposal costs besides its payload, counted against the bound

Send = Callable[[int, bytes], bool]  # (sequence, payload) -> whether it was handed over


class Answer(Protocol):
    """Where an outcome goes; an asyncio.Future is one."""

    def done(self) -> bool: ...

    def set_result(self, result: AnyReply, /) -> None: ...

    def set_exception(self, exception: SyblineError, /) -> None: ...


class _Waiter:
    __slots__ = (
        "answer",
        "deadline_s",
        "give_up_s",
        "payload",
        "refusals",
        "retry_s",
        "sends",
        "started_s",
    )

    def __init__(self, payload: bytes, answer: Answer, started_s: float, deadline_s: float) -> None:
        self.payload = payload
        self.answer = answer
        self.started_s = started_s
        self.deadline_s = deadline_s
        self.give_up_s = min(
            deadline_s, started_s + limits.LEADER_WAIT_S
        )  # while definitely not appended
        self.sends = 0  # how often it was handed over …
        self.refusals = 0  # … and definitely refused; if fewer, it may be in a log
        self.retry_s: float | None = 0.0  # when to hand it over; None: handed over, no news

    @property
    def may_be_appended(self) -> bool:
        return self.sends > self.refusals

    @property
    def size_bytes(self) -> int:
        return len(self.payload) + WAITER_BYTES

    def next_event_s(self) -> float:
        ends_s = self.deadline_s if self.may_be_appended else self.give_up_s
        return ends_s if self.retry_s is None else min(ends_s, self.retry_s)


class Proposals:
    """The waiters of one process, by sequence."""

    def __init__(
        self, *, origin: int, now_s: Callable[[], float], send: Send, observer: Observer
    ) -> None:
        self.origin = origin
        self._now_s = now_s
        self._send = send
        self._observer = observer
        self._waiters: dict[int, _Waiter] = {}  # in order of sequence
        self._next_sequence = 1
        self._lowest = 1  # no waiter has a smaller sequence
        self._pending_bytes = 0
        self._route_open = False
        self._next_event_s = float("inf")
        self._stopped = False

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def pending_bytes(self) -> int:
        return self._pending_bytes

    @property
    def next_event_s(self) -> float:
        """Return when `poll` has something to do (monotonic seconds)."""
        return self._next_event_s

    def add(self, command: AnyCommand, *, deadline_s: float, answer: Answer) -> int:
        """Number a command, hand it on and return its sequence. `deadline_s` is seconds from now.

        Raises:
            NotProposed: the deadline has passed already, or this member stops.
            Overloaded: the bound on pending bytes is reached (Z-6).
        """
        if self._stopped or deadline_s <= 0:
            raise NotProposed("this member stops" if self._stopped else "the deadline has passed")
        now_s = self._now_s()
        sequence = self._next_sequence
        payload = encode_request(self.origin, sequence, self._answered_below(), command)
        waiter = _Waiter(payload, answer, now_s, now_s + deadline_s)
        self._admit(waiter)
        self._next_sequence = sequence + 1
        self._waiters[sequence] = waiter
        if self._route_open:
            self._hand_over(sequence, waiter)
        else:
            waiter.retry_s = None  # route_changed hands it over
        self._expect(waiter)
        return sequence

    def drop(self, sequence: int) -> None:
        """Forget a waiter whose caller left; the command may still be applied (C-4)."""
        self._remove(sequence)

    def applied(self, sequence: int, reply: AnyReply) -> None:
        """An entry of this origin was applied here: answer its caller."""
        waiter = self._remove(sequence)
        if waiter is None or waiter.answer.done():
            return
        if type(reply) is Refused and reply.reason is Reason.REPLY_FORGOTTEN:
            waiter.answer.set_exception(OutcomeUnknown("the first reply is no longer kept"))
            return
        waiter.answer.set_result(reply)
        self._observer.proposal_seconds(self._now_s() - waiter.started_s)

    def restored(self, reply_to: Callable[[int, int], AnyReply | None]) -> None:
        """The state was replaced by a newer one: it holds the replies of what it applied on the way."""
        for sequence in list(self._waiters):
            reply = reply_to(self.origin, sequence)
            if reply is not None:
                self.applied(sequence, reply)

    def route_changed(self, *, is_open: bool) -> None:
        """The leader, or the connection to it, changed: hand over again what has no answer yet."""
        self._route_open = is_open
        for sequence, waiter in list(self._waiters.items()):
            if is_open:
                self._hand_over(sequence, waiter)
            else:
                waiter.retry_s = None
            self._expect(waiter)

    def refused(self, sequence: int, *, overloaded: bool) -> None:
        """One hand-over was definitely not appended."""
        waiter = self._waiters.get(sequence)
        if waiter is None:
            return
        waiter.refusals += 1
        if overloaded and not waiter.may_be_appended:
            self._fail(sequence, Overloaded("the leader's queue of proposals"))
            return
        now_s = self._now_s()
        if waiter.refusals == 1:
            waiter.give_up_s = min(waiter.deadline_s, now_s + limits.LEADER_WAIT_S)
        waiter.retry_s = self._retry_at_s()
        self._expect(waiter)

    def poll(self, now_s: float) -> float:
        """Fail what is overdue, repeat what was refused. Returns when to call again (monotonic seconds)."""
        if now_s < self._next_event_s:
            return self._next_event_s
        self._next_event_s = float("inf")
        for sequence, waiter in list(self._waiters.items()):
            self._poll_one(sequence, waiter, now_s)
        return self._next_event_s

    def stop(self) -> None:
        """Fail everything that waits; accept nothing more."""
        self._stopped = True
        for sequence, waiter in list(self._waiters.items()):
            error: SyblineError = NotProposed("this member stops")
            if waiter.may_be_appended:
                error = OutcomeUnknown("this member stops before the outcome is known")
            self._fail(sequence, error)

    def _admit(self, waiter: _Waiter) -> None:
        if len(waiter.payload) > limits.ENTRY_BYTES_MAX:
            raise ValueError(f"a command of {len(waiter.payload)} bytes; the edge must refuse it")
        if self._pending_bytes + waiter.size_bytes > limits.PENDING_PROPOSAL_BYTES_MAX:
            raise Overloaded("pending proposals of this member")
        self._pending_bytes += waiter.size_bytes

    def _answered_below(self) -> int:
        """Smallest sequence somebody waits for, the next one included."""
        lowest, waiters = self._lowest, self._waiters
        while lowest < self._next_sequence and lowest not in waiters:
            lowest += 1
        self._lowest = lowest
        return lowest

    def _hand_over(self, sequence: int, waiter: _Waiter) -> None:
        waiter.retry_s = None
        waiter.sends += 1  # before the call: a refusal may come back from inside it
        if not self._send(sequence, waiter.payload):
            waiter.sends -= 1
            waiter.retry_s = self._retry_at_s()

    def _retry_at_s(self) -> float | None:
        return self._now_s() + REFUSED_RETRY_S if self._route_open else None

    def _expect(self, waiter: _Waiter) -> None:
        event_s = waiter.next_event_s()
        if event_s < self._next_event_s:
            self._next_event_s = event_s

    def _poll_one(self, sequence: int, waiter: _Waiter, now_s: float) -> None:
        if waiter.may_be_appended and now_s >= waiter.deadline_s:
            self._fail(sequence, DeadlinePassed("the deadline passed after proposing"))
            return
        if not waiter.may_be_appended and now_s >= waiter.give_up_s:
            self._fail(sequence, NoLeader("no leader took the command in time"))
            return
        if waiter.retry_s is not None and now_s >= waiter.retry_s and self._route_open:
            self._hand_over(sequence, waiter)
        if sequence in self._waiters:
            self._expect(waiter)

    def _fail(self, sequence: int, error: SyblineError) -> None:
        waiter = self._remove(sequence)
        if waiter is not None and not waiter.answer.done():
            waiter.answer.set_exception(error)

    def _remove(self, sequence: int) -> _Waiter | None:
        waiter = self._waiters.pop(sequence, None)
        if waiter is not None:
            self._pending_bytes -= waiter.size_bytes
        return waiter
