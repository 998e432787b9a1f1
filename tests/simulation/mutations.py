"""Does the simulator have teeth? Each safety rule of the product is switched off, and a run must notice it.

The rules stand in `mutation_table.py`. `python -m tests.simulation.mutations` tries the run that noticed each of them
last time, searches another where that one does no longer, and writes `docs/internals/mutations.md` and the seeds that
`test_mutations.py` replays.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tests.simulation.mutation import Mutation
from tests.simulation.mutation_table import MUTATIONS
from tests.simulation.schedules import SCHEDULES
from tests.simulation.simulation import simulate
from tests.simulation.violation import Violation

HERE = Path(__file__).parent
SEEDS_FILE = HERE / "mutation_seeds.json"
TABLE_FILE = HERE.parent.parent / "docs/internals/mutations.md"
RUNS_MAX = 400  # of the search for one mutation
TABLE_HEAD = """# Safety rules, and what notices when one is switched off

Written by `make mutations` (`tests/simulation/mutations.py`); do not edit. Each line is a rule of the replication, the
functions that were changed to break it, and the run of the simulator that noticed it: `make sim SEED=… CONFIG=…` with
the rule in place passes. `tests/simulation/test_mutations.py` replays these runs in `make unit`.

| rule | changed in | noticed by |
| --- | --- | --- |"""


@dataclass(frozen=True)
class Finding:
    """The run, or the schedule, that noticed a mutation."""

    name: str
    seed: int
    kind: str


def try_run(name: str, seed: int) -> Finding | None:
    """Run a configuration with a seed, or a schedule, and return what it found."""
    if name in SCHEDULES:
        try:
            SCHEDULES[name]()
        except Violation as violation:
            return Finding(name, seed, violation.kind)
        return None
    outcome = simulate(name, seed)
    return None if outcome.violation is None else Finding(name, seed, outcome.violation.kind)


def find(
    mutation: Mutation, first: Sequence[tuple[str, int]] = (), runs_max: int = RUNS_MAX
) -> Finding | None:
    """Search a run that notices the mutation, in turns over its configurations."""
    names = mutation.configurations
    turns = ((names[number % len(names)], number // len(names)) for number in range(runs_max))
    with mutation.applied():
        for name, seed in chain(first, turns):
            finding = try_run(name, seed)
            if finding is not None:
                return finding
    return None


def known_seeds() -> dict[str, tuple[str, int]]:
    """Return the run that found each mutation when the table was written last."""
    known = json.loads(SEEDS_FILE.read_text(encoding="utf-8"))
    return {rule: (name, seed) for rule, (name, seed) in known.items()}


def write_findings(findings: dict[str, Finding]) -> None:
    """Write the table for readers and the seeds for the tests."""
    seeds = {rule: (found.name, found.seed) for rule, found in findings.items()}
    SEEDS_FILE.write_text(json.dumps(seeds, indent=1) + "\n", encoding="utf-8")
    lines = [TABLE_HEAD]
    for mutation in MUTATIONS:
        found = findings[mutation.rule]
        where = ", ".join(f"`{change.function}`" for change in mutation.changes)
        if found.name in SCHEDULES:
            result = f"the schedule *{found.name}*: {found.kind}"
        else:
            result = f"*{found.name}*, seed {found.seed}: {found.kind}"
        lines.append(f"| {mutation.rule} | {where} | {result} |")
    TABLE_FILE.parent.mkdir(exist_ok=True)
    TABLE_FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Search for all mutations; 1 if a rule can be switched off without anybody noticing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--rule", default="", help="only rules that contain this text; writes nothing"
    )
    parser.add_argument(
        "--runs", type=int, default=RUNS_MAX, help="how many to try for one mutation"
    )
    arguments = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if arguments.rule in mutation.rule]
    known = known_seeds()
    findings: dict[str, Finding] = {}
    unseen: list[str] = []
    for mutation in chosen:
        started_s = time.perf_counter()
        first = [known[mutation.rule]] if mutation.rule in known else []
        found = find(mutation, first, arguments.runs)
        if found is not None:
            findings[mutation.rule] = found
        else:
            unseen.append(mutation.rule)
        result = f"{found.name}, seed {found.seed}: {found.kind}" if found else "not found"
        print(f"{mutation.rule:62} {result} [{time.perf_counter() - started_s:.1f} s]", flush=True)
    for rule in unseen:
        print(f"nobody notices when this is switched off: {rule}")
    if not arguments.rule and not unseen:
        write_findings(findings)
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
