"""Slows down guessing: per user and source address, so many failed logins a minute, then longer and longer waits.

Owns the memory of failures on this member; nothing here is replicated. Bounded by FAILED_LOGIN_TABLE_MAX pairs, of
which the one that failed longest ago is forgotten first.
"""

from collections import OrderedDict
from typing import Final

from sybline import limits
from sybline.clock import Clock

_MINUTE_S: Final = 60.0


class _Failures:
    """What one pair of user and source address has done lately."""

    __slots__ = ("blocked_until_s", "times_s", "wait_s")

    def __init__(self) -> None:
        self.times_s: list[float] = []  # of the latest, at most FAILED_LOGINS_PER_MINUTE
        self.wait_s = 0.0  # the last back-off; 0: none
        self.blocked_until_s = 0.0

    def add(self, now_s: float) -> None:
        """Count a failure; the one that reaches the limit starts a back-off, any within a minute of it doubles it."""
        if self.wait_s and now_s - self.blocked_until_s >= _MINUTE_S:
            self.wait_s = 0.0
        recent = [each for each in self.times_s if now_s - each < _MINUTE_S]
        self.times_s = [*recent, now_s][-limits.FAILED_LOGINS_PER_MINUTE :]
        if self.wait_s or len(self.times_s) == limits.FAILED_LOGINS_PER_MINUTE:
            longer_s = max(limits.FAILED_LOGIN_BACKOFF_S_MIN, self.wait_s * 2)
            self.wait_s = min(longer_s, limits.FAILED_LOGIN_BACKOFF_S_MAX)
            self.blocked_until_s = now_s + self.wait_s


class LoginThrottle:
    """Ask `retry_after_s` before a password is checked, and tell how the check ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._table: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def __len__(self) -> int:
        """Number of pairs remembered."""
        return len(self._table)

    def retry_after_s(self, user: str, source: str) -> float:
        """Return how many seconds to wait before the next try; 0.0: none. `source` is an address without port."""
        failures = self._table.get((user, source))
        if failures is None:
            return 0.0
        return max(0.0, failures.blocked_until_s - self._clock.monotonic_s())

    def failed(self, user: str, source: str) -> None:
        """Take note of a wrong password or an unknown user."""
        pair = (user, source)
        failures = self._table.setdefault(pair, _Failures())
        self._table.move_to_end(pair)
        failures.add(self._clock.monotonic_s())
        if len(self._table) > limits.FAILED_LOGIN_TABLE_MAX:
            self._table.popitem(last=False)

    def succeeded(self, user: str, source: str) -> None:
        """Forget the failures of a pair."""
        self._table.pop((user, source), None)
