"""The table of an end-to-end run, in markdown: pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.e2e.measure import Row
from tests.support.checker import Report

DASH = "—"
SHOWN = ("lost", "resurrected", "duplicated", "double-held", "phantom", "reordered", "stuck")


@dataclass
class Table:
    """What a run has found so far; printed also when it ends early."""

    title: str
    rows: list[Row] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    verdict: Report | None = None
    is_complete: bool = False

    def fact(self, what: str, figure: str) -> None:
        """Add a figure that belongs to no scenario."""
        self.facts.append((what, figure))

    def markdown(self) -> str:
        """Return the whole report."""
        scenarios = _table(
            ("scenario", "seconds", "longest gap, s", "elections", "failed publishes", "confirmed", "API writes"),
            [
                (
                    row.scenario, f"{row.seconds:.1f}", f"{row.gap_s:.2f}", _number(row.elections),
                    str(row.failed), str(row.confirmed), _number(row.writes),
                )
                for row in self.rows
            ],
        )  # fmt: skip
        facts = _table(("what", "figure"), [*self.facts, *self._findings()])
        return f"# {self.title}\n\n{scenarios}\n\n{facts}\n"

    def _findings(self) -> list[tuple[str, str]]:
        if self.verdict is None:
            return [("checker", "the run ended before it could judge")]
        found = [(kind, str(self.verdict.number(kind))) for kind in SHOWN]
        others = len(self.verdict.findings) - sum(int(number) for _, number in found)
        done = ", ".join(f"{count} {what}" for what, count in self.verdict.counts.items())
        return [("history", done), *found, ("other findings", str(others))]


def describe(row: Row) -> str:
    """Return a row as a line of progress."""
    return (
        f"{row.scenario:36} {row.seconds:6.1f} s  gap {row.gap_s:5.2f} s  elections {_number(row.elections)}  "
        f"failed {row.failed}  confirmed {row.confirmed}  writes {_number(row.writes)}"
    )


def _number(value: int | None) -> str:
    return DASH if value is None else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
