"""Old messages: what is kept of the log for them, how it shrinks, and what a start makes of every damage to it."""

import random
import re
from collections.abc import Iterator
from copy import copy
from itertools import pairwise
from pathlib import Path

import pytest

from sybline.errors import FailStop
from sybline.replication.cold_store import JOIN_FILES
from sybline.replication.journal import CorruptData, Journal, JournalOptions
from tests.simulation.disk import Faults, SimulatedDisk, SimulatedFile
from tests.support.journal_model import ROOT
from tests.support.lone_broker import LoneBroker

GENERATION = Path("/data/group-0/gen-0000000001")
OPTIONS = JournalOptions(segment_bytes=4096, recent_bytes=0, margin_entries=4, margin_bytes=4096)
BODY_BYTES = 100


def body_of(number: int) -> bytes:
    return (b"%d " % number).ljust(BODY_BYTES, b"x")


def broker_on(seed: int = 1, options: JournalOptions = OPTIONS) -> LoneBroker:
    return LoneBroker(SimulatedDisk(random.Random(seed)), options)


def publish_and_settle_most(
    broker: LoneBroker, rounds: int, *, count: int = 20
) -> dict[int, bytes]:
    """Publish batches and settle all but one message of each; return the stuck ones."""
    stuck: dict[int, bytes] = {}
    for number in range(rounds):
        bodies = [body_of(number * count + n) for n in range(count)]
        positions = broker.publish(*bodies)
        assert broker.fetch(10_000)[-count:] == positions  # behind those that stay leased
        kept = number % count
        stuck[positions[kept]] = bodies[kept]
        broker.settle(positions[:kept] + positions[kept + 1 :])
    return stuck


def require_bodies(broker: LoneBroker, expected: dict[int, bytes]) -> None:
    assert {position: broker.body(position) for position in expected} == expected


def started_on(
    broker: LoneBroker, disk: SimulatedDisk, *, turns: int = 0
) -> LoneBroker | CorruptData | FailStop:
    """Start a member like this one on another disk and let it run for some turns."""
    other = copy(broker)
    other.disk = disk
    try:
        other.open()
        other.turn(turns)
    except (CorruptData, FailStop) as error:
        return error
    return other


def cold_names(broker: LoneBroker) -> list[str]:
    return [file.path.name for file in broker.journal.cold.tier]


def settled_down(broker: LoneBroker) -> None:
    """Let everything be done that can be done about cold files, with the checkpoints it takes."""
    for _ in range(60):
        broker.fetch(1)
    broker.turn(20)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_reg_r8_the_disk_follows_the_live_bytes_although_each_batch_leaves_a_stuck_message(
    compress: bool,
) -> None:
    options = JournalOptions(
        segment_bytes=4096, recent_bytes=0, margin_entries=4, margin_bytes=4096,
        compress_cold=compress,
    )  # fmt: skip
    broker = broker_on(options=options)
    stuck: dict[int, bytes] = {}
    worst = 0
    for _ in range(12):
        stuck |= publish_and_settle_most(broker, 10)
        live_bytes = len(stuck) * (BODY_BYTES + 150)
        worst = max(worst, broker.journal.stored_bytes - 2 * live_bytes)
    assert len(stuck) == 120
    # The log: margin and distance between two checkpoints, each as large as what 20 entries take, and twice more until
    # what left it is looked at and rewritten; then a segment begun, the reserve and the rounding to segments.
    assert worst < 4 * 20 * (20 * BODY_BYTES + 200) // 3 + 8 * options.segment_bytes
    settled_down(broker)
    assert broker.journal.cold.tier.total_bytes < 2 * len(stuck) * (BODY_BYTES + 150)
    assert len(cold_names(broker)) < 3 * JOIN_FILES
    require_bodies(broker, stuck)
    broker.restart(power=True)
    require_bodies(broker, stuck)


def test_reg_r8_a_short_queue_leaves_no_cold_files_behind() -> None:
    broker = broker_on()
    for number in range(150):
        broker.publish(*[body_of(number)] * 20)
        broker.settle(broker.fetch(20))
    assert broker.journal.stored_bytes < 30 * OPTIONS.segment_bytes
    settled_down(broker)
    assert cold_names(broker) == []
    names = broker.disk.names(GENERATION)
    assert sum(name.startswith("log-") for name in names) < 12


def test_a_start_reads_the_log_and_the_sidecars_but_no_cold_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = broker_on()
    positions = {p: body_of(n) for n in range(120) for p in broker.publish(*[body_of(n)] * 20)}
    settled_down(broker)
    cold = {file.path for file in broker.journal.cold.tier}
    assert len(cold) > 30
    assert all(file.has_sidecar for file in broker.journal.cold.tier)
    read: dict[Path, int] = {}
    original = SimulatedFile.read_at

    def counting(file: SimulatedFile, offset: int, size: int) -> bytes:
        data = original(file, offset, size)
        read[file._path] = read.get(file._path, 0) + len(data)
        return data

    broker.disk.crash(power=False)
    with monkeypatch.context() as patched:
        patched.setattr(SimulatedFile, "read_at", counting)
        Journal.open(ROOT, cluster_id="test", member=1, files=broker.disk, options=OPTIONS).close()
    broker.restart()
    assert all(read[path] < 100 for path in cold)
    require_bodies(broker, positions)


