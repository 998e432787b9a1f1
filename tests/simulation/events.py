"""Virtual time: what happens when, and the clock each machine shows. Nothing here waits."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

Action = Callable[[], None]
WALL_START_MS = 1_700_000_000_000


class Events:
    """Actions in the order of their time; those of the same time in the order in which they were planned."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._planned: list[tuple[float, int, Action]] = []
        self._count = 0

    def at(self, time_s: float, action: Action) -> None:
        """Plan an action."""
        self._count += 1
        heapq.heappush(self._planned, (max(time_s, self.now_s), self._count, action))

    def after(self, delay_s: float, action: Action) -> None:
        """Plan an action so many seconds from now."""
        self.at(self.now_s + delay_s, action)

    def run_until(self, end_s: float) -> None:
        """Let everything happen that is planned up to a moment, and whatever comes of it."""
        planned = self._planned
        while planned and planned[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(planned)
            action()
        self.now_s = end_s


@dataclass
class HostClock:
    """A machine's clock. It jumps forward when a machine was frozen; it never goes back."""

    events: Events
    jumped_s: float = field(default=0.0)

    def monotonic_s(self) -> float:
        return self.events.now_s + self.jumped_s

    def wall_ms(self) -> int:
        return WALL_START_MS + int(self.monotonic_s() * 1000)
