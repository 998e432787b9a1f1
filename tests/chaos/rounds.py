"""The faults of a chaos run: what is done in a round, and what clients saw meanwhile."""

import asyncio
import random
import time
from dataclasses import dataclass, field

from tests.chaos.power import Power
from tests.support.cluster import Cluster
from tests.support.load import Load
from tests.support.waiting import wait_for

KILL, PAUSE, KILL_ALL, PARTITION = "kill", "pause", "kill all", "partition"
CONFIRMS_BEFORE = 25  # before each fault, so that it meets a cluster at work
RECOVERY_S = 60.0


@dataclass(frozen=True)
class Plan:
    """How many rounds of each fault, and how long pauses and partitions last, in seconds."""

    kills: int = 30
    pauses: int = 5
    kills_of_all: int = 5
    partitions: int = 5
    pause_s: tuple[float, float] = (5.0, 20.0)
    partition_s: tuple[float, float] = (5.0, 10.0)

    def faults(self, rng: random.Random) -> list[str]:
        """Return the faults in a random order; partitions last, they need other addresses."""
        first = [KILL] * self.kills + [PAUSE] * self.pauses + [KILL_ALL] * self.kills_of_all
        rng.shuffle(first)
        return first + [PARTITION] * self.partitions


QUICK = Plan(
    kills=2, pauses=1, kills_of_all=1, partitions=1, pause_s=(2.0, 3.0), partition_s=(3.0, 4.0)
)
POWER = Plan(kills=30, pauses=0, kills_of_all=30, partitions=0)
POWER_QUICK = Plan(kills=1, pauses=0, kills_of_all=2, partitions=0)


@dataclass
class Round:
    """What one round did and cost."""

    number: int
    fault: str
    subject: str = ""
    was_leader: bool = False
    began: float = 0.0
    ended: float = 0.0
    gap_s: float = 0.0
    confirmed: int = 0

    def line(self, total: int) -> str:
        """Return the round in one line."""
        return (
            f"round {self.number:2}/{total} {self.fault} {self.subject}: longest gap between two OKs "
            f"{self.gap_s:.2f} s, {self.confirmed} confirmed in {self.ended - self.began:.1f} s"
        )


@dataclass
class Chaos:
    """Carries out rounds on a cluster under load."""

    cluster: Cluster
    load: Load
    plan: Plan
    rng: random.Random
    power: Power | None = None  # then who is killed loses it
    rounds: list[Round] = field(default_factory=list)
    leader_changes: int = 0

    async def run_round(self, fault: str) -> Round:
        """Do one fault, mend it, and wait until the load goes on."""
        await self._confirms(CONFIRMS_BEFORE)
        leader = await self.cluster.wait_leader(deadline_s=RECOVERY_S)
        each = Round(len(self.rounds) + 1, fault, began=time.monotonic())
        confirmed_before = self.load.confirmed
        if fault == KILL:
            await self._kill(each, leader)
        elif fault == PAUSE:
            await self._pause(each, leader)
        elif fault == KILL_ALL:
            await self._kill_all(each)
        else:
            await self._partition(each, leader)
        await self._confirms(CONFIRMS_BEFORE)
        each.ended = time.monotonic()
        each.confirmed = self.load.confirmed - confirmed_before
        each.gap_s = self.load.history.longest_gap_s(each.began, each.ended)
        after = await self.cluster.wait_leader(deadline_s=RECOVERY_S)
        self.leader_changes += after != leader
        self.rounds.append(each)
        return each

    async def _kill(self, each: Round, leader: int) -> None:
        each.was_leader = self.rng.random() < 0.6
        member = leader if each.was_leader else self.rng.choice(sorted(self.cluster.members))
        each.was_leader = member == leader
        each.subject = self._name(member, leader)
        each.began = time.monotonic()
        await asyncio.to_thread(self.cluster[member].kill)
        each.subject += await self._cut_power([member])
        await self._pass_time(self.rng.uniform(0.3, 2.5))
        await self.cluster.restart(member, deadline_s=RECOVERY_S)

    async def _pause(self, each: Round, leader: int) -> None:
        member = (
            leader if self.rng.random() < 0.6 else self.rng.choice(sorted(self.cluster.members))
        )
        each.was_leader = member == leader
        seconds = self.rng.uniform(*self.plan.pause_s)
        each.subject = f"{self._name(member, leader)} for {seconds:.1f} s"
        each.began = time.monotonic()
        self.cluster[member].pause()
        await self._pass_time(seconds)
        self.cluster[member].resume()
        await self.cluster.wait_serving(deadline_s=RECOVERY_S)

    async def _kill_all(self, each: Round) -> None:
        order = sorted(self.cluster.members)
        self.rng.shuffle(order)
        slow_s = self.rng.uniform(0.0, 1.5)
        each.subject = f"(restart order {order}, the last {slow_s:.1f} s late)"
        each.began = time.monotonic()
        await asyncio.to_thread(self.cluster.kill_all)
        each.subject += await self._cut_power(order)
        for member in order[:-1]:
            self.cluster[member].start()
        await self._pass_time(slow_s)
        self.cluster[order[-1]].start()
        await self.cluster.wait_serving(deadline_s=RECOVERY_S)

    async def _partition(self, each: Round, leader: int) -> None:
        network = self.cluster.network
        assert network is not None
        seconds = self.rng.uniform(*self.plan.partition_s)
        kind = self.rng.choice(["silent", "broken", "one-way"])
        each.was_leader = True
        each.subject = f"{self._name(leader, leader)}, {kind}, for {seconds:.1f} s"
        each.began = time.monotonic()
        if kind == "silent":
            network.isolate(leader)
        elif kind == "broken":
            network.break_off(leader)
        else:
            for other in self.cluster.members:
                if other != leader:
                    network.stall(leader, other)
        await self._pass_time(seconds)
        network.heal()
        await self.cluster.wait_serving(deadline_s=RECOVERY_S)

    async def _cut_power(self, killed: list[int]) -> str:
        return "" if self.power is None else await asyncio.to_thread(self.power.cut, killed)

    async def _pass_time(self, seconds: float) -> None:
        """Let the fault last; this is the one place where time itself is what is waited for."""
        await asyncio.sleep(seconds)

    async def _confirms(self, number: int) -> None:
        wanted = self.load.confirmed + number
        await wait_for(
            lambda: self.load.confirmed >= wanted,
            what=f"{number} more confirms; errors so far: {dict(self.load.refusals)}",
            deadline_s=RECOVERY_S,
            poll_s=0.05,
        )

    def _name(self, member: int, leader: int) -> str:
        return f"{'leader' if member == leader else 'follower'} {member}"