def open_and_scrub(disk: SimulatedDisk) -> Journal | CorruptData:
    """Open a journal and read all its cold files again."""
    try:
        journal = Journal.open(ROOT, cluster_id="test", member=1, files=disk, options=OPTIONS)
        journal.cold.begin_scrub()
        while (work := journal.cold.next_scrub()) is not None:
            work.run()
    except CorruptData as error:
        return error
    return journal


def test_every_flipped_byte_of_a_cold_file_is_noticed_and_of_a_sidecar_harmless() -> None:
    broker = broker_on()
    stuck = publish_and_settle_most(broker, 30, count=6)
    settled_down(broker)
    name = next(name for name in cold_names(broker) if name.startswith("cold-"))
    [cold] = [file for file in broker.journal.cold.tier if file.path.name == name]
    expected = {i: broker.journal.stored(i) for i in {position >> 20 for position in stuck}}
    broker.journal.close()
    before = broker.disk.durable_copy()
    for path in (cold.path, cold.sidecar_path):
        data = before.peek(path)
        for at in (*range(min(150, len(data))), *range(150, len(data), 7)):
            disk = before.durable_copy()
            disk.poke(path, data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :])
            opened = open_and_scrub(disk)
            if path == cold.path:
                assert isinstance(opened, CorruptData), at
                assert opened.path == path
                assert opened.offset <= at
            else:
                assert isinstance(opened, Journal), (at, opened)
                assert {index: opened.stored(index) for index in expected} == expected


def test_damage_of_a_cold_body_ends_the_member_with_file_and_advice_in_the_first_scrub() -> None:
    broker = broker_on()
    publish_and_settle_most(broker, 30, count=6)
    settled_down(broker)
    name = next(name for name in cold_names(broker) if name.startswith("cold-"))
    data = bytearray(broker.disk.peek(GENERATION / name))
    data[-20] ^= 1
    broker.disk.crash(power=False)
    broker.disk.poke(GENERATION / name, bytes(data))
    ended = started_on(broker, broker.disk, turns=200)
    assert isinstance(ended, FailStop)
    assert re.search(rf"{name} at byte \d+: a record is damaged.*as a new one", str(ended))


def test_a_lost_sidecar_is_made_anew() -> None:
    broker = broker_on()
    expected = {p: body_of(n) for n in range(60) for p in broker.publish(*[body_of(n)] * 20)}
    expected |= publish_and_settle_most(broker, 30)
    settled_down(broker)
    sidecars = [name for name in broker.disk.names(GENERATION) if name.endswith(".index")]
    assert len(sidecars) > 10
    before = {name: broker.disk.peek(GENERATION / name) for name in sidecars}
    broker.disk.crash(power=False)
    for name in sidecars:
        broker.disk.remove(GENERATION / name)
    broker.open()
    require_bodies(broker, expected)
    broker.turn(200)
    after = {name: broker.disk.peek(GENERATION / name) for name in before if name.startswith("log")}
    assert after == {name: data for name, data in before.items() if name.startswith("log")}


def leftovers(names: set[str]) -> Iterator[set[str]]:
    """Yield sets of names that may have come back: single ones, neighbours, halves, all."""
    ordered = sorted(names)
    yield from ({name} for name in ordered)
    yield from map(set, pairwise(ordered))
    yield from (set(ordered[::2]), set(ordered[1::2]), names)


def test_removed_files_that_come_back_after_a_power_loss_change_nothing() -> None:
    broker = broker_on()
    gone: dict[str, bytes] = {}
    stuck: dict[int, bytes] = {}
    for _ in range(6):
        before = {
            name: broker.disk.peek(GENERATION / name) for name in broker.disk.names(GENERATION)
        }
        stuck |= publish_and_settle_most(broker, 6)
        now = broker.disk.names(GENERATION)
        gone |= {
            n: data for n, data in before.items() if n not in now and n[:4] in ("log-", "cold")
        }
    settled_down(broker)
    gone = {n: data for n, data in gone.items() if n not in broker.disk.names(GENERATION)}
    assert any(name.startswith("cold-") for name in gone)
    assert any(name.startswith("log-") for name in gone)
    broker.journal.close()
    before_all = broker.disk.durable_copy()
    for back in leftovers(set(gone)):
        disk = before_all.durable_copy()
        for name in back:
            disk.create(GENERATION / name).close()
            disk.poke(GENERATION / name, gone[name])
        opened = started_on(broker, disk)
        assert isinstance(opened, LoneBroker), (back, opened)
        require_bodies(opened, stuck)
        assert not back & set(disk.names(GENERATION))


@pytest.mark.parametrize("seed", range(12))
def test_a_rewrite_that_finds_the_disk_full_keeps_what_was_and_works_later(seed: int) -> None:
    broker = broker_on(seed)
    stuck = publish_and_settle_most(broker, 24)
    rng = random.Random(seed)

    def fill_now_and_then(what: str) -> None:
        is_cold = "cold-" in what or ".index" in what
        broker.disk.faults = Faults(write_error=float(is_cold and rng.random() < 0.5))

    broker.disk.before_step = fill_now_and_then
    stuck |= publish_and_settle_most(broker, 24)
    settled_down(broker)
    require_bodies(broker, stuck)
    assert not any(".tmp" in name for name in broker.disk.names(GENERATION))
    broker.disk.before_step, broker.disk.faults = None, Faults()
    broker.restart(power=True)
    require_bodies(broker, stuck)
    settled_down(broker)
    require_bodies(broker, stuck)
    assert broker.journal.cold.tier.total_bytes < 3 * len(stuck) * (BODY_BYTES + 150)
