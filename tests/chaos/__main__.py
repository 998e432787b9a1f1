"""`make chaos`: real members under SIGKILL, SIGSTOP and partitions, with the checker.

    python -m tests.chaos [--power-loss] [--rounds full|quick|N] [--seed S] [--directory DIR]

N is the number of kills; pauses, kills of all and partitions follow in the proportion of the full run. With power loss
(`make power`) there are kills only, every second one of all members, and what was not synced is lost. The seed fixes
the faults and their order, not the moments: processes are real. Exit status 1: something forbidden was found, or the
run did too little to count.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.rounds import POWER, POWER_QUICK, QUICK, Plan
from tests.chaos.run import run_chaos


def plan_of(text: str, *, power_loss: bool) -> Plan:
    """Return the plan that `--rounds` names."""
    if text == "full":
        return POWER if power_loss else Plan()
    if text == "quick":
        return POWER_QUICK if power_loss else QUICK
    kills = int(text)
    if power_loss:
        return Plan(kills=kills // 2, pauses=0, kills_of_all=kills - kills // 2, partitions=0)
    share = -(-kills // 6)
    return Plan(kills=kills, pauses=share, kills_of_all=share, partitions=share)


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--power-loss", action="store_true", help="who is killed loses its power")
    parser.add_argument("--rounds", default="full", help="full, quick or N kills")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--directory", type=Path, help="keep data and logs here")
    arguments = parser.parse_args()
    plan = plan_of(arguments.rounds, power_loss=arguments.power_loss)
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="sybline-chaos-"))
    print(f"seed {arguments.seed}, data and logs in {directory}", flush=True)
    began = time.monotonic()
    outcome = asyncio.run(run_chaos(directory, plan, arguments.seed, power=arguments.power_loss))
    print(outcome.summary())
    verdict = "clean" if outcome.is_good else "NOT CLEAN"
    print(f"{verdict}: seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
