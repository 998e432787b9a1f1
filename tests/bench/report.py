"""How sections print: markdown, line by line as figures come, and the command that repeats them."""

from collections.abc import Callable

Say = Callable[[str], None]
MIB = 1 << 20


class Report:
    """Where the sections write."""

    def __init__(self, say: Say) -> None:
        self.say = say

    def table(self, *columns: str) -> None:
        """Begin a table."""
        self.say("| " + " | ".join(columns) + " |")
        self.say("| " + " | ".join("---" for _ in columns) + " |")

    def row(self, *cells: object) -> None:
        """Write a row."""
        self.say("| " + " | ".join(str(cell) for cell in cells) + " |")


def mib(size_bytes: float) -> str:
    """Return a size in MiB."""
    return f"{size_bytes / MIB:,.0f}"


def ratio(value: float, other: float) -> str:
    """Return a quotient; of nothing, a dash."""
    return f"{value / other:.2f}" if other else "-"
