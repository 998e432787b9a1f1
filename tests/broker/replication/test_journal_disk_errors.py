"""A full disk is seen ahead and loses nothing; a failed sync ends the journal and is never tried again.

C-8, Z-5, F6.
"""

import contextlib
import errno
import random
from pathlib import Path

import pytest

from sybline.replication.journal import CorruptData, Entry, Journal, JournalOptions
from sybline.replication.state_dump import WholeDump
from tests.simulation.disk import UNLIMITED, Crashed, Faults, SimulatedDisk
from tests.support.journal_model import SMALL, JournalModel, entries_of, journal_on, send_image
from tests.support.paged_bytes import finish_install, no_bodies, read_state, remove_dead, save_state

TAIL = Path("/data/group-0/gen-0000000001/log-0000000001")


def opened(disk: SimulatedDisk) -> Journal:
    journal = journal_on(disk)
    journal.set_vote(1, 1)
    return journal


def add(journal: Journal, size: int = 50) -> None:
    journal.append([Entry(journal.last + 1, journal.current_term, 0, bytes(size))])


def fill(journal: Journal, disk: SimulatedDisk) -> None:
    """Write until the next segment cannot be reserved any more."""
    disk.capacity = disk.used() + 100
    while not journal.is_full:
        add(journal)
        journal.sync()


def go_on(model: JournalModel, steps: int) -> None:
    for _ in range(steps):
        model.step()


@pytest.mark.parametrize("operation", ["append", "vote"])
def test_after_a_failed_sync_everything_refuses_and_nothing_is_synced_again(operation: str) -> None:
    disk = SimulatedDisk(random.Random(1))
    journal = opened(disk)
    add(journal)
    journal.sync()
    disk.faults = Faults(sync_error=1.0)
    add(journal)
    with pytest.raises(OSError, match="input/output error"):
        journal.sync() if operation == "append" else journal.set_vote(2, 3)
    disk.faults = Faults()
    before = disk.steps
    with pytest.raises(OSError, match="an earlier write or sync failed"):
        journal.sync()
    with pytest.raises(OSError, match="an earlier write or sync failed"):
        journal.set_vote(3, 1)
    journal.close()
    assert disk.steps == before
    assert journal.durable == 1


@pytest.mark.parametrize("seed", range(60))
def test_what_a_failed_sync_left_in_the_page_cache_is_made_durable_or_dropped_at_start(
    seed: int,
) -> None:
    disk = SimulatedDisk(random.Random(seed))
    model = JournalModel(disk, random.Random(seed))
    model.open()
    disk.faults = Faults(sync_error=0.03)
    with pytest.raises(OSError, match="simulated"):
        go_on(model, 1000)
    disk.faults = Faults()
    model.restart(power=False)  # sees the page cache
    model.restart(power=True)  # and must not have believed it
    go_on(model, 10)
    model.restart(power=True)


@pytest.mark.parametrize("seed", range(60))
def test_a_disk_that_fills_up_at_any_write_loses_nothing(seed: int) -> None:
    disk = SimulatedDisk(random.Random(seed))
    model = JournalModel(disk, random.Random(seed))
    model.open()
    disk.faults = Faults(write_error=0.02)
    with pytest.raises(OSError, match="no space left"):
        go_on(model, 2000)
    disk.faults = Faults()
    model.restart(power=seed % 2 == 0)
    go_on(model, 10)
    model.restart(power=True)


def test_a_full_disk_is_known_before_it_is_needed_and_voting_goes_on() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    fill(journal, disk)
    held = entries_of(journal)
    for term in range(2, 20):
        journal.set_vote(term, 2)
    assert journal.is_full
    assert journal.free_bytes() < SMALL.segment_bytes
    disk.crash(power=True)
    journal = journal_on(disk)
    assert entries_of(journal) == held
    assert (journal.current_term, journal.voted_for) == (19, 2)


def test_a_member_starts_on_a_full_disk_and_says_that_it_is_full() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    fill(journal, disk)
    held = entries_of(journal)
    disk.crash(power=False)
    disk.capacity = disk.used() + 300  # enough for the valid part of a segment, not for a whole one
    journal = journal_on(disk)
    assert journal.is_full
    assert entries_of(journal) == held
    disk.capacity = UNLIMITED
    assert journal.retry_reserve()
    assert not journal.is_full


def crash_on_a_full_disk(seed: int, crash_at: int | None, *, power: bool) -> int:
    """Fill a disk until the crash or the first write that does not fit, start without a free byte; return the steps."""
    disk = SimulatedDisk(random.Random(seed), crash_at=crash_at)
    model = JournalModel(disk, random.Random(seed))
    with contextlib.suppress(Crashed, OSError):
        model.open()
        disk.capacity = disk.used() + 300
        go_on(model, 100)
    steps = disk.steps
    disk.crash(power=power)
    disk.crash_at = None
    disk.capacity = disk.used() if model.opened else UNLIMITED
    model.open()
    disk.capacity = UNLIMITED
    go_on(model, 6)
    model.restart(power=True)
    return steps


