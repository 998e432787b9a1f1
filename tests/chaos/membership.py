"""`make chaos-members`: members come and go by the operator's commands while others are killed, with the checker.

    python -m tests.chaos.membership [--rounds N] [--seed S] [--directory DIR]

Between three and five voters; each round adds, removes, replaces or loses one, and meanwhile another one is killed and
comes back. The seed fixes what is done and to whom as far as processes allow. Exit status 1: something forbidden was
found, or a change could not be carried out.
"""

import argparse
import asyncio
import contextlib
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.rounds import CONFIRMS_BEFORE, RECOVERY_S, Round
from tests.support.admin_cli import Ended, run_members
from tests.support.checker import Report, check
from tests.support.cluster import Cluster, Member
from tests.support.digests import digests_of
from tests.support.load import Load, LoadSettings, running_load
from tests.support.waiting import wait_for

LEASE_S = 5.0
VOTERS_MIN, VOTERS_MAX = 3, 5
CHANGE_S = 120.0  # for one change, kills included
ADD, REMOVE, REPLACE, LOSE = "add", "remove", "replace", "lose and replace"
KILL_AFTER_S, DOWN_S = (0.0, 2.0), (0.3, 1.5)


@dataclass
class MembershipChaos:
    """Carries out rounds on a cluster under load."""

    cluster: Cluster
    load: Load
    rng: random.Random
    rounds: list[Round] = field(default_factory=list)
    kills: int = 0
    retries: int = 0  # of commands that failed, because of the kills

    async def run_round(self) -> Round:
        """Change the members once, kill one meanwhile, and wait until the load goes on with all that are left."""
        await self._confirms()
        kind = self.rng.choice(self._possible())
        each = Round(len(self.rounds) + 1, kind, began=time.monotonic())
        confirmed_before = self.load.confirmed
        actions = {ADD: self._add, REMOVE: self._remove, REPLACE: self._replace, LOSE: self._lose}
        each.subject = await actions[kind]()
        await self._confirms()
        each.ended = time.monotonic()
        each.confirmed = self.load.confirmed - confirmed_before
        each.gap_s = self.load.history.longest_gap_s(each.began, each.ended)
        self.rounds.append(each)
        return each

    def _possible(self) -> list[str]:
        size = len(self.cluster.members)
        kinds = [REPLACE, REPLACE, LOSE]
        return kinds + [ADD] * (size < VOTERS_MAX) + [REMOVE] * (size > VOTERS_MIN)

    # --- rounds ---
    async def _add(self) -> str:
        joiner = self.cluster.add_joiner()
        joiner.start()
        killed = await self._disturbed(lambda: self._join(joiner), spare=None)
        return f"{joiner.id}{killed}"

    async def _remove(self) -> str:
        number = await self._choose()
        killed = await self._disturbed(lambda: self._leave(number), spare=number)
        return f"{number}{killed}"

    async def _replace(self) -> str:
        added = await self._add()
        return f"{await self._remove()} by {added}"

    async def _lose(self) -> str:
        number = await self._choose()
        lost = self.cluster[number]
        await asyncio.to_thread(lost.kill)
        self.load.move_to(self._addresses(without=number))
        await self._until_done(lost, "remove")
        self.cluster.forget(number)
        return f"{number} by {await self._add()}"

    async def _choose(self) -> int:
        """Return the leader, or anybody."""
        leader = await self.cluster.wait_leader(deadline_s=RECOVERY_S)
        return leader if self.rng.random() < 0.5 else self.rng.choice(sorted(self.cluster.members))

    async def _join(self, joiner: Member) -> None:
        await self._until_done(joiner, "add")
        await self.cluster.wait_serving(deadline_s=RECOVERY_S)
        self.load.move_to(self.cluster.addresses)

    async def _leave(self, number: int) -> None:
        leaving = self.cluster[number]
        self.load.move_to(self._addresses(without=number))
        await self._until_done(leaving, "remove")
        self.cluster.forget(number)
        await asyncio.to_thread(leaving.stop)

    # --- commands ---
    async def _until_done(self, member: Member, action: str) -> None:
        """Give the command again until it is done; whom it asks may be killed meanwhile."""
        async with asyncio.timeout(CHANGE_S):
            while not await self._try(member, action):
                self.retries += 1

    async def _try(self, member: Member, action: str) -> bool:
        server = self.rng.choice(self._addresses(without=member.id))
        if action == "add":
            done = await run_members(server, "add", member.peer_address, "--timeout", "20")
            return self._is_done(done, "ALREADY_MEMBER")
        listed = await run_members(server, "list", "--json", "--timeout", "10")
        if listed.status != 0:
            return False
        configured = listed.json["configuration"]["members"]
        ids = [each["id"] for each in configured if each["address"] == member.peer_address]
        if not ids:
            return True
        done = await run_members(server, "remove", ids[0], "--timeout", "20")
        return self._is_done(done, "UNKNOWN_MEMBER")

    @staticmethod
    def _is_done(ended: Ended, already: str) -> bool:
        return ended.status == 0 or already in ended.err

    def _addresses(self, *, without: int) -> list[str]:
        return [m.address for n, m in self.cluster.members.items() if n != without]

    # --- meanwhile ---
    async def _disturbed(self, change: Callable[[], Awaitable[None]], *, spare: int | None) -> str:
        """Make a change while another member is killed and comes back; return who, as text."""
        victims = sorted(n for n in self.cluster.members if n != spare)
        victim = self.rng.choice(victims)
        killing = asyncio.create_task(self._kill(self.cluster[victim]))
        try:
            await change()
            await killing
        finally:
            killing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await killing
        await self.cluster.wait_serving(deadline_s=RECOVERY_S)
        return f" (killed {victim} meanwhile)"

    async def _kill(self, victim: Member) -> None:
        """Kill a member in the middle of what goes on, and start it again after a while."""
        await asyncio.sleep(self.rng.uniform(*KILL_AFTER_S))
        await asyncio.to_thread(victim.kill)
        self.kills += 1
        await asyncio.sleep(self.rng.uniform(*DOWN_S))
        victim.start()

    async def _confirms(self) -> None:
        wanted = self.load.confirmed + CONFIRMS_BEFORE
        await wait_for(
            lambda: self.load.confirmed >= wanted,
            what=f"{CONFIRMS_BEFORE} more confirms; errors so far: {dict(self.load.refusals)}",
            deadline_s=RECOVERY_S,
            poll_s=0.05,
        )


