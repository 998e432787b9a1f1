"""How long a member takes from its start until it votes, and until it serves, as it says itself in its log."""

import datetime
import json
import os
from dataclasses import dataclass
from pathlib import Path

from sybline.clock import SystemClock
from tests.bench.machine import last_start
from tests.support.cluster import Cluster, Member
from tests.support.waiting import wait_for

RESTART_S_MAX = 900.0
LOGGED_S_MAX = 10.0
VOTES, SERVES = "member_started", "member_ready"  # events of the log


@dataclass(frozen=True)
class Restarted:
    """Seconds since the process was started."""

    votes_s: float
    serves_s: float


async def restart_all(cluster: Cluster) -> dict[int, Restarted]:
    """Kill every member, start all of them, and return how long each took."""
    cluster.kill_all()
    began_s = _wall_clock_s()
    await cluster.start_and_wait(deadline_s=RESTART_S_MAX)
    return {number: await _since(member, began_s) for number, member in cluster.members.items()}


async def restart_one(cluster: Cluster, number: int) -> Restarted:
    """Kill and start one member while the others go on."""
    cluster[number].kill()
    began_s = _wall_clock_s()
    await cluster.restart(number, deadline_s=RESTART_S_MAX)
    return await _since(cluster[number], began_s)


def _wall_clock_s() -> float:
    """Return the time that members put into their logs."""
    return SystemClock().wall_ms() / 1_000


async def _since(member: Member, began_s: float) -> Restarted:
    """Return when a member's last life reached both events; the second is logged a moment after it answers so."""

    def moments() -> dict[str, float] | None:
        found = event_moments_s(last_start(member))
        return found if SERVES in found else None

    found = await wait_for(moments, what=f"{SERVES} in the log", deadline_s=LOGGED_S_MAX)
    return Restarted(found[VOTES] - began_s, found[SERVES] - began_s)


def event_moments_s(log_text: str) -> dict[str, float]:
    """Return when each event was logged first, in seconds of the wall clock."""
    moments: dict[str, float] = {}
    for line in log_text.splitlines():
        if not line.startswith("{"):
            continue
        entry = json.loads(line)
        when = datetime.datetime.fromisoformat(entry["timestamp"])
        moments.setdefault(entry["event"], when.timestamp())
    return moments


def drop_page_cache(directory: Path) -> None:
    """Let the system forget what it holds of a directory's files in memory, as after a boot."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
