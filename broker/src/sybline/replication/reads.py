"""Linearizable reads of this member (read index): sans I/O, driven by callbacks and `poll`.

Owns the barriers that wait and their requests to the leader. Barriers without a note that arrive before a request
leaves share it, so one round of heartbeats serves them all. A request is repeated when the leader or the connection
changes; it changes nothing, so that is always safe.
"""

from collections.abc import Callable
from typing import Protocol

from sybline import limits
from sybline.errors import NoLeader, NotProposed, Overloaded, SyblineError
from sybline.replication.messages import NOTE_BYTES_MAX

REFUSED_RETRY_S = 0.05

Ask = Callable[[int, bytes], bool]  # (request, note) -> whether it left


class ReadAnswer(Protocol):
    """Where the leader's answer to the note goes; an asyncio.Future is one."""

    def done(self) -> bool: ...

    def set_result(self, result: bytes, /) -> None: ...

    def set_exception(self, exception: SyblineError, /) -> None: ...


class _Barrier:
    __slots__ = ("answer", "deadline_s", "give_up_s")

    def __init__(self, answer: ReadAnswer, now_s: float, deadline_s: float) -> None:
        self.answer = answer
        self.deadline_s = deadline_s
        self.give_up_s = min(deadline_s, now_s + limits.LEADER_WAIT_S)  # while there is no index


class _Request:
    __slots__ = ("barriers", "index", "note", "note_answer", "retry_s", "sent")

    def __init__(self, note: bytes) -> None:
        self.note = note
        self.barriers: list[_Barrier] = []
        self.sent = False
        self.retry_s: float | None = None
        self.index: int | None = None  # what must be applied here; None: not answered
        self.note_answer = b""


class Reads:
    """The barriers of one process, by request."""

    def __init__(
        self,
        *,
        now_s: Callable[[], float],
        ask: Ask,
        applied_index: Callable[[], int],
        first_request: int,
    ) -> None:
        """`first_request`: random, so that an answer meant for an earlier process of this member fits nothing."""
        self._now_s = now_s
        self._ask = ask
        self._applied_index = applied_index
        self._requests: dict[int, _Request] = {}
        self._collecting: int | None = None  # the request new barriers without a note join
        self._unsent: list[int] = []
        self._next_request = first_request
        self._waiting = 0
        self._route_open = False
        self._next_event_s = float("inf")
        self._stopped = False

    def __len__(self) -> int:
        return self._waiting

    @property
    def next_event_s(self) -> float:
        """Return when `poll` has something to do (monotonic seconds)."""
        return self._next_event_s

    def add(self, *, note: bytes, deadline_s: float, answer: ReadAnswer) -> int:
        """Take a barrier and return its request; it leaves with the next `flush`.

        Raises:
            NoLeader: the deadline has passed already.
            NotProposed: this member stops.
            Overloaded: too many reads wait.
        """
        if len(note) > NOTE_BYTES_MAX:
            raise ValueError(f"a note of {len(note)} bytes; the edge must refuse it")
        if self._stopped:
            raise NotProposed("this member stops")
        if deadline_s <= 0:
            raise NoLeader("the deadline has passed")
        if self._waiting >= limits.FORWARDED_PER_PEER_MAX:
            raise Overloaded("reads in flight on this member")
        now_s = self._now_s()
        number = self._join(note)
        barrier = _Barrier(answer, now_s, now_s + deadline_s)
        self._requests[number].barriers.append(barrier)
        self._waiting += 1
        self._next_event_s = min(self._next_event_s, barrier.give_up_s)
        return number

    def drop(self, number: int, answer: ReadAnswer) -> None:
        """Forget a barrier whose caller left."""
        request = self._requests.get(number)
        if request is None:
            return
        kept = [barrier for barrier in request.barriers if barrier.answer is not answer]
        self._waiting -= len(request.barriers) - len(kept)
        request.barriers = kept
        if not kept:
            self._forget(number)

    def flush(self) -> None:
        """Send what has collected, if there is a way to the leader."""
        if not self._route_open:
            return
        self._collecting = None
        unsent, self._unsent = self._unsent, []
        for number in unsent:
            self._send(number)

    def answered(self, number: int, index: int | None, note_answer: bytes) -> None:
        """The leader answered: an index to wait for, or None if it cannot confirm that it leads."""
        request = self._requests.get(number)
        if request is None or request.index is not None:
            return
        if index is None:
            request.sent = False
            request.retry_s = self._now_s() + REFUSED_RETRY_S
            self._next_event_s = min(self._next_event_s, request.retry_s)
            return
        request.index = index
        request.note_answer = note_answer
        self._resolve_if_applied(number, request, self._applied_index())

    def applied(self, index: int) -> None:
        """The state has moved on to `index`."""
        if self._requests:
            for number, request in list(self._requests.items()):
                self._resolve_if_applied(number, request, index)

    def route_changed(self, *, is_open: bool) -> None:
        """The leader, or the connection to it, changed: ask again what has no answer."""
        self._route_open = is_open
        self._collecting = None
        self._unsent = []
        for number, request in self._requests.items():
            if request.index is None:
                request.sent = False
                request.retry_s = None
                self._unsent.append(number)
        self.flush()

    def poll(self, now_s: float) -> float:
        """Fail what is overdue, repeat what was refused. Returns when to call again (monotonic seconds)."""
        if now_s < self._next_event_s:
            return self._next_event_s
        self._next_event_s = float("inf")
        for number, request in list(self._requests.items()):
            self._expire(number, request, now_s)
        return self._next_event_s

    def stop(self) -> None:
        """Fail everything that waits; accept nothing more."""
        self._stopped = True
        for number, request in list(self._requests.items()):
            for barrier in request.barriers:
                _fail(barrier, "this member stops")
            self._waiting -= len(request.barriers)
            self._forget(number)

    def _join(self, note: bytes) -> int:
        if not note and self._collecting is not None:
            return self._collecting
        number = self._next_request
        self._next_request += 1
        self._requests[number] = _Request(note)
        self._unsent.append(number)
        if not note:
            self._collecting = number
        return number

    def _send(self, number: int) -> None:
        request = self._requests.get(number)
        if request is None or request.sent or request.index is not None:
            return
        request.sent = True
        request.retry_s = None
        if not self._ask(number, request.note):
            self.answered(number, None, b"")

    def _resolve_if_applied(self, number: int, request: _Request, applied_index: int) -> None:
        if request.index is None or applied_index < request.index:
            return
        for barrier in request.barriers:
            if not barrier.answer.done():
                barrier.answer.set_result(request.note_answer)
        self._waiting -= len(request.barriers)
        self._forget(number)

    def _expire(self, number: int, request: _Request, now_s: float) -> None:
        kept = []
        for barrier in request.barriers:
            ends_s = barrier.give_up_s if request.index is None else barrier.deadline_s
            if now_s >= ends_s:
                _fail(barrier, "no leader confirmed a read in time")
                self._waiting -= 1
            else:
                kept.append(barrier)
                self._next_event_s = min(self._next_event_s, ends_s)
        request.barriers = kept
        if not kept:
            self._forget(number)
        elif request.retry_s is not None and now_s >= request.retry_s and self._route_open:
            self._send(number)
        elif request.retry_s is not None and self._route_open:
            self._next_event_s = min(self._next_event_s, request.retry_s)

    def _forget(self, number: int) -> None:
        del self._requests[number]
        if self._collecting == number:
            self._collecting = None


def _fail(barrier: _Barrier, text: str) -> None:
    if not barrier.answer.done():
        barrier.answer.set_exception(NoLeader(text))
