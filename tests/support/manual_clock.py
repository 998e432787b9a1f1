"""A clock that stands still until a test moves it."""


class ManualClock:
    """Satisfies `sybline.clock.Clock`; set `now_s`."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)
