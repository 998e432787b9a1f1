"""The curve of a soak: samples over time, as CSV, as a chart of characters, and the verdict on the disk. Pure."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields

from tests.bench.report import MIB

LIVE_FACTOR = 2  # disk use stays below so many times the live bytes, and a constant
CHART_COLUMNS, CHART_ROWS = 72, 14
LIVE_MARK, DISK_MARK, BOUND_MARK = "l", "D", "."


@dataclass(frozen=True)
class Sample:
    """The cluster at one moment."""

    at_s: float
    live_bytes: int  # bodies that queues hold
    disk_bytes: int  # of the member that takes most
    resident_bytes: int  # of the member that takes most
    publish_p99_ms: float  # since the sample before

    @property
    def ratio(self) -> float:
        """Return disk use by live bytes."""
        return self.disk_bytes / self.live_bytes if self.live_bytes else float("inf")

    @property
    def excess_bytes(self) -> int:
        """Return what the disk use has beyond its factor of the live bytes; below 0: less."""
        return self.disk_bytes - LIVE_FACTOR * self.live_bytes


@dataclass(frozen=True)
class Verdict:
    """What the curve shows."""

    worst_ratio: float
    last_ratio: float
    worst_excess_bytes: int
    constant_bytes: int

    @property
    def holds(self) -> bool:
        """Return whether the disk use never exceeded its bound."""
        return self.worst_excess_bytes <= self.constant_bytes

    def __str__(self) -> str:
        holds = "held" if self.holds else "BROKEN"
        return (
            f"disk / live at most {self.worst_ratio:.2f}, at the end {self.last_ratio:.2f}; "
            f"disk - {LIVE_FACTOR} x live at most {self.worst_excess_bytes / MIB:,.0f} MiB of "
            f"{self.constant_bytes / MIB:,.0f} MiB allowed: {holds}"
        )


def judge(samples: Sequence[Sample], *, constant_bytes: int) -> Verdict:
    """Return the verdict on a curve of at least one sample."""
    return Verdict(
        worst_ratio=max(sample.ratio for sample in samples),
        last_ratio=samples[-1].ratio,
        worst_excess_bytes=max(sample.excess_bytes for sample in samples),
        constant_bytes=constant_bytes,
    )


def encode_csv(samples: Sequence[Sample]) -> str:
    """Return the samples as CSV with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(field.name for field in fields(Sample))
    writer.writerows(astuple(sample) for sample in samples)
    return out.getvalue()


def draw_chart(samples: Sequence[Sample], *, constant_bytes: int) -> str:
    """Return a chart of live bytes, disk use and its bound over time, scaled to fit."""
    lines: tuple[tuple[str, Callable[[Sample], int]], ...] = (
        (BOUND_MARK, lambda sample: LIVE_FACTOR * sample.live_bytes + constant_bytes),
        (LIVE_MARK, lambda sample: sample.live_bytes),
        (DISK_MARK, lambda sample: sample.disk_bytes),
    )
    top = max(1, *(value(sample) for _, value in lines for sample in samples))
    grid = [[" "] * CHART_COLUMNS for _ in range(CHART_ROWS)]
    for column in range(CHART_COLUMNS):
        sample = samples[column * (len(samples) - 1) // (CHART_COLUMNS - 1)]
        for mark, value in lines:
            row = round(value(sample) / top * (CHART_ROWS - 1))
            grid[CHART_ROWS - 1 - row][column] = mark
    legend = f"{DISK_MARK} disk of the worst member, {LIVE_MARK} live bytes, {BOUND_MARK} bound"
    label = f"{top / MIB:,.0f} MiB"
    width = len(label)
    body = [
        f"{label if number == 0 else '0' if number == CHART_ROWS - 1 else '':>{width}} |{''.join(row)}"
        for number, row in enumerate(grid)
    ]
    axis = f"{'':>{width}} +{'-' * CHART_COLUMNS}"
    ends = f"{'':>{width}}  0 s{samples[-1].at_s:>{CHART_COLUMNS - 6},.0f} s"
    return "\n".join([legend, *body, axis, ends])
