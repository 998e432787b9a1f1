"""Run the simulator from the command line: `python -m tests.simulation.run --runs 1000`, see docs/testing.md."""

import argparse
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.configurations import CONFIGURATIONS
from tests.simulation.simulation import simulate

PROGRESS_S = 20.0
REPORTED = (
    "acknowledged", "unknown", "refused", "reads", "elections", "transfers", "crashes", "power losses",
    "crashes in file operations", "stopped for the disk", "checkpoints", "installs", "cuts", "repeats",
    "changes made", "changes refused", "changes unknown", "disks thrown away", "disks lost", "connections", "frames",
)  # fmt: skip
Work = tuple[str, int, float | None]  # configuration, seed, seconds


@dataclass
class Result:
    """One run, small enough to send between processes."""

    name: str
    seed: int
    violation: str | None
    totals: dict[str, int]
    virtual_s: float


@dataclass
class Sums:
    """All runs so far."""

    runs: int = 0
    virtual_s: float = 0.0
    totals: "Counter[str]" = field(default_factory=Counter)
    violations: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.runs += 1
        self.virtual_s += result.virtual_s
        self.totals.update(result.totals)
        if result.violation is not None:
            self.violations.append(result)

    def line(self) -> str:
        """Return the totals on one line."""
        parts = [f"{name} {self.totals[name]:,}" for name in REPORTED if self.totals[name]]
        return (
            f"{self.runs:,} runs, {len(self.violations)} with a violation, "
            f"{self.virtual_s / 3600:.1f} virtual hours: {', '.join(parts)}"
        )


def work_of(names: list[str], seed: int, runs: int, seconds: float | None) -> Iterator[Work]:
    """Yield configurations in turns, each with its own rising seeds."""
    for number in range(runs):
        yield names[number % len(names)], seed + number // len(names), seconds


def run_one(work: Work) -> Result:
    """Run one configuration with one seed."""
    name, seed, seconds = work
    outcome = simulate(name, seed, seconds)
    violation = None if outcome.violation is None else str(outcome.violation)
    return Result(name, seed, violation, dict(outcome.totals), outcome.virtual_s)


def results_of(work: Iterator[Work], jobs: int) -> Iterator[Result]:
    """Run everything, in this process or in several."""
    if jobs == 1:
        gc.freeze()  # what the modules hold need not be looked at again and again
        yield from map(run_one, work)
        return
    with ProcessPoolExecutor(jobs, initializer=gc.freeze) as pool:
        yield from pool.map(run_one, work, chunksize=8)


def report(result: Result, seconds: float | None) -> None:
    """Tell about a violation and how to see it again."""
    command = f"make sim SEED={result.seed} CONFIG={result.name}"
    if seconds is not None:
        command += f" VIRTUAL_S={seconds:g}"
    print(
        f"VIOLATION {result.name}, seed {result.seed}: {result.violation}\n  again: {command}",
        flush=True,
    )


def main() -> int:
    """Parse arguments and run; 1 if there was a violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=len(CONFIGURATIONS))
    parser.add_argument("--seed", type=int, default=0, help="the first seed of each configuration")
    parser.add_argument(
        "--config", default="all", help=f"all, or one of: {', '.join(CONFIGURATIONS)}"
    )
    parser.add_argument("--seconds", type=float, help="virtual seconds under faults in each run")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="write the totals to this file as well")
    arguments = parser.parse_args()
    if arguments.config != "all" and arguments.config not in CONFIGURATIONS:
        parser.error(f"no configuration is called {arguments.config!r}")
    names = list(CONFIGURATIONS) if arguments.config == "all" else [arguments.config]
    runs = max(arguments.runs, len(names)) if arguments.config == "all" else arguments.runs
    sums, shown_s = Sums(), time.monotonic()
    for result in results_of(
        work_of(names, arguments.seed, runs, arguments.seconds), arguments.jobs
    ):
        sums.add(result)
        if result.violation is not None:
            report(result, arguments.seconds)
        if time.monotonic() - shown_s > PROGRESS_S:
            shown_s = time.monotonic()
            print(sums.line(), flush=True)
    print(sums.line(), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"runs": sums.runs, **sums.totals}, indent=1) + "\n")
    return 1 if sums.violations else 0


if __name__ == "__main__":
    sys.exit(main())
