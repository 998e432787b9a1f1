"""Torn tails are cut, damage is refused, and wrong data is never served (REG-R7a, C-7, F5)."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sybline.replication.journal import CorruptData, DirectoryInUse, Entry, Journal, JournalOptions
from sybline.replication.segment import HEADER_BYTES
from sybline.replication.state_dump import WholeDump
from tests.simulation.disk import SimulatedDisk
from tests.support.journal_model import Log, entries_of, journal_on, send_image
from tests.support.paged_bytes import finish_install, no_bodies, read_state, remove_dead, save_state

GROUP = Path("/data/group-0")
GENERATION = GROUP / "gen-0000000001"
FIRST = GENERATION / "log-0000000001"
ONE_SEGMENT = JournalOptions(segment_bytes=8192, recent_bytes=0, margin_entries=0, margin_bytes=0)
TINY_SEGMENTS = JournalOptions(segment_bytes=400, recent_bytes=0, margin_entries=0, margin_bytes=0)


def entry(index: int, term: int, size: int = 20) -> Entry:
    body = bytes((index * 7 + n) % 255 + 1 for n in range(size))  # no zeros: a cut always shows
    return Entry(index, term, index % 3, body)


def journal_of_every_record_kind(options: JournalOptions) -> tuple[SimulatedDisk, Journal]:
    """Return a log with batches, cuts below and above earlier ones, all entry kinds, and empty bodies."""
    disk = SimulatedDisk(random.Random(7))
    journal = journal_on(disk, options=options)
    for term in range(1, 6):
        journal.set_vote(term, 1)
        for size in (20, 0, 33):
            journal.append([entry(journal.last + 1 + n, term, size) for n in range(2)])
            journal.sync()
        journal.truncate_from(journal.last - term % 3)
    journal.append([entry(journal.last + 1, 5)])
    journal.sync()
    return disk, journal


def states_by_length(options: JournalOptions) -> tuple[SimulatedDisk, list[tuple[int, Log]], int]:
    """Return a disk with one segment, for each length that ends a record what the log was there, and the length that
    the last write knew to be durable.
    """
    disk, _ = journal_of_every_record_kind(options)
    data = disk.peek(FIRST)
    states: list[tuple[int, Log]] = [(HEADER_BYTES, {})]
    log: Log = {}
    position, known_durable = HEADER_BYTES, 0
    while data[position + 8]:
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        kind, entry_kind = data[position + 8], data[position + 9]
        index = int.from_bytes(data[position + 10 : position + 18], "little")
        term = int.from_bytes(data[position + 18 : position + 26], "little")
        position += 26 + size
        if kind == 1:
            log = {**log, index: Entry(index, term, entry_kind, data[position - size : position])}
        elif kind == 2:
            log = {i: e for i, e in log.items() if i < index}
        else:
            known_durable = index
        states.append((position, log))
    return disk, states, known_durable


def reopen(disk: SimulatedDisk, options: JournalOptions = ONE_SEGMENT) -> Journal:
    disk.crash(power=False)
    return journal_on(disk, options=options)


def restored(disk: SimulatedDisk, path: Path, data: bytes) -> SimulatedDisk:
    """Return a copy of the disk in which one file has these bytes."""
    copy = disk.durable_copy()
    copy.poke(path, data)
    return copy


def test_reg_r7a_a_log_that_ends_at_any_byte_opens_with_the_whole_records_before_it() -> None:
    disk, states, _ = states_by_length(ONE_SEGMENT)
    data = disk.peek(FIRST)
    for cut in range(HEADER_BYTES, states[-1][0] + 1):
        left = data[:cut] + bytes(len(data) - cut)
        torn = restored(disk, FIRST, left)
        journal = reopen(torn)
        expected = [log for length, log in states if left[:length] == data[:length]][-1]
        assert entries_of(journal) == expected, cut
        journal.append([entry(journal.last + 1, 5)])
        journal.sync()
        assert entries_of(reopen(torn)) == {**expected, journal.last: entry(journal.last, 5)}


def test_a_flipped_byte_anywhere_in_the_log_is_refused_or_cut_as_unfinished_but_never_served() -> (
    None
):
    disk, states, known_durable = states_by_length(ONE_SEGMENT)
    data = disk.peek(FIRST)
    refused = cut = 0
    for at in range(states[-1][0]):
        for mask in (0x01, 0x80):
            flipped = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
            opened = try_to_open(restored(disk, FIRST, flipped))
            if isinstance(opened, CorruptData):
                refused += 1
                assert opened.path == FIRST
                assert opened.offset <= at
                continue
            cut += 1
            assert at >= known_durable
            assert entries_of(opened) == [log for end, log in states if end <= at][-1]
    assert refused == known_durable * 2
    assert cut > 0


def try_to_open(
    disk: SimulatedDisk, options: JournalOptions = ONE_SEGMENT
) -> Journal | CorruptData:
    try:
        return reopen(disk, options)
    except CorruptData as error:
        return error


def test_after_a_clean_stop_no_flipped_byte_of_any_file_goes_unnoticed_or_changes_anything() -> (
    None
):
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    assert save_state(journal, 4, b"the state")
    expected, vote = entries_of(journal), (journal.current_term, journal.voted_for)
    assert journal.segments_total > 3
    journal.close()
    harmless = 0
    for path in files_of(disk):
        data = disk.peek(path)
        for at in range(min(len(data), len(data.rstrip(b"\0")) + 30)):
            flipped = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
            opened = try_to_open(restored(disk, path, flipped), TINY_SEGMENTS)
            if isinstance(opened, CorruptData):
                assert path == opened.path or path.name.startswith("log-")
                continue
            harmless += 1
            assert entries_of(opened) == expected, (path, at)
            assert (opened.current_term, opened.voted_for) == vote
            assert read_state(opened.load_checkpoint()) == b"the state"
            assert path.name in {"VOTE", "reserve"} or not any(data[at + 26 :]), (path, at)
    assert harmless > 0


def files_of(disk: SimulatedDisk) -> list[Path]:
    top = [Path("/data/IDENTITY"), GROUP / "VOTE", GROUP / "CURRENT"]
    return top + [GENERATION / name for name in disk.names(GENERATION)]


@pytest.mark.parametrize("name", ["IDENTITY", "group-0/VOTE", "group-0/CURRENT"])
def test_a_missing_file_refuses_the_start_instead_of_beginning_anew(name: str) -> None:
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    journal.close()
    disk.remove(Path("/data") / name)
    with pytest.raises(CorruptData, match="missing"):
        reopen(disk)


@pytest.mark.parametrize("kept", [False, True], ids=["log only", "with cold files"])
def test_every_missing_segment_and_checkpoint_refuses_the_start(kept: bool) -> None:
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    assert save_state(journal, 10, b"the state", live=lambda *_: kept)
    assert journal.first > 1
    remove_dead(journal)
    assert bool(len(journal.cold.tier)) == kept
    journal.close()
    disk.sync_directory(GENERATION)
    names = [name for name in disk.names(GENERATION) if name != "reserve"]
    names = [name for name in names if not name.endswith(".index")]  # these are made anew
    if kept:  # the log is all there from its first entry on, so the checkpoint is not missed
        names = [name for name in names if not name.startswith("checkpoint-")]
    assert len(names) > 3
    for name in names:
        copy = disk.durable_copy()
        copy.remove(GENERATION / name)
        with pytest.raises(CorruptData, match=r"missing|begins at"):
            journal_on(copy, options=TINY_SEGMENTS)


def test_a_missing_log_or_generation_refuses_the_start() -> None:
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    journal.close()
    moved = disk.durable_copy()
    moved.rename(GROUP, GROUP.with_name("elsewhere"))
    with pytest.raises(CorruptData, match="the log is missing"):
        journal_on(moved)
    disk.rename(GENERATION, GENERATION.with_name("elsewhere"))
    with pytest.raises(CorruptData, match="generation in use is missing"):
        journal_on(disk)


def test_swapped_segments_are_refused() -> None:
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    journal.close()
    second, third = GENERATION / "log-0000000002", GENERATION / "log-0000000003"
    one, other = disk.peek(second), disk.peek(third)
    disk.poke(second, other)
    disk.poke(third, one)
    with pytest.raises(CorruptData, match="the file holds segment 3"):
        journal_on(disk)


def test_a_segment_from_another_life_of_the_same_member_is_refused() -> None:
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    journal.close()
    other = SimulatedDisk(random.Random(8))
    longer = journal_on(other, options=TINY_SEGMENTS)
    longer.set_vote(1, None)
    for _ in range(10):
        longer.append([entry(longer.last + 1 + n, 1) for n in range(5)])
        longer.sync()
    disk.poke(GENERATION / "log-0000000002", other.peek(GENERATION / "log-0000000002"))
    with pytest.raises(CorruptData):
        journal_on(disk)


@pytest.mark.parametrize("name", ["core", "log-1", "checkpoint-7", "log-0000000001.bak"])
def test_a_foreign_file_in_the_logs_directory_is_refused(name: str) -> None:
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    journal.close()
    disk.create(GENERATION / name).close()
    with pytest.raises(CorruptData, match="foreign file"):
        journal_on(disk)


@pytest.mark.parametrize(
    ("cluster", "member"), [("other", 1), ("test", 2)], ids=["cluster", "member"]
)
def test_the_directory_of_another_cluster_or_member_is_refused(cluster: str, member: int) -> None:
    disk, journal = journal_of_every_record_kind(ONE_SEGMENT)
    journal.close()
    with pytest.raises(CorruptData, match="belongs to member 1 of cluster 'test'"):
        Journal.open("/data", cluster_id=cluster, member=member, files=disk)


@pytest.mark.parametrize("name", ["VOTE", "CURRENT", "gen-0000000001/log-0000000001"])
def test_a_file_copied_from_another_cluster_is_refused(name: str) -> None:
    disk, journal = journal_of_every_record_kind(ONE_SEGMENT)
    journal.close()
    other = SimulatedDisk(random.Random(8))
    Journal.open("/data", cluster_id="other", member=1, files=other).close()
    disk.poke(GROUP / name, other.peek(GROUP / name))
    if name == "CURRENT":  # says the same there: which generation, which segment
        assert entries_of(journal_on(disk, options=ONE_SEGMENT))
        return
    with pytest.raises(CorruptData, match="another"):
        journal_on(disk)


def test_a_vote_file_older_than_the_log_is_refused() -> None:
    disk, journal = journal_of_every_record_kind(ONE_SEGMENT)
    journal.close()
    fresh = SimulatedDisk(random.Random(8))
    journal_on(fresh).close()
    disk.poke(GROUP / "VOTE", fresh.peek(GROUP / "VOTE"))
    with pytest.raises(CorruptData, match="older than the log"):
        journal_on(disk)


def test_an_older_checkpoint_and_log_put_together_from_a_backup_are_refused() -> None:
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    job = journal.begin_checkpoint(journal.last, WholeDump(b"newer"), live=no_bodies)
    journal.run_checkpoint(job)
    old = disk.durable_copy()
    assert journal.end_checkpoint(job)
    journal.append([entry(journal.last + 1, 5)])
    journal.sync()
    journal.close()
    name = disk.names(GENERATION)[0]
    assert name.startswith("checkpoint-")
    for log in [n for n in disk.names(GENERATION) if n.startswith("log-")][:-1]:
        disk.remove(GENERATION / log)
    disk.remove(GENERATION / name)
    with pytest.raises(CorruptData, match="begins at index"):
        journal_on(disk)
    found = journal_on(old).load_checkpoint()
    assert found is not None
    assert found.root == b"newer"


@pytest.mark.parametrize("name", ["gen-0000000001/log-0000000001", "VOTE", "CURRENT"])
def test_an_empty_file_is_refused(name: str) -> None:
    disk, journal = journal_of_every_record_kind(TINY_SEGMENTS)
    journal.close()
    disk.poke(GROUP / name, b"")
    with pytest.raises(CorruptData):
        journal_on(disk)


def test_a_log_file_that_was_truncated_is_refused_even_inside_its_empty_space() -> None:
    disk, journal = journal_of_every_record_kind(ONE_SEGMENT)
    journal.close()
    data = disk.peek(FIRST)
    for length in (HEADER_BYTES, 500, len(data) - 1):
        with pytest.raises(CorruptData, match=r"cut off|durable"):
            journal_on(restored(disk, FIRST, data[:length]), options=ONE_SEGMENT)


def newer_version(data: bytes, at: int, fix: Callable[[bytearray], None]) -> bytes:
    changed = bytearray(data)
    changed[at] = 99
    fix(changed)
    return bytes(changed)


def test_a_newer_format_of_any_file_is_refused_by_name() -> None:
    from zlib import crc32

    disk, journal = journal_of_every_record_kind(ONE_SEGMENT)
    assert save_state(journal, 4, b"the state")
    journal.close()

    def fix_segment(data: bytearray) -> None:
        data[HEADER_BYTES - 4 : HEADER_BYTES] = crc32(data[: HEADER_BYTES - 4]).to_bytes(
            4, "little"
        )

    def fix_slot(data: bytearray) -> None:
        data[70:74] = crc32(data[:70]).to_bytes(4, "little")

    def nothing(data: bytearray) -> None:
        """The version of a checkpoint is looked at before its checksum."""

    checkpoint = GENERATION / "checkpoint-00000000000000000004"
    for path, at, fix in [
        (FIRST, 8, fix_segment),
        (GROUP / "VOTE", 8, fix_slot),
        (checkpoint, 12, nothing),
    ]:
        changed = newer_version(disk.peek(path), at, fix)
        with pytest.raises(CorruptData, match="format version 99, this program knows 1"):
            journal_on(restored(disk, path, changed), options=ONE_SEGMENT)


def test_damage_found_while_reading_is_an_error_and_not_an_entry() -> None:
    disk, journal = journal_of_every_record_kind(ONE_SEGMENT)
    data = bytearray(disk.peek(FIRST))
    whole = entries_of(journal)
    data[HEADER_BYTES + 26 + 30] ^= 1  # the first entry's body
    disk.poke(FIRST, bytes(data))
    with pytest.raises(CorruptData, match="record of entry 1"):
        journal.entry(1)
    with pytest.raises(CorruptData, match="record of entry 1"):
        journal.slice(1, 2, 1000)
    assert journal.entry(2) == whole[2]


def test_a_directory_is_used_by_one_process_at_a_time() -> None:
    disk, journal = journal_of_every_record_kind(ONE_SEGMENT)
    with pytest.raises(DirectoryInUse):
        journal_on(disk)
    journal.close()
    journal_on(disk, options=ONE_SEGMENT).close()


def test_an_image_with_any_byte_flipped_is_not_installed() -> None:
    from sybline.replication.journal import BadImage

    _, source = journal_of_every_record_kind(TINY_SEGMENTS)
    assert save_state(source, source.durable - 1, b"the state", live=lambda *_: True)
    image = source.open_image()
    stream = image.read(0, image.total_bytes)
    target_disk = SimulatedDisk(random.Random(3))
    target = journal_on(target_disk, member=2)
    target.set_vote(5, None)
    refused = 0
    for at in range(len(stream)):
        install = target.begin_install(image.index, image.term, image.total_bytes, image.image_id)
        flipped = stream[:at] + bytes([stream[at] ^ 4]) + stream[at + 1 :]
        try:
            install.write(0, flipped)
            finish_install(install)
        except BadImage:
            refused += 1
            install.abandon()
        assert target.last == 0, at
    assert refused == len(stream)
    assert len(source.cold.tier) > 0
    assert finish_install(send_image(source, target, 100)) == b"the state"
    assert entries_of(target) == {i: source.entry(i) for i in range(source.first, image.index + 1)}
    for index in range(1, source.first):
        assert target.stored(index) == source.stored(index)
        assert target.stored(index) is not None
