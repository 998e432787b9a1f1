"""Faults that lie in wait for the steps of a change of the membership: appended, sent, synced, committed.

Random faults seldom hit the few milliseconds of a change. Each step of each change is an opportunity, taken at a
certain rate: the process dies within the step, or the members involved are cut off, stopped or deposed at once.
"""

import random

from tests.simulation.disk import Crashed
from tests.simulation.faults import Faults

KINDS = (
    "crash", "crash", "crash_changed", "crash_other", "only_the_two", "alone", "changed_alone",
    "without_changed", "depose", "power_all",
)  # fmt: skip


class Ambush:
    """See the module."""

    def __init__(self, faults: Faults, rng: random.Random, rate: float) -> None:
        self._faults = faults
        self._cluster = faults.cluster
        self._rng = rng
        self._rate = rate

    def step(self, name: str, member: int, changed: int | None) -> None:
        """A member is in a step of a change, of that other member or of nobody.

        Raises:
            Crashed: its process ends here.
        """
        if not self._rate or self._faults.is_over or self._rng.random() >= self._rate:
            return
        kind = self._rng.choice(KINDS)
        self._cluster.totals[f"ambush {name}"] += 1
        if kind == "crash":
            raise Crashed(f"ambush: {name}")
        self._cluster.events.after(0.0, lambda: self._strike(kind, member, changed))

    def _strike(self, kind: str, member: int, changed: int | None) -> None:
        """Do what a step cannot do to itself, right after it."""
        hosts = self._cluster.hosts
        pair = {member, changed} & hosts.keys()
        others = sorted(hosts.keys() - pair)
        match kind:
            case "crash_changed" if changed in hosts:
                hosts[changed].crash(power=self._rng.random() < 0.5)
            case "crash_other" if others:
                hosts[self._rng.choice(others)].crash(power=self._rng.random() < 0.5)
            case "only_the_two":
                self._separate(pair, others)
            case "alone":
                self._separate({member}, hosts.keys() - {member})
            case "changed_alone" if changed in hosts:
                self._separate({changed}, hosts.keys() - {changed})
            case "without_changed" if changed in hosts and changed != member:
                self._separate({member}, {changed})
            case "depose" if member in hosts and others:
                hosts[member].hand_over(self._rng.choice(others))
            case "power_all":
                self._faults.power_all()
            case _:
                pass

    def _separate(self, some: "set[int]", others: "set[int] | list[int]") -> None:
        """Let nothing through between two groups for a while."""
        self._faults.block(
            [d for a in sorted(some) for b in sorted(others) if a != b for d in ((a, b), (b, a))]
        )
