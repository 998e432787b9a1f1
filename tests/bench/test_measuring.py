"""What the long sections read from members and the machine, and how they fill queues."""

from pathlib import Path

import pytest

from sybline.v1 import mq_pb2
from tests.bench.filling import BATCH_BYTES_MAX, Backlog
from tests.bench.machine import (
    NoRoom,
    copy_bytes_per_s,
    read_seconds,
    require_free,
    stored_bytes,
)
from tests.bench.report import MIB, Report, ratio
from tests.bench.restarts import SERVES, VOTES, drop_page_cache, event_moments_s

LOG = """2 ---
{"event": "setting", "timestamp": "2026-01-01T00:00:00.250000Z"}
a line that is no JSON
{"event": "member_started", "timestamp": "2026-01-01T00:00:01.000000Z"}
{"event": "leader_changed", "timestamp": "2026-01-01T00:00:01.500000Z"}
{"event": "leader_changed", "timestamp": "2026-01-01T00:00:09.000000Z"}
{"event": "member_ready", "timestamp": "2026-01-01T00:00:02.500000Z"}
"""


def test_the_moments_of_a_start_are_those_of_the_first_event_of_each_name() -> None:
    moments = event_moments_s(LOG)
    assert moments[SERVES] - moments[VOTES] == 1.5
    assert moments["leader_changed"] - moments[VOTES] == 0.5


def test_batches_are_as_large_as_a_request_may_be_and_add_up() -> None:
    backlog = Backlog("queue", 100_000, 100)
    assert backlog.total_bytes == 10_000_000
    request = backlog.encode(backlog.per_batch)
    assert 0.9 * BATCH_BYTES_MAX < len(request) <= BATCH_BYTES_MAX
    messages = mq_pb2.BatchMessages.FromString(request).messages
    assert len(messages) == backlog.per_batch
    assert {(m.routingKey, len(m.data)) for m in messages} == {("queue", 100)}


def test_a_message_larger_than_a_batch_goes_alone() -> None:
    assert Backlog("queue", 10, BATCH_BYTES_MAX).per_batch == 1


def test_the_files_of_a_member_are_measured_copied_and_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "a").write_bytes(bytes(3 * MIB))
    (source / "b").write_bytes(b"b")
    assert 3 * MIB <= stored_bytes(source) < 4 * MIB
    assert copy_bytes_per_s(source, tmp_path, bytes_max=MIB) > 0
    assert not (tmp_path / "raw-copy").exists()
    drop_page_cache(source)
    assert read_seconds(source) > 0


def test_a_section_without_room_says_what_it_needs(tmp_path: Path) -> None:
    require_free(tmp_path, 0)
    with pytest.raises(NoRoom, match="try a smaller --scale"):
        require_free(tmp_path, 1 << 60)


def test_tables_are_markdown() -> None:
    lines: list[str] = []
    report = Report(lines.append)
    report.table("a", "b")
    report.row(1, ratio(3, 2))
    report.row(2, ratio(3, 0))
    assert lines == ["| a | b |", "| --- | --- |", "| 1 | 1.50 |", "| 2 | - |"]