@pytest.mark.parametrize("power", [False, True], ids=["process crash", "power loss"])
@pytest.mark.parametrize("seed", range(6))
def test_a_member_starts_without_a_free_byte_after_a_crash_at_any_file_operation(
    seed: int, power: bool
) -> None:
    steps = crash_on_a_full_disk(seed, None, power=power)
    assert steps > 50
    for crash_at in range(1, steps + 1):
        crash_on_a_full_disk(seed, crash_at, power=power)


def test_the_reserve_becomes_a_segment_on_a_disk_without_a_free_byte() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    disk.capacity = disk.used()
    while not journal.is_full:
        assert journal.has_room
        add(journal)
        journal.sync()
    while journal.has_room:
        add(journal)
        journal.sync()
    held = entries_of(journal)
    disk.crash(power=True)
    disk.capacity = disk.used()
    assert entries_of(journal_on(disk)) == held


def test_a_member_stops_and_starts_when_not_even_the_mark_of_a_clean_stop_fits() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    fill(journal, disk)
    disk.capacity = UNLIMITED
    while journal.has_room:
        disk.capacity = disk.used()  # no reserve, but room for what follows
        add(journal)
        journal.sync()
    disk.capacity = disk.used() + 300
    while disk.used() < disk.capacity - 100:
        add(journal)
        journal.sync()
    disk.capacity = disk.used() + 10  # a part of the mark
    held = entries_of(journal)
    for _ in range(3):
        journal.close()
        journal = journal_on(disk)
        assert entries_of(journal) == held
        assert journal.is_full
    disk.capacity = UNLIMITED
    add(journal)
    journal.sync()
    disk.crash(power=True)
    assert entries_of(journal_on(disk)) == {**held, journal.last: journal.entry(journal.last)}


@pytest.mark.parametrize("seed", range(60))
def test_a_sync_that_fails_while_the_log_is_opened_revives_nothing_and_loses_nothing(
    seed: int,
) -> None:
    disk = SimulatedDisk(random.Random(seed))
    model = JournalModel(disk, random.Random(seed))
    model.open()
    disk.crash_at = 150 + seed
    with pytest.raises(Crashed):
        go_on(model, 1000)
    disk.crash(power=True)
    disk.faults = Faults(sync_error=0.3)
    for _ in range(20):
        with contextlib.suppress(OSError):
            model.open()
        disk.crash(power=False)
    disk.faults = Faults()
    model.open()
    model.restart(power=True)
    go_on(model, 10)
    model.restart(power=True)


@pytest.mark.parametrize("wipe_fails", [False, True], ids=["wiped at once", "after a failed sync"])
@pytest.mark.parametrize("seed", range(20))
def test_a_whole_record_behind_a_torn_tail_never_comes_back(seed: int, wipe_fails: bool) -> None:
    disk = SimulatedDisk(random.Random(seed))
    journal = opened(disk)
    add(journal)
    journal.sync()
    end = len(disk.peek(TAIL).rstrip(b"\0")) + 50  # the body of the entry is zeros
    journal.append([Entry(2, 1, 0, b"a" * 40), Entry(3, 1, 0, b"b")])
    journal.sync()
    data = bytearray(disk.peek(TAIL))
    data[end : end + 64] = bytes(64)  # the beginning of the last write is lost
    disk.crash(power=False)
    disk.poke(TAIL, bytes(data))
    if wipe_fails:
        disk.before_step = lambda what: fail_sync_of(disk, TAIL, what)
        with pytest.raises(OSError, match="input/output error"):
            journal_on(disk)
        disk.before_step, disk.faults = None, Faults()
        disk.crash(power=False)
    journal = journal_on(disk)
    assert journal.last == 1
    journal.append([Entry(2, 1, 0, b"c" * 14)])  # ends where entry 3 began
    journal.sync()
    disk.crash(power=True)
    assert journal_on(disk).last == 2


def fail_sync_of(disk: SimulatedDisk, path: Path, what: str) -> None:
    disk.faults = Faults(sync_error=float(what == f"sync {path}"))


