"""Checkpoints in pages: what is written, what stays, what is joined, and what is refused."""

import random
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

from sybline.replication.checkpoint import NO_CHECKPOINT, CheckpointOwner, checkpoint_name
from sybline.replication.checkpoint_store import (
    CheckpointStore,
    load_saved,
    newest_checkpoint,
    stale_files,
)
from sybline.replication.page_usage import SMALL_FILES_MAX, PageFileUse, files_to_rewrite
from sybline.replication.storage_errors import CorruptData
from tests.simulation.disk import SimulatedDisk
from tests.support.paged_bytes import PAGE_BYTES, PagedBytes, read_state

ROOT = Path("/data")
OWNER = CheckpointOwner(b"the cluster.....", 0)
FILE_BYTES = 600


class Member:
    """A disk, the store on it, and a state of pages."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.disk = SimulatedDisk(self.rng)
        self.disk.make_directory(ROOT)
        self.disk.sync_directory(ROOT.parent)
        self.store = CheckpointStore(self.disk, ROOT, OWNER, NO_CHECKPOINT, file_bytes=FILE_BYTES)
        self.pages = PagedBytes()
        self.state = b""
        self.index = 0

    def save(self) -> None:
        """Write the next checkpoint."""
        self.index += 1
        dump = self.pages.dump(self.state, self.store.next_page)
        job = self.store.begin(self.index, 3, dump, configuration=b"members", needed=((1, 4),))
        self.store.run(job)
        while not job.is_done:
            job.collect()
            self.store.run(job)
        assert self.store.end(job)

    def restart(self, *, power: bool) -> None:
        """Open the store again after a crash."""
        self.disk.crash(power=power)
        names = self.disk.names(ROOT)
        facts = newest_checkpoint(self.disk, ROOT, OWNER, names)
        for name in stale_files(facts, names):
            self.disk.remove(ROOT / name)
        self.disk.sync_directory(ROOT)
        self.store = CheckpointStore(self.disk, ROOT, OWNER, facts, file_bytes=FILE_BYTES)
        self.pages = PagedBytes()

    def change(self, pages: int) -> None:
        """Change some pages of the state, among them perhaps its length."""
        for _ in range(pages):
            start = PAGE_BYTES * self.rng.randrange(40)
            self.state = self.state[:start].ljust(start, b"x") + (
                self.rng.randbytes(PAGE_BYTES) + self.state[start + PAGE_BYTES :]
            )

    def page_bytes(self) -> int:
        return sum(file.total_bytes for file in self.store.newest.files)


def test_a_checkpoint_is_found_again_with_all_that_was_given() -> None:
    member = Member()
    member.change(60)
    member.save()
    member.restart(power=True)
    newest = member.store.newest
    assert (newest.index, newest.term) == (1, 3)
    assert (newest.configuration, newest.needed) == (b"members", ((1, 4),))
    assert read_state(member.store.load()) == member.state
    names = member.store.files_of_newest()
    assert [name for name, _ in names] == [checkpoint_name(1), *member.disk.names(ROOT)[1:]]
    assert all(member.disk.open(ROOT / name).size() == size for name, size in names)
    assert newest.total_bytes == sum(size for _, size in names)


@pytest.mark.parametrize("seed", range(5))
def test_page_files_stay_below_twice_what_is_live_and_are_few(seed: int) -> None:
    member = Member(seed)
    for _ in range(150):
        member.change(member.rng.choice([1, 1, 2, 10]))
        member.save()
        assert read_state(member.store.load()) == member.state
        pages = len(set(member.pages.saved.values()))
        overhead = 16 * pages + 48 * len(member.store.newest.files)
        live = pages * PAGE_BYTES + overhead
        assert member.page_bytes() <= 2 * live + FILE_BYTES
        assert len(member.store.newest.files) <= SMALL_FILES_MAX + 2 * live // (FILE_BYTES // 2)
        if member.rng.random() < 0.1:
            member.restart(power=member.rng.random() < 0.5)
        on_disk = set(member.disk.names(ROOT))
        assert on_disk == {name for name, _ in member.store.files_of_newest()}


def test_what_did_not_change_is_not_written() -> None:
    member = Member()
    member.change(100)
    member.save()
    before = {file.number for file in member.store.newest.files}
    member.save()
    assert {file.number for file in member.store.newest.files} == before
    member.change(1)
    member.save()
    new = [file for file in member.store.newest.files if file.number not in before]
    assert len(new) == 1
    assert new[0].total_bytes < 4 * PAGE_BYTES + 64


def test_pinned_files_stay_until_they_are_let_go() -> None:
    member = Member()
    member.change(60)
    member.save()
    names = [name for name, _ in member.store.files_of_newest()]
    state = member.state
    unpin = member.store.pin()
    member.state = b""
    member.change(60)
    member.save()
    assert set(names) < set(member.disk.names(ROOT))
    assert read_state(load_saved(member.disk, ROOT, OWNER, 1)) == state
    unpin()
    assert checkpoint_name(1) not in member.disk.names(ROOT)


@pytest.mark.parametrize("power", [True, False])
def test_a_crash_at_any_file_operation_leaves_this_checkpoint_or_the_one_before(
    power: bool,
) -> None:
    from tests.simulation.disk import Crashed

    at = 0
    while True:
        member = Member(at)
        for _ in range(6):
            member.change(12)
            member.save()
        before = member.state
        member.change(12)
        at += 1
        member.disk.crash_at = member.disk.steps + at
        try:
            member.save()
        except Crashed:
            pass
        else:
            break
        member.disk.crash_at = 0
        after = member.state
        member.restart(power=power)
        assert read_state(member.store.load()) in (before, after)
        member.state = after
        member.index = member.store.newest.index
        member.save()
        assert read_state(member.store.load()) == after
    assert at > 8


def damaged() -> Iterator[tuple[str, int]]:
    member = small_member()
    for name, size in member.store.files_of_newest():
        for offset in range(size):
            yield name, offset


def small_member() -> Member:
    member = Member()
    member.change(3)
    member.save()
    return member


def test_every_flipped_or_missing_byte_of_every_file_is_refused() -> None:
    for name, offset in damaged():
        member = small_member()
        data = member.disk.peek(ROOT / name)
        flipped = data[:offset] + bytes([data[offset] ^ 0x20]) + data[offset + 1 :]
        for changed in (flipped, data[:offset]):
            member.disk.poke(ROOT / name, changed)
            with pytest.raises(CorruptData) as error:
                newest_checkpoint(member.disk, ROOT, OWNER, member.disk.names(ROOT))
            assert error.value.path.name in {n for n, _ in member.store.files_of_newest()}


def test_a_missing_page_file_is_refused_by_its_name() -> None:
    member = small_member()
    (name, _) = member.store.files_of_newest()[1]
    member.disk.remove(ROOT / name)
    with pytest.raises(CorruptData, match=f"{name} at byte 0: the file is missing"):
        newest_checkpoint(member.disk, ROOT, OWNER, member.disk.names(ROOT))


def test_files_of_another_cluster_or_a_newer_format_are_refused() -> None:
    member = small_member()
    other = CheckpointOwner(bytes(16), 0)
    with pytest.raises(CorruptData, match="another cluster"):
        newest_checkpoint(member.disk, ROOT, other, member.disk.names(ROOT))
    (name, _) = member.store.files_of_newest()[1]
    data = bytearray(member.disk.peek(ROOT / name))
    data[8] = 9
    member.disk.poke(ROOT / name, bytes(data))
    with pytest.raises(CorruptData, match=r"format version 9, this program knows 1.*newer one"):
        newest_checkpoint(member.disk, ROOT, OWNER, member.disk.names(ROOT))


def test_a_page_file_put_in_the_place_of_another_is_refused() -> None:
    member = Member()
    member.change(100)
    member.save()
    one, two = (ROOT / name for name, _ in member.store.files_of_newest()[1:3])
    member.disk.poke(one, member.disk.peek(two))
    with pytest.raises(CorruptData, match="holds page file"):
        newest_checkpoint(member.disk, ROOT, OWNER, member.disk.names(ROOT))


def save_until_copied(member: Member) -> None:
    for _ in range(60):
        member.change(2)
        member.save()


def test_a_page_that_was_damaged_since_the_start_is_not_copied() -> None:
    member = Member()
    member.change(60)
    member.save()
    (name, _) = member.store.files_of_newest()[1]
    data = bytearray(member.disk.peek(ROOT / name))
    for at in range(40, 40 + 20 * PAGE_BYTES, PAGE_BYTES):
        data[at] ^= 1
    assert crc32(data) != crc32(member.disk.peek(ROOT / name))
    member.disk.poke(ROOT / name, bytes(data))
    with pytest.raises(CorruptData, match="fails its checksum"):
        save_until_copied(member)


def test_the_emptiest_files_go_first_and_only_while_dead_bytes_prevail() -> None:
    uses = [PageFileUse(1, 1000, 100), PageFileUse(2, 1000, 900), PageFileUse(3, 1000, 0)]
    assert files_to_rewrite(uses, new_bytes=0, usual_bytes=0, loose_bytes=0) == []
    uses = [PageFileUse(1, 1000, 100), PageFileUse(2, 1000, 300), PageFileUse(3, 1000, 500)]
    assert files_to_rewrite(uses, new_bytes=0, usual_bytes=0, loose_bytes=0) == [1, 2]
    assert files_to_rewrite(uses, new_bytes=0, usual_bytes=0, loose_bytes=2000) == []


def test_many_small_files_become_one() -> None:
    uses = [PageFileUse(n, 100 + n, 100 + n) for n in range(SMALL_FILES_MAX + 1)]
    chosen = files_to_rewrite(uses, new_bytes=0, usual_bytes=1000, loose_bytes=0)
    assert chosen == list(range((SMALL_FILES_MAX + 1) // 2))
