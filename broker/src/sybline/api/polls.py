"""Who fetches from a queue lately, as far as the leader knows (N-6).

Owns the leader's memory, the notes by which other members tell and ask it, and how often they tell. The knowledge is
lost with the leader and comes back with the next polls: it only keeps a nacked message from the session that gave it
back, for a while.
"""

from collections import OrderedDict
from typing import Final

from sybline import limits
from sybline.clock import Clock

_POLLED: Final = b"P"
_ASKED: Final = b"A"
_CONSUMER_BYTES: Final = 16
_YES: Final = b"\x01"
_NO: Final = b"\x00"
_NEVER_S: Final = float("-inf")


def polled_note(queue: str, consumer: bytes) -> bytes:
    """Return the note that tells the leader of a poll."""
    return _POLLED + consumer + queue.encode()


def question_note(queue: str, consumer: bytes) -> bytes:
    """Return the note that asks the leader whether anybody else polls; the answer is for `is_yes`."""
    return _ASKED + consumer + queue.encode()


def is_yes(answer: bytes) -> bool:
    """Return whether the leader knows of another poller."""
    return answer == _YES


class _Lately:
    """The two consumers that polled a queue last: enough to know whether somebody else than one of them did."""

    __slots__ = ("earlier", "earlier_s", "last", "last_s")

    def __init__(self) -> None:
        self.last = self.earlier = b""
        self.last_s = self.earlier_s = _NEVER_S

    def note(self, consumer: bytes, now_s: float) -> None:
        if consumer != self.last:
            self.earlier, self.earlier_s = self.last, self.last_s
            self.last = consumer
        self.last_s = now_s

    def last_of_others_s(self, consumer: bytes) -> float:
        return self.earlier_s if consumer == self.last else self.last_s


class PollMemory:
    """What this member knows of pollers; asked only while it leads. Its `on_note` is the member's hook."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: OrderedDict[str, _Lately] = OrderedDict()  # least recently polled first

    def __len__(self) -> int:
        return len(self._queues)

    def note(self, queue: str, consumer: bytes) -> None:
        """Remember a poll."""
        lately = self._queues.get(queue)
        if lately is None:
            lately = self._queues[queue] = _Lately()
            if len(self._queues) > limits.QUEUES_MAX:
                self._queues.popitem(last=False)
        else:
            self._queues.move_to_end(queue)
        lately.note(consumer, self._clock.monotonic_s())

    def others_poll(self, queue: str, consumer: bytes) -> bool:
        """Return whether somebody else polled within the last 10 s, give or take how often members tell."""
        lately = self._queues.get(queue)
        if lately is None:
            return False
        age_s = self._clock.monotonic_s() - lately.last_of_others_s(consumer)
        return age_s * 1000 <= limits.POLL_MEMORY_MS + limits.POLL_REPORT_MS

    def on_note(self, note: bytes) -> bytes:
        """Take a member's note and return the answer; what is no note is answered with nothing."""
        kind, consumer = note[:1], note[1 : 1 + _CONSUMER_BYTES]
        try:
            queue = note[1 + _CONSUMER_BYTES :].decode()
        except UnicodeDecodeError:
            return b""
        if kind == _POLLED:
            self.note(queue, consumer)
            return b""
        if kind == _ASKED:
            return _YES if self.others_poll(queue, consumer) else _NO
        return b""


class PollReports:
    """When this member tells the leader of a poll: the first one, and then at most every POLL_REPORT_MS."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_s: OrderedDict[tuple[str, bytes], float] = OrderedDict()  # oldest first
        self._term = -1

    def is_due(self, queue: str, consumer: bytes, term: int) -> bool:
        """Return whether to tell now, and count it as told; a new leader has to be told everything."""
        if term != self._term:
            self._told_s.clear()
            self._term = term
        now_s = self._clock.monotonic_s()
        told = self._told_s
        key = (queue, consumer)
        if (now_s - told.get(key, _NEVER_S)) * 1000 < limits.POLL_REPORT_MS:
            return False
        told[key] = now_s
        told.move_to_end(key)
        if len(told) > limits.POLL_REPORTS_MAX:
            told.popitem(last=False)
        return True
