"""What a soak makes of its samples: verdict, CSV, chart."""

import csv
import io

import pytest

from tests.bench.curve import (
    CHART_COLUMNS,
    CHART_ROWS,
    Sample,
    draw_chart,
    encode_csv,
    judge,
)
from tests.bench.report import MIB


def sample(at_s: float, live_mib: int, disk_mib: int) -> Sample:
    return Sample(at_s, live_mib * MIB, disk_mib * MIB, 100 * MIB, 12.5)


CURVE = [sample(10, 0, 128), sample(20, 100, 320), sample(30, 200, 500)]


def test_the_verdict_is_on_the_worst_sample_beyond_twice_the_live_bytes() -> None:
    verdict = judge(CURVE, constant_bytes=128 * MIB)
    assert verdict.holds
    assert verdict.worst_excess_bytes == 128 * MIB
    assert (verdict.worst_ratio, verdict.last_ratio) == (float("inf"), 2.5)
    assert "at most 128 MiB of 128 MiB allowed: held" in str(verdict)


def test_one_byte_too_many_breaks_it() -> None:
    verdict = judge(CURVE, constant_bytes=128 * MIB - 1)
    assert not verdict.holds
    assert str(verdict).endswith("BROKEN")


def test_the_csv_has_a_header_and_every_sample() -> None:
    rows = list(csv.DictReader(io.StringIO(encode_csv(CURVE))))
    assert [float(row["at_s"]) for row in rows] == [10, 20, 30]
    assert int(rows[1]["disk_bytes"]) == 320 * MIB


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_the_chart_fits_its_frame_whatever_the_number_of_samples(count: int) -> None:
    samples = [sample(n * 10, n, 2 * n + 50) for n in range(count)]
    legend, *body, axis, ends = draw_chart(samples, constant_bytes=64 * MIB).splitlines()
    assert "D disk" in legend
    assert len(body) == CHART_ROWS
    frame = axis.index("+")
    assert {len(line) - frame - 1 for line in (*body, axis)} == {CHART_COLUMNS}
    assert all(any(mark in line for line in body) for mark in "Dl.")
    assert ends.endswith(f"{samples[-1].at_s:,.0f} s")


def test_the_chart_shows_the_largest_value_on_top_and_nothing_at_the_bottom() -> None:
    chart = draw_chart([sample(1, 0, 10), sample(2, 0, 100)], constant_bytes=20 * MIB)
    lines = chart.splitlines()
    assert lines[1].startswith("100 MiB |")
    assert lines[1].endswith("D")
    assert set(lines[CHART_ROWS].partition("|")[2]) == {"l"}
