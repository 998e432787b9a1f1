"""Log time (L-8): one reading of the wall clock in a cluster's life, never back, on through failovers."""

from sybline.replication.log_time import TICK_INTERVAL_S, TICK_LOST_S, LogTime, TickSource


class Hands:
    """A clock moved by the test."""

    def __init__(self, wall_ms: int = 1_700_000_000_000) -> None:
        self.monotonic = 50.0
        self.wall = wall_ms

    def monotonic_s(self) -> float:
        return self.monotonic

    def wall_ms(self) -> int:
        return self.wall


def test_the_first_stamp_of_a_cluster_is_the_wall_clock() -> None:
    clock = Hands()
    log_time = LogTime(clock)
    assert log_time.now_ms() == 0
    assert log_time.stamp_ms() == clock.wall


def test_steps_of_the_wall_clock_do_not_move_log_time() -> None:
    clock = Hands()
    log_time = LogTime(clock)
    first = log_time.stamp_ms()
    clock.wall += 7_200_000
    clock.monotonic += 1.5
    assert log_time.stamp_ms() == first + 1500
    clock.wall -= 50_000_000
    clock.monotonic += 0.5
    assert log_time.stamp_ms() == first + 2000


def test_a_new_leader_goes_on_from_the_last_stamp_it_applied() -> None:
    clock = Hands(wall_ms=5)
    log_time = LogTime(clock)
    log_time.follow(1_000_000)
    assert log_time.stamp_ms() == 1_000_000


def test_a_new_leader_counts_the_quiet_time_since_the_last_stamp() -> None:
    clock = Hands()
    log_time = LogTime(clock)
    log_time.follow(1_000_000)
    clock.monotonic += 60
    assert log_time.stamp_ms() == 1_060_000


def test_a_follower_follows_the_leader_also_when_that_is_behind_its_own_estimate() -> None:
    clock = Hands()
    log_time = LogTime(clock)
    log_time.follow(1_000)
    clock.monotonic += 1
    log_time.follow(1_500)
    assert log_time.now_ms() == 1_500
    clock.monotonic += 0.25
    assert log_time.stamp_ms() == 1_750


def test_no_chain_of_leaders_shortens_a_lease() -> None:
    """Two followers apply at different delays; a lease granted by the slower one must last under the quicker one."""
    clock = Hands()
    first, slow, quick = LogTime(clock), LogTime(clock), LogTime(clock)
    stamp = first.stamp_ms()
    quick.follow(stamp)
    clock.monotonic += 0.1
    slow.follow(stamp)
    granted, granted_s = slow.stamp_ms(), clock.monotonic  # the slow one leads now
    quick.follow(granted)
    clock.monotonic = granted_s + 4.999
    assert quick.stamp_ms() < granted + 5_000
    clock.monotonic = granted_s + 5.0
    assert quick.stamp_ms() == granted + 5_000


class Ticker:
    """A TickSource over a due time in the test's hand."""

    def __init__(self) -> None:
        self.due_ms: int | None = None
        self.proposed = 0
        self.source = TickSource(next_due_ms=lambda: self.due_ms, propose=self._propose)

    def _propose(self) -> None:
        self.proposed += 1


def test_a_tick_is_never_proposed_before_something_is_due() -> None:
    ticker = Ticker()
    ticker.due_ms = 5_000
    now_s = 0.0
    while now_s * 1000 < 4_999:
        now_s = min(ticker.source.poll(now_s, int(now_s * 1000)), 4.999)
        assert ticker.proposed == 0
    now_s = 5.0 + TICK_INTERVAL_S
    ticker.source.poll(now_s, int(now_s * 1000))
    assert ticker.proposed == 1


def test_a_tick_comes_well_within_a_second_of_what_became_due() -> None:
    ticker = Ticker()
    now_s = 10.0
    wake_s = ticker.source.poll(now_s, 10_000)
    ticker.due_ms = 10_001  # declared right after the look
    assert wake_s - now_s <= 0.5
    ticker.source.poll(wake_s, int(wake_s * 1000))
    assert ticker.proposed == 1


def test_one_tick_is_in_flight_at_a_time_and_a_lost_one_is_repeated() -> None:
    ticker = Ticker()
    ticker.due_ms = 1
    ticker.source.poll(1.0, 1_000)
    ticker.source.poll(1.5, 1_500)
    assert ticker.proposed == 1
    ticker.source.poll(1.0 + TICK_LOST_S, 3_000)
    assert ticker.proposed == 2
    ticker.source.applied(3.1)
    ticker.source.poll(3.1 + TICK_INTERVAL_S, 3_200)  # more was due than one Tick carries out
    assert ticker.proposed == 3


def test_a_new_leadership_looks_at_once() -> None:
    ticker = Ticker()
    ticker.due_ms = 1
    ticker.source.poll(1.0, 1_000)
    ticker.source.reset()
    ticker.source.poll(1.1, 1_100)
    assert ticker.proposed == 2
