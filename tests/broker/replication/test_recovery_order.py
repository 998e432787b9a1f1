"""A recovery order read at start: for one disk in one state, carried out once, whatever is killed in between."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from sybline.replication.configuration import (
    Configuration,
    encode_configuration,
    static_configuration,
    with_cluster_uid,
    without,
)
from sybline.replication.journal import COMMAND, CONFIGURATION, Entry, Journal, JournalOptions
from sybline.replication.recovery_order import (
    BadOrder,
    RecoveryOrder,
    carry_out,
    load_order,
    obey,
)
from sybline.replication.storage_errors import CorruptData
from sybline.replication.survey import Survey, survey
from tests.simulation.disk import Crashed, SimulatedDisk

UID = 0xC0FFEE
OPTIONS = JournalOptions(segment_bytes=4096)
FORMED = with_cluster_uid(static_configuration((1, 2, 3)), UID)
ENTRIES = 20
ORDER = RecoveryOrder(2, FORMED.version, UID, 3, ENTRIES, "orders-1/1/12648430/3-20")
DATA = Path("/data")


def stored(
    *, member: int = 2, configuration: Configuration = FORMED, seed: int = 7
) -> SimulatedDisk:
    """Return a disk with a member's log of commands behind a configuration."""
    files = SimulatedDisk(random.Random(seed))
    journal = open_journal(files, member)
    journal.set_vote(3, None)
    journal.append([Entry(1, 1, CONFIGURATION, encode_configuration(configuration))])
    journal.append([Entry(n, 3, COMMAND, b"%d" % n) for n in range(2, ENTRIES + 1)])
    journal.sync()
    journal.set_cluster_uid(configuration.cluster_uid)
    journal.close()
    return files


def open_journal(files: SimulatedDisk, member: int | None) -> Journal:
    return Journal.open(DATA, cluster_id="shop", member=member, files=files, options=OPTIONS)


def follow(files: SimulatedDisk, order: RecoveryOrder = ORDER) -> Survey:
    carry_out(order, files, DATA, options=OPTIONS)
    return survey(files, DATA)


def reasons(files: SimulatedDisk, order: RecoveryOrder) -> list[str]:
    with capture_logs() as logs:
        assert carry_out(order, files, DATA, options=OPTIONS) is None
    assert [each["event"] for each in logs] == ["recovery_order_ignored"]
    return [each["reason"] for each in logs]


def test_the_member_it_is_for_goes_on_alone_with_all_it_had() -> None:
    files = stored()
    after = follow(files)
    assert after.configuration.voters == {2}
    assert after.configuration.version == FORMED.version + 1
    assert after.cluster_uid == after.configuration.cluster_uid != UID
    journal = open_journal(files, 2)
    kept = journal.slice(2, ENTRIES, 1 << 20)
    journal.close()
    assert [entry.payload for entry in kept] == [b"%d" % n for n in range(2, ENTRIES + 1)]


def test_the_same_order_again_changes_nothing() -> None:
    files = stored()
    first = follow(files)
    steps = files.steps
    [reason] = reasons(files, ORDER)
    assert "it has been carried out" in reason
    assert files.steps == steps
    assert survey(files, DATA) == first


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (structs.replace(ORDER, member=1), "it is for member 1, this is member 2"),
        (structs.replace(ORDER, configuration_version=9), "configuration 9 of cluster"),
        (structs.replace(ORDER, cluster_uid=9), "of cluster 9, a log"),
        (structs.replace(ORDER, last_term=2), "entry 20 of term 2; this disk has"),
        (structs.replace(ORDER, last_index=19), "up to entry 19 of term 3; this disk has"),
    ],
)
def test_an_order_for_another_disk_or_another_state_changes_nothing(
    order: RecoveryOrder, word: str
) -> None:
    files = stored()
    steps = files.steps
    [reason] = reasons(files, order)
    assert word in reason
    assert files.steps == steps


def test_an_empty_disk_is_nobodys_survivor_and_stays_empty() -> None:
    files = SimulatedDisk(random.Random(1))
    assert reasons(files, ORDER) == ["this disk is empty"]
    assert not files.exists(DATA)


def test_a_removed_member_does_not_go_on() -> None:
    left = without(FORMED, 2)
    order = structs.replace(ORDER, configuration_version=left.version)
    assert reasons(stored(configuration=left), order) == [
        "this member was removed from its cluster"
    ]


def test_who_is_alone_already_does_not_begin_another_cluster() -> None:
    alone = with_cluster_uid(static_configuration((2,)), UID)
    order = structs.replace(ORDER, configuration_version=alone.version)
    [reason] = reasons(stored(configuration=alone), order)
    assert "the only one of its cluster already" in reason


def test_a_damaged_disk_stops_the_start_instead_of_being_passed_over() -> None:
    files = stored()
    path = DATA / "group-0" / "VOTE"
    files.poke(path, bytes(len(files.peek(path))))
    with pytest.raises(CorruptData, match="both slots of term and vote are damaged"):
        carry_out(ORDER, files, DATA, options=OPTIONS)


@pytest.mark.parametrize("power", [False, True], ids=["process crash", "power loss"])
def test_killed_at_any_file_operation_the_next_start_with_the_order_finishes_it(
    power: bool,
) -> None:
    finished_by = set()
    for crash_at in range(1, 200):
        files = stored(seed=crash_at)
        files.crash_at = files.steps + crash_at
        try:
            carry_out(ORDER, files, DATA, options=OPTIONS)
        except Crashed:
            pass
        else:
            break
        files.crash(power=power)
        files.crash_at = None
        left = survey(files, DATA)
        was_done = left.configuration.ids == (2,)
        assert was_done or left.configuration == FORMED
        after = follow(files)
        assert after.configuration.voters == {2}
        assert after.configuration.version == FORMED.version + 1
        assert after.last_index == ENTRIES + 1, "carried out once, not twice"
        assert after == left or not was_done
        finished_by.add(was_done)
    assert finished_by == {False, True}, "crashes met every stage"


# --- the file ---
def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "order"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


WHOLE = {
    "member": 2, "configuration_version": 1, "cluster_uid": UID, "last_term": 3, "last_index": 4, "request": "r",
}  # fmt: skip


def test_an_order_is_read_from_json(tmp_path: Path) -> None:
    assert load_order(written(tmp_path, WHOLE)) == RecoveryOrder(2, 1, UID, 3, 4, "r")
    assert load_order(tmp_path / "none") is None


@pytest.mark.parametrize(
    "content",
    [
        "", "no order", [WHOLE], {**WHOLE, "more": 1}, {**WHOLE, "member": "2"}, {**WHOLE, "member": 0},
        {**WHOLE, "cluster_uid": 0}, {**WHOLE, "request": "r" * 2_000}, "x" * 100_000,
        {key: value for key, value in WHOLE.items() if key != "configuration_version"},
    ],
)  # fmt: skip
def test_what_is_no_order_to_the_letter_is_logged_and_changes_nothing(
    tmp_path: Path, content: Any
) -> None:
    path, files = written(tmp_path, content), stored()
    with pytest.raises(BadOrder, match=str(path)):
        load_order(path)
    steps = files.steps
    with capture_logs() as logs:
        obey(path, files, DATA, options=OPTIONS)
    assert [each["event"] for each in logs] == ["recovery_order_unreadable"]
    assert files.steps == steps


def test_without_a_file_nothing_is_said(tmp_path: Path) -> None:
    with capture_logs() as logs:
        obey(tmp_path / "none", stored(), DATA, options=OPTIONS)
    assert logs == []
