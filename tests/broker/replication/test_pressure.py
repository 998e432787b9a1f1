"""When members are so short of disk or memory that publishes must be refused (Z-5)."""

from sybline import limits
from sybline.replication.pressure import Marks, Pressure, Resource, Shortage

GIB = 1024 * limits.MIB
DISK, MEMORY = frozenset({Resource.DISK}), frozenset({Resource.MEMORY})
NOTHING: frozenset[Resource] = frozenset()


def three() -> Pressure:
    return Pressure(frozenset({1, 2, 3}))


# --- marks ---
def test_the_disk_mark_is_five_percent_or_one_gibibyte_whichever_is_smaller() -> None:
    assert Marks().disk_low_mark_bytes(100 * GIB) == GIB
    assert Marks().disk_low_mark_bytes(10 * GIB) == GIB // 2
    assert (
        Marks(disk_low_bytes=9 * GIB, disk_low_ratio=0.5).disk_low_mark_bytes(20 * GIB) == 9 * GIB
    )


def test_a_disk_recovers_only_well_above_the_mark() -> None:
    def is_low(free_bytes: int, *, was_low: bool) -> bool:
        return Marks().is_disk_low(free_bytes=free_bytes, total_bytes=100 * GIB, was_low=was_low)

    assert not is_low(GIB, was_low=False)
    assert is_low(GIB - 1, was_low=False)
    assert is_low(GIB + 1, was_low=True)
    assert not is_low(2 * GIB, was_low=True)


def test_memory_recovers_only_well_below_the_mark() -> None:
    marks = Marks(memory_high_bytes=1_000)
    assert not marks.is_memory_high(1_000, was_high=False)
    assert marks.is_memory_high(1_001, was_high=False)
    assert marks.is_memory_high(990, was_high=True)
    assert not marks.is_memory_high(950, was_high=True)
    assert not Marks(memory_high_bytes=0).is_memory_high(10**12, was_high=False)


# --- what follows ---
def test_a_leader_that_is_short_blocks_publishes() -> None:
    pressure = three()
    pressure.reported(2, MEMORY)
    assert pressure.shortage(leader=2) == Shortage(2, Resource.MEMORY)
    assert pressure.shortage(leader=1) is None
    assert pressure.shortage(leader=None) is None


def test_a_majority_that_cannot_take_more_blocks_publishes_whatever_each_lacks() -> None:
    pressure = three()
    pressure.reported(2, MEMORY)
    pressure.reported(3, DISK)
    assert pressure.shortage(leader=1) == Shortage(2, Resource.MEMORY)
    pressure.reported(3, NOTHING)
    assert pressure.shortage(leader=1) is None


def test_a_member_that_lacks_both_is_named_for_its_disk() -> None:
    pressure = three()
    pressure.reported(1, MEMORY | DISK)
    assert pressure.shortage(leader=1) == Shortage(1, Resource.DISK)
    assert pressure.short_of(1) == MEMORY | DISK


def test_strangers_have_no_say() -> None:
    pressure = three()
    pressure.reported(8, DISK)
    pressure.reported(9, DISK)
    assert pressure.shortage(leader=1) is None
    assert pressure.short_of(8) == NOTHING
