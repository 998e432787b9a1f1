"""One chaos run: a cluster, its load, the rounds, the drain, the verdict."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.power import Power
from tests.chaos.rounds import KILL, PARTITION, Chaos, Plan
from tests.support.checker import Report, check
from tests.support.cluster import Cluster
from tests.support.digests import digests_of
from tests.support.load import Load, LoadSettings, running_load
from tests.support.waiting import WaitTimedOut

LEASE_S = 5.0
CONFIRMED_PER_ROUND_MIN = 50
FAILOVER_S_MAX = 1.0
# With power losses: checkpoints and new segments happen all the time, not once in a run.
POWER_SETTINGS = {"SNAPSHOT_THRESHOLD": "500"}
POWER_BODY_BYTES = 12_000


@dataclass
class Outcome:
    """What a run found, and whether it did enough to count."""

    report: Report
    chaos: Chaos
    missing_activity: list[str]

    @property
    def is_good(self) -> bool:
        """Return whether the run counts and found nothing."""
        return self.report.is_clean and not self.missing_activity

    def summary(self) -> str:
        """Return the figures of the run."""
        lines = [str(self.report), f"leader changes {self.chaos.leader_changes}"]
        if (power := self.chaos.power) is not None:
            lines.append(
                f"power losses took writes of {power.lost_writes} files, {power.lost_names} names"
            )
        for title, fault in (("killed leader", KILL), ("partitioned leader", PARTITION)):
            gaps = sorted(r.gap_s for r in self.chaos.rounds if r.fault == fault and r.was_leader)
            if gaps:
                over = sum(1 for gap in gaps if gap > FAILOVER_S_MAX)
                lines.append(
                    f"{title}: longest gap between two OKs: median {gaps[len(gaps) // 2]:.2f} s, "
                    f"max {gaps[-1]:.2f} s, over {FAILOVER_S_MAX:g} s in {over} of {len(gaps)} rounds"
                )
        lines.append("client errors:")
        lines += [f"  {count:5} {text}" for text, count in self.chaos.load.refusals.most_common(15)]
        lines += [f"not enough activity: {text}" for text in self.missing_activity]
        return "\n".join(lines)


async def run_chaos(directory: Path, plan: Plan, seed: int, *, power: bool = False) -> Outcome:
    """Run the plan on three new members in `directory`, print each round, and judge.

    `power`: whoever is killed loses what it had not synced.
    """
    rng = random.Random(seed)
    settings = {"NODE_TTL": f"{LEASE_S:g}", **(POWER_SETTINGS if power else {})}
    with Cluster(directory, settings=settings) as cluster:
        disks = Power(cluster, rng) if power else None
        await cluster.start_and_wait()
        body_bytes = POWER_BODY_BYTES if power else LoadSettings.body_bytes
        load = Load(
            cluster.addresses, LoadSettings(lease_s=LEASE_S, body_bytes=body_bytes), seed=seed
        )
        async with running_load(load):
            chaos = Chaos(cluster, load, plan, rng, disks)
            try:
                await _run_rounds(chaos, plan.faults(rng))
            except (WaitTimedOut, AssertionError):
                print(cluster.log_tails(), flush=True)
                raise
            await load.stop_publishing()
            await load.stop()
            drained = await load.drain(deadline_s=120.0)
        digests = await digests_of(cluster)
    report = check(load.history, drained=drained, lease_s=LEASE_S, digests=digests)
    return Outcome(report, chaos, _missing_activity(report, chaos))


async def _run_rounds(chaos: Chaos, faults: list[str]) -> None:
    for fault in faults:
        if fault == PARTITION and chaos.cluster.network is None:
            await _move_behind_proxies(chaos.cluster)
        each = await chaos.run_round(fault)
        print(each.line(len(faults)), flush=True)


async def _move_behind_proxies(cluster: Cluster) -> None:
    """Restart all members so that they reach each other through proxies; the load goes on."""
    began = time.monotonic()
    await cluster.stop_all()
    cluster.route_through_proxies()
    await cluster.start_and_wait()
    print(f"all members moved behind proxies in {time.monotonic() - began:.1f} s", flush=True)


def _missing_activity(report: Report, chaos: Chaos) -> list[str]:
    rounds = len(chaos.rounds)
    leaders_killed = sum(1 for r in chaos.rounds if r.fault == KILL and r.was_leader)
    wanted = {
        "confirmed": rounds * CONFIRMED_PER_ROUND_MIN,
        "settled": rounds * CONFIRMED_PER_ROUND_MIN,
        "returned": rounds,
        "redeliveries": rounds,
    }
    missing = [
        f"{name} {report.counts[name]} < {least}"
        for name, least in wanted.items()
        if report.counts[name] < least
    ]
    if chaos.power is not None and not (chaos.power.lost_writes and chaos.power.lost_names):
        missing.append("no power loss took anything")
    if chaos.leader_changes < leaders_killed:
        missing.append(f"leader changes {chaos.leader_changes} < {leaders_killed}")
    return missing