def test_a_record_that_leaves_the_page_cache_while_the_log_is_opened_is_never_promised() -> None:
    disk = SimulatedDisk(random.Random(4))
    journal = opened(disk)
    add(journal)
    journal.sync()
    held = entries_of(journal)
    disk.faults = Faults(sync_error=1.0)
    journal.append([Entry(2, 1, 0, b"x" * 300)])
    with pytest.raises(OSError, match="input/output error"):
        journal.sync()
    disk.faults = Faults()
    kept = disk.durable_copy().peek(TAIL)
    assert kept != disk.peek(TAIL)

    def forget_clean_pages(what: str) -> None:
        if what.startswith("remove") and what.endswith("reserve"):  # the log is verified by now
            disk.poke(TAIL, kept)

    disk.before_step = forget_clean_pages
    disk.crash(power=False)
    with pytest.raises(CorruptData, match="changed while the log was opened"):
        journal_on(disk)
    disk.before_step = None
    disk.crash(power=False)
    assert entries_of(journal_on(disk)) == held


def test_a_full_disk_is_no_longer_full_once_space_is_freed() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    fill(journal, disk)
    disk.capacity = UNLIMITED
    add(journal, size=1)
    journal.sync()
    assert not journal.is_full


def test_a_checkpoint_that_finds_the_disk_full_is_given_up_and_frees_what_it_took() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    fill(journal, disk)
    used = disk.used()
    assert not save_state(journal, 3, bytes(1000))
    assert disk.used() == used
    assert (journal.checkpoint_index, read_state(journal.load_checkpoint())) == (0, None)
    disk.capacity = UNLIMITED
    assert save_state(journal, 3, bytes(1000))


def test_a_checkpoint_makes_room_on_a_full_disk() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    for _ in range(60):
        add(journal)
        journal.sync()
    fill(journal, disk)
    job = journal.begin_checkpoint(journal.durable, WholeDump(b""), live=no_bodies)
    disk.capacity += 200
    journal.run_checkpoint(job)
    assert journal.end_checkpoint(job)
    remove_dead(journal)
    assert journal.retry_reserve()


def test_a_checkpoint_whose_sync_fails_ends_the_journal_and_keeps_the_one_before() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    for _ in range(10):
        add(journal)
    journal.sync()
    assert save_state(journal, 4, b"four")
    job = journal.begin_checkpoint(8, WholeDump(b"eight"), live=no_bodies)
    disk.faults = Faults(sync_error=1.0)
    with pytest.raises(OSError, match="input/output error"):
        journal.run_checkpoint(job)
    disk.faults = Faults()
    disk.crash(power=True)
    journal = journal_on(disk)
    assert (journal.checkpoint_index, read_state(journal.load_checkpoint())) == (4, b"four")


def test_an_image_that_finds_the_disk_full_can_be_given_up() -> None:
    source = opened(SimulatedDisk(random.Random(1)))
    for _ in range(40):
        add(source)
        source.sync()
    assert save_state(source, 30, b"thirty", live=lambda *_: True)
    disk = SimulatedDisk(random.Random(2))
    target = journal_on(disk, member=2)
    target.set_vote(1, None)
    add(target)
    target.sync()
    used = disk.used()
    disk.capacity = used + 500
    with pytest.raises(OSError, match="no space left"):
        send_image(source, target, 100)
    target.abandon_install()
    assert disk.used() == used
    assert target.last == 1
    disk.capacity = UNLIMITED
    assert finish_install(send_image(source, target, 100)) == b"thirty"


def test_a_read_error_is_an_error_and_not_an_empty_log() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = journal_on(disk, options=JournalOptions(segment_bytes=600, recent_bytes=0))
    journal.set_vote(1, 1)
    add(journal)
    journal.sync()
    disk.faults = Faults(read_error=1.0)
    with pytest.raises(OSError, match="input/output error") as caught:
        journal.entry(1)
    assert caught.value.errno == errno.EIO
    disk.crash(power=False)
    with pytest.raises(OSError, match="input/output error"):
        journal_on(disk)
    disk.faults = Faults()
    disk.crash(power=False)
    assert journal_on(disk).last == 1
    assert disk.exists(Path("/data/IDENTITY"))


@pytest.mark.parametrize("step", range(1, 8))
@pytest.mark.parametrize("seed", range(30))
def test_a_vote_whose_sync_failed_and_a_power_loss_in_the_next_start_leave_one_whole_vote(
    seed: int, step: int
) -> None:
    disk = SimulatedDisk(random.Random(seed))
    journal = opened(disk)
    disk.faults = Faults(sync_error=1.0)
    with pytest.raises(OSError, match="input/output error"):
        journal.set_vote(2, 3)
    disk.faults = Faults()
    disk.crash(power=False)  # the page cache still shows what never reached the disk
    disk.crash_at = disk.steps + step
    with contextlib.suppress(Crashed):
        journal_on(disk)
    disk.crash_at = None
    disk.crash(power=True)
    journal = journal_on(disk)
    assert (journal.current_term, journal.voted_for) in ((1, 1), (2, 3))