async def run_chaos(directory: Path, rounds: int, seed: int) -> tuple[Report, MembershipChaos]:
    """Run the rounds on three new members in `directory`, print each, and judge."""
    rng = random.Random(seed)
    settings = {"NODE_TTL": f"{LEASE_S:g}", "SNAPSHOT_THRESHOLD": "500"}
    with Cluster(directory, settings=settings) as cluster:
        await cluster.start_and_wait()
        load = Load(cluster.addresses, LoadSettings(lease_s=LEASE_S), seed=seed)
        async with running_load(load):
            chaos = MembershipChaos(cluster, load, rng)
            try:
                for _ in range(rounds):
                    print((await chaos.run_round()).line(rounds), flush=True)
            except (AssertionError, TimeoutError):
                print(cluster.log_tails(), flush=True)
                raise
            await load.stop_publishing()
            await load.stop()
            drained = await load.drain(deadline_s=120.0)
        digests = await digests_of(cluster)
    return check(load.history, drained=drained, lease_s=LEASE_S, digests=digests), chaos


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.membership", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--directory", type=Path, help="keep data and logs here")
    arguments = parser.parse_args()
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="sybline-chaos-"))
    print(f"seed {arguments.seed}, data and logs in {directory}", flush=True)
    began = time.monotonic()
    report, chaos = asyncio.run(run_chaos(directory, arguments.rounds, arguments.seed))
    print(f"{report}\n{chaos.kills} kills, {chaos.retries} commands given again")
    verdict = "clean" if report.is_clean else "NOT CLEAN"
    print(f"{verdict}: seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
