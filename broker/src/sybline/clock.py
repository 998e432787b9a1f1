"""Clocks as values to pass in: nothing else in the broker reads the time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Source of time; tests and the simulator bring their own."""

    def monotonic_s(self) -> float:
        """Return seconds that never go back; only differences mean anything."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970; may step, so it is used once, to start log time."""


class SystemClock:
    """The clocks of this machine."""

    def monotonic_s(self) -> float:
        """Return the kernel's monotonic clock, in seconds."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Return wall-clock milliseconds since 1970."""
        return time.time_ns() // 1_000_000
