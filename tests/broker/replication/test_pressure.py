"""When disks are so full that publishes must be refused (Z-5)."""

from sybline import limits
from sybline.replication.pressure import DiskPressure, low_water_bytes

GIB = 1024 * limits.MIB


def three() -> DiskPressure:
    return DiskPressure(frozenset({1, 2, 3}))


def test_the_mark_is_five_percent_or_one_gibibyte_whichever_is_smaller() -> None:
    assert low_water_bytes(100 * GIB) == GIB
    assert low_water_bytes(10 * GIB) == GIB // 2


def test_a_low_leader_blocks_publishes() -> None:
    pressure = three()
    pressure.reported(2, is_low=True)
    assert pressure.blocking_member(leader=2) == 2
    assert pressure.blocking_member(leader=1) is None


def test_a_majority_that_cannot_write_blocks_publishes() -> None:
    pressure = three()
    pressure.reported(2, is_low=True)
    pressure.reported(3, is_low=True)
    assert pressure.blocking_member(leader=1) == 2
    pressure.reported(3, is_low=False)
    assert pressure.blocking_member(leader=1) is None


def test_a_member_recovers_only_well_above_the_mark() -> None:
    pressure = three()
    assert not pressure.measured(1, free_bytes=2 * GIB, total_bytes=100 * GIB, is_full=False)
    assert pressure.measured(1, free_bytes=GIB - 1, total_bytes=100 * GIB, is_full=False)
    assert pressure.measured(1, free_bytes=GIB + 1, total_bytes=100 * GIB, is_full=False)
    assert not pressure.measured(1, free_bytes=2 * GIB, total_bytes=100 * GIB, is_full=False)


def test_a_log_without_a_reserve_counts_as_low_whatever_is_free() -> None:
    assert three().measured(1, free_bytes=50 * GIB, total_bytes=100 * GIB, is_full=True)


def test_strangers_have_no_say() -> None:
    pressure = three()
    pressure.reported(8, is_low=True)
    pressure.reported(9, is_low=True)
    assert pressure.blocking_member(leader=1) is None
