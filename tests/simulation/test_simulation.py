"""The product's replication under every fault configuration, on a virtual clock."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.configurations import CONFIGURATIONS
from tests.simulation.schedules import SCHEDULES
from tests.simulation.simulation import simulate

pytestmark = pytest.mark.simulation
ROOT = Path(__file__).resolve().parents[2]
SEEDS, TOGETHER = 8, 4  # of each configuration; runs in one test
REGRESSIONS = Path(__file__).parent / "regressions/seeds.txt"
FINGERPRINTS = """
from tests.simulation.simulation import simulate
for name in ("everything", "product-state", "membership"):
    outcome = simulate(name, 7)
    print(name, outcome.fingerprint, sorted(outcome.totals.items()))
"""


def must_pass(name: str, seed: int) -> None:
    outcome = simulate(name, seed)
    if outcome.violation is not None:
        again = f"make sim SEED={seed} CONFIG={name}"
        pytest.fail(f"{name}, seed {seed}: {outcome.violation}\nagain: {again}")
    assert outcome.totals["acknowledged"], "nothing was written: the run proves nothing"
    assert outcome.totals["elections"]


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_invariant_breaks(name: str, first: int) -> None:
    for seed in range(first, first + TOGETHER):
        must_pass(name, seed)


def regressions() -> list[tuple[str, int]]:
    lines = [
        line.split("|")
        for line in REGRESSIONS.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    return [(name.strip(), int(seed)) for name, seed, _ in lines]


@pytest.mark.parametrize(("name", "seed"), regressions())
def test_a_run_that_once_failed_passes(name: str, seed: int) -> None:
    must_pass(name, seed)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_scripted_schedule_keeps_all_invariants(name: str) -> None:
    SCHEDULES[name]()


def test_a_seed_gives_the_same_run_in_every_process() -> None:
    printed = []
    for hash_seed in ("0", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINTS], cwd=ROOT, env=environment, capture_output=True,
            text=True, check=True, timeout=120,
        )  # fmt: skip
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    assert "everything" in printed[0]


@pytest.mark.parametrize("seed", [2001535, 2001725])
def test_a_run_is_not_settled_while_somebody_has_not_noticed_that_a_connection_is_gone(
    seed: int,
) -> None:
    assert simulate("membership-partitions", seed, 4.0).violation is None
