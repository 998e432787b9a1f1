"""A full disk is seen ahead and loses nothing; a failed sync ends the journal and is never tried again (C-8, Z-5, F6)."""

import errno
import random
from pathlib import Path

import pytest

from sybline.replication.journal import Entry, Journal, JournalOptions
from tests.simulation.disk import UNLIMITED, Faults, SimulatedDisk
from tests.support.journal_model import JournalModel, entries_of, journal_on, send_image


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
        for _ in range(1000):
            model.step()
    disk.faults = Faults()
    model.restart(power=False)  # sees the page cache
    model.restart(power=True)  # and must not have believed it
    for _ in range(10):
        model.step()
    model.restart(power=True)


@pytest.mark.parametrize("seed", range(60))
def test_a_disk_that_fills_up_at_any_write_loses_nothing(seed: int) -> None:
    disk = SimulatedDisk(random.Random(seed))
    model = JournalModel(disk, random.Random(seed))
    model.open()
    disk.faults = Faults(write_error=0.02)
    with pytest.raises(OSError, match="no space left"):
        for _ in range(2000):
            model.step()
    disk.faults = Faults()
    model.restart(power=seed % 2 == 0)
    for _ in range(10):
        model.step()
    model.restart(power=True)


def test_a_full_disk_is_known_before_it_is_needed_and_voting_goes_on() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    fill(journal, disk)
    held = entries_of(journal)
    for term in range(2, 20):
        journal.set_vote(term, 2)
    assert journal.is_full
    assert journal.free_bytes() <= 100
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
    job = journal.begin_checkpoint(3, bytes(1000))
    journal.run_checkpoint(job)
    assert not journal.end_checkpoint(job, None)
    assert disk.used() == used
    assert (journal.checkpoint_index, journal.load_checkpoint()) == (0, None)
    disk.capacity = UNLIMITED
    job = journal.begin_checkpoint(3, bytes(1000))
    journal.run_checkpoint(job)
    assert journal.end_checkpoint(job, None)


def test_a_checkpoint_makes_room_on_a_full_disk() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    for _ in range(60):
        add(journal)
        journal.sync()
    fill(journal, disk)
    job = journal.begin_checkpoint(journal.durable, b"")
    disk.capacity += 200
    journal.run_checkpoint(job)
    assert journal.end_checkpoint(job, None)
    assert journal.retry_reserve()


def test_a_checkpoint_whose_sync_fails_ends_the_journal_and_keeps_the_one_before() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = opened(disk)
    for _ in range(10):
        add(journal)
    journal.sync()
    job = journal.begin_checkpoint(4, b"four")
    journal.run_checkpoint(job)
    assert journal.end_checkpoint(job, None)
    job = journal.begin_checkpoint(8, b"eight")
    disk.faults = Faults(sync_error=1.0)
    with pytest.raises(OSError, match="input/output error"):
        journal.run_checkpoint(job)
    disk.faults = Faults()
    disk.crash(power=True)
    journal = journal_on(disk)
    assert (journal.checkpoint_index, journal.load_checkpoint()) == (4, b"four")


def test_an_image_that_finds_the_disk_full_can_be_given_up() -> None:
    source = opened(SimulatedDisk(random.Random(1)))
    for _ in range(40):
        add(source)
        source.sync()
    job = source.begin_checkpoint(30, b"thirty")
    source.run_checkpoint(job)
    assert source.end_checkpoint(job, 1)
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
    assert send_image(source, target, 100).finish() == b"thirty"


def test_a_read_error_is_an_error_and_not_an_empty_log() -> None:
    disk = SimulatedDisk(random.Random(2))
    journal = journal_on(disk, options=JournalOptions(segment_bytes=600, recent_bytes=0))
    journal.set_vote(1, 1)
    add(journal)
    journal.sync()
    disk.faults = Faults(read_error=1.0)
    with pytest.raises(OSError) as caught:
        journal.entry(1)
    assert caught.value.errno == errno.EIO
    disk.crash(power=False)
    with pytest.raises(OSError, match="input/output error"):
        journal_on(disk)
    disk.faults = Faults()
    disk.crash(power=False)
    assert journal_on(disk).last == 1
    assert disk.exists(Path("/data/IDENTITY"))
