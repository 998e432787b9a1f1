"""Failed logins: ten a minute for a user from an address, then waits up to a minute (wire contract §8)."""

import pytest

from sybline import limits
from sybline.auth.throttle import LoginThrottle
from tests.support.manual_clock import ManualClock

USER = ("ann", "10.0.0.1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def throttle(clock: ManualClock) -> LoginThrottle:
    return LoginThrottle(clock)


def fail(throttle: LoginThrottle, times: int, *, pair: tuple[str, str] = USER) -> None:
    for _ in range(times):
        throttle.failed(*pair)


def test_nine_failures_cost_nothing(throttle: LoginThrottle) -> None:
    fail(throttle, 9)
    assert throttle.retry_after_s(*USER) == 0.0


def test_the_tenth_failure_within_a_minute_starts_a_back_off(
    throttle: LoginThrottle, clock: ManualClock
) -> None:
    fail(throttle, 10)
    assert throttle.retry_after_s(*USER) == 1.0
    clock.now_s += 0.75
    assert throttle.retry_after_s(*USER) == 0.25
    clock.now_s += 0.25
    assert throttle.retry_after_s(*USER) == 0.0


def test_ten_failures_in_more_than_a_minute_cost_nothing(
    throttle: LoginThrottle, clock: ManualClock
) -> None:
    for _ in range(50):
        throttle.failed(*USER)
        clock.now_s += 60 / 9
        assert throttle.retry_after_s(*USER) == 0.0


def test_each_failure_after_a_back_off_doubles_it_up_to_a_minute(
    throttle: LoginThrottle, clock: ManualClock
) -> None:
    fail(throttle, 10)
    waits = []
    for _ in range(8):
        waits.append(throttle.retry_after_s(*USER))
        clock.now_s += waits[-1]
        throttle.failed(*USER)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_minute_of_peace_after_a_back_off_ends_it(
    throttle: LoginThrottle, clock: ManualClock
) -> None:
    fail(throttle, 14)
    clock.now_s += throttle.retry_after_s(*USER) + 60
    throttle.failed(*USER)
    assert throttle.retry_after_s(*USER) == 0.0


def test_a_success_clears(throttle: LoginThrottle) -> None:
    fail(throttle, 12)
    throttle.succeeded(*USER)
    assert throttle.retry_after_s(*USER) == 0.0
    fail(throttle, 9)
    assert throttle.retry_after_s(*USER) == 0.0


def test_other_users_and_other_addresses_are_not_held_back(throttle: LoginThrottle) -> None:
    fail(throttle, 10)
    assert throttle.retry_after_s("ann", "10.0.0.2") == 0.0
    assert throttle.retry_after_s("bob", "10.0.0.1") == 0.0


def test_the_table_is_bounded_and_forgets_who_failed_longest_ago(
    throttle: LoginThrottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FAILED_LOGIN_TABLE_MAX", 3)
    fail(throttle, 10, pair=("a", "x"))
    fail(throttle, 10, pair=("b", "x"))
    fail(throttle, 1, pair=("a", "x"))
    fail(throttle, 1, pair=("c", "x"))
    fail(throttle, 1, pair=("d", "x"))
    assert len(throttle) == 3
    assert throttle.retry_after_s("a", "x") > 0
    assert throttle.retry_after_s("b", "x") == 0.0
