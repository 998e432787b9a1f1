"""The time-outs of Raft: liveness only, no rule of safety reads a clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `election_s` is the shortest time without a leader before a member campaigns."""

    election_s: float = 1.0
    heartbeat_s: float = 0.15
    disconnect_jitter_s: tuple[float, float] = (
        0.01,
        0.06,
    )  # leader's connection closed: ask this soon
    hurry_s: tuple[float, float] = (0.05, 0.15)  # … and again this soon, for one election time-out

    def __post_init__(self) -> None:
        if not 0 < 3 * self.heartbeat_s <= self.election_s:
            raise ValueError(
                f"heartbeat {self.heartbeat_s} s must be at most a third of the election "
                f"time-out, {self.election_s} s"
            )

    @property
    def election_max_s(self) -> float:
        """Return the longest randomised time-out; a leader unheard for so long steps down."""
        return 2 * self.election_s

    @property
    def retry_s(self) -> float:
        """Return how long an unanswered message waits before it is probed again."""
        return max(2 * self.heartbeat_s, 0.2)
