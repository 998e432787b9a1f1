"""The clock of the log (L-8): what the leader stamps on entries, and when it proposes a Tick.

Log time never goes back and never follows a step of a wall clock. The wall clock is read once in the life of a cluster,
for the very first stamp. A follower's estimate is the newest stamp it has applied plus its own monotonic time since it
applied it: always behind the leader's clock, for it applies after the leader stamped. So a new leader continues where
the last one was, without the minutes in which nothing was stamped, and never ahead: a lease that one leader granted is
not shortened by the next one.
"""

from collections.abc import Callable

from sybline.clock import Clock

TICK_INTERVAL_S = 0.02  # at most 50 Ticks a second; each carries out a bounded number of expiries
TICK_LOOK_S = 0.25  # how often an idle leader looks; L-4 allows a second
TICK_LOST_S = 2.0  # a Tick that is not applied by then is proposed again

Milliseconds = int


class LogTime:
    """This member's estimate of log time, in milliseconds."""

    __slots__ = ("_base_ms", "_clock", "_since_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._base_ms = 0  # 0: nothing was ever stamped
        self._since_s = 0.0

    def follow(self, stamped_ms: Milliseconds) -> None:
        """Go on from the newest stamp, on an entry that was just applied, also when that is behind the estimate.

        Not for a leader: its own stamps come back later than it made them, and its clock would run slow.
        """
        self._start(stamped_ms)

    def now_ms(self) -> Milliseconds:
        """Return the estimate, 0 before anything was stamped."""
        return self._elapsed_ms() if self._base_ms else 0

    def stamp_ms(self) -> Milliseconds:
        """Return the time for the next entry; the first of a cluster is the wall clock's."""
        if not self._base_ms:
            self._start(max(1, self._clock.wall_ms()))
        return self._elapsed_ms()

    def _start(self, base_ms: Milliseconds) -> None:
        self._base_ms = base_ms
        self._since_s = self._clock.monotonic_s()

    def _elapsed_ms(self) -> Milliseconds:
        return self._base_ms + int((self._clock.monotonic_s() - self._since_s) * 1000)


class TickSource:
    """Decides when the leader proposes a Tick: never before something is due, at a bounded rate."""

    __slots__ = ("_in_flight_until_s", "_next_due_ms", "_next_look_s", "_propose")

    def __init__(
        self, *, next_due_ms: Callable[[], Milliseconds | None], propose: Callable[[], None]
    ) -> None:
        self._next_due_ms = next_due_ms
        self._propose = propose
        self._in_flight_until_s = 0.0
        self._next_look_s = 0.0

    def applied(self, now_s: float) -> None:
        """A Tick came out of the log: look again soon, for there may be more to do."""
        self._in_flight_until_s = 0.0
        self._next_look_s = now_s + TICK_INTERVAL_S

    def reset(self) -> None:
        """Leadership changed: what was in flight is somebody else's affair."""
        self._in_flight_until_s = 0.0
        self._next_look_s = 0.0

    def poll(self, now_s: float, log_now_ms: Milliseconds) -> float:
        """Propose a Tick if one is due. Leader only. Returns when to call again (monotonic seconds)."""
        if now_s < self._in_flight_until_s:
            return self._in_flight_until_s
        if now_s < self._next_look_s:
            return self._next_look_s
        due_ms = self._next_due_ms()
        if due_ms is None or due_ms > log_now_ms:
            wait_s = TICK_LOOK_S if due_ms is None else (due_ms - log_now_ms) / 1000
            self._next_look_s = now_s + min(TICK_LOOK_S, max(TICK_INTERVAL_S, wait_s))
            return self._next_look_s
        self._in_flight_until_s = now_s + TICK_LOST_S
        self._propose()
        return self._in_flight_until_s
