"""Who adds, promotes, moves, replaces and removes members while everything else goes on.

Sees the whole cluster, but never makes a change after which too few living disks would be left: that would be the
administrator's mistake, not the product's. Asks anybody, several at once, with old versions; the ledger judges the
answers.
"""

import math
import random
from collections import Counter
from typing import Protocol

from sybline.replication.configuration import (
    AddLearner,
    Change,
    ChangeRefused,
    Configuration,
    Promote,
    Remove,
    UpdateAddress,
    changed,
)
from tests.simulation.checker import Checker
from tests.simulation.configurations import Administration
from tests.simulation.events import Events
from tests.simulation.host import Host
from tests.simulation.ledger import Ledger
from tests.simulation.memberships import is_quorum

DRAWN_IDS_FROM = 1 << 16
VOTERS_MAX = 6
FIRST_LOOK_S = 0.6
LONG_SILENT_S = 1.0  # a leader must have noticed by then that a machine is gone


class Cluster(Protocol):
    """What an administrator sees and may touch."""

    events: Events
    checker: Checker
    hosts: dict[int, Host]

    @property
    def totals(self) -> "Counter[str]": ...

    def add_machine(self, member: int) -> Host: ...

    def add_impostor(self, member: int) -> None: ...


class Administrator:
    """See the module."""

    def __init__(
        self, cluster: Cluster, rng: random.Random, administration: Administration | None
    ) -> None:
        self._cluster = cluster
        self._rng = rng
        self._does = administration
        self._sizes = list(administration.sizes) if administration is not None else []
        self._unwanted: set[int] = set()
        self._gone_s: dict[int, float] = {}  # whose machine was thrown away, and when
        self._end_s = 0.0
        self.ledger = Ledger(cluster.checker.memberships, cluster.totals)

    def begin(self, end_s: float) -> None:
        """Work until then."""
        self._end_s = end_s
        if self._does is not None:
            self._cluster.events.after(FIRST_LOOK_S, self._look)

    # ------------------------------------------------------------------ one look

    def _look(self) -> None:
        assert self._does is not None
        self._scrap_removed()
        if self._rng.random() < self._does.whims:
            self._rng.choice(WHIMS)(self)
        else:
            self._follow_plan()
        at_s = self._cluster.events.now_s + self._rng.expovariate(1 / self._does.gap_s)
        if at_s < self._end_s:
            self._cluster.events.at(at_s, self._look)

    @property
    def _latest(self) -> Configuration:
        return self._cluster.checker.memberships.latest.configuration

    def _follow_plan(self) -> None:
        """Take the next step towards as many voters as there shall be, all of them wanted."""
        latest, hosts = self._latest, self._cluster.hosts
        self._unwanted |= latest.voters - hosts.keys()
        wanted = latest.voters - self._unwanted
        coming = [learner for learner in sorted(latest.learners) if learner in hosts]
        goal = self._sizes[0] if self._sizes else len(latest.voters)
        leaving = sorted(self._unwanted & latest.voters)
        if coming and self._rng.random() < 0.8:
            self._ask(Promote(self._rng.choice(coming)))
        elif leaving and (len(wanted) >= goal or self._rng.random() < 0.1):
            self._ask(Remove(self._rng.choice(leaving)))
        elif len(wanted) + len(coming) < goal:
            self._add()
        elif len(wanted) > goal:
            self._unwanted.add(self._rng.choice(sorted(wanted)))
        elif len(self._sizes) > 1:
            self._sizes.pop(0)
        elif self._does is not None and self._does.replaces and not leaving:
            self._give_up(min(wanted, key=latest.ids.index))

    def _give_up(self, member: int) -> None:
        """Let a member be replaced; perhaps its disk is gone already."""
        self._unwanted.add(member)
        if self._rng.random() < 0.5:
            self._scrap(member)

    def _scrap(self, member: int) -> bool:
        """Throw a machine away with its disk, unless it is needed; return whether it is gone.

        It is needed for a quorum, and before the cluster has formed, which takes every first member.
        """
        hosts, has_formed = self._cluster.hosts, self._latest.cluster_uid != 0
        alive = hosts.keys() - {member}
        is_needed = any(not is_quorum(alive, possible.voters) for possible in self._possible())
        if member in hosts and has_formed and not is_needed:
            self._cluster.totals["disks thrown away"] += 1
            hosts.pop(member).leave()
            self._gone_s[member] = self._cluster.events.now_s
            return True
        return False

    def _scrap_removed(self) -> None:
        """Throw away who was removed, sooner or later: until then it may disturb."""
        involved = {member for each in self._possible() for member in each.ids}
        was_member = self._cluster.checker.memberships.ids_ever
        for member in sorted(self._cluster.hosts.keys() - involved):
            if member in was_member and self._rng.random() < 0.1:
                self._scrap(member)

    def _add(self) -> None:
        """Let a machine with an empty disk in: one that waits already, or a new one."""
        hosts, ever = self._cluster.hosts, self._cluster.checker.memberships.ids_ever
        waiting = sorted(hosts.keys() - ever)
        if not waiting or self._rng.random() < 0.1:
            host = self._cluster.add_machine(self._rng.randrange(DRAWN_IDS_FROM, 1 << 48))
            host.start()
        else:
            host = hosts[self._rng.choice(waiting)]
        self._ask(AddLearner(host.member, host.name, host.address))

    # ------------------------------------------------------------------ whims

    def _any_member(self) -> int:
        return self._rng.choice(self._latest.ids)

    def _move(self) -> None:
        """A machine gets another address; somebody tells the cluster, now or when he looks next."""
        member = self._any_member()
        host = self._cluster.hosts.get(member)
        if host is not None and self._may_miss(member):
            host.move()
        self._tell_addresses()

    def _tell_addresses(self) -> None:
        for member in self._latest.members:
            host = self._cluster.hosts.get(member.id)
            if host is not None and host.address != member.address:
                self._ask(UpdateAddress(member.id, host.address))

    def _remove_any(self) -> None:
        if len(self._latest.voters) > 1:
            self._ask(Remove(self._any_member()), force=self._rng.random() < 0.3)

    def _remove_leader(self) -> None:
        leader = self._leader()
        if leader is not None:
            if self._rng.random() < 0.5:
                leader.hand_over(None)
            self._ask(Remove(leader.member), force=self._rng.random() < 0.5)

    def _remove_one_too_many(self) -> None:
        """Ask the leader for a removal after which no quorum would live; it must see that and refuse."""
        long_ago_s = self._cluster.events.now_s - LONG_SILENT_S
        latest, leader = self._latest, self._leader()
        gone = {m for m in latest.voters if self._gone_s.get(m, math.inf) < long_ago_s}
        living = latest.voters & self._cluster.hosts.keys()
        if gone and leader is not None and len(latest.voters) == len(gone | living):
            removed = self._rng.choice(sorted(living))
            if not is_quorum(living - {removed}, latest.voters - {removed}):
                self._ask_of(leader, Remove(removed), latest.version)

    def _promote_any(self) -> None:
        self._ask(Promote(self._any_member()))

    def _add_again(self) -> None:
        host = self._cluster.hosts.get(self._any_member())
        if host is not None:
            self._ask(AddLearner(host.member, host.name, host.address))

    def _quarrel(self) -> None:
        """Several administrators at once."""
        for _ in range(self._rng.choice((2, 3))):
            self._rng.choice(
                (Administrator._remove_any, Administrator._add, Administrator._promote_any)
            )(self)

    def _come_back_empty(self) -> None:
        """A first member starts again, just as the first time, on an empty disk."""
        memberships = self._cluster.checker.memberships
        first = sorted(memberships.first.voters & self._latest.voters)
        if first and self._scrap(member := self._rng.choice(first)):
            self._unwanted.add(member)
            self._cluster.add_impostor(member)

    def _scrap_learner(self) -> None:
        learners = sorted(self._latest.learners & self._cluster.hosts.keys())
        if learners:
            self._scrap(self._rng.choice(learners))

    # ------------------------------------------------------------------ asking

    def _leader(self) -> Host | None:
        hosts = [h for h in self._cluster.hosts.values() if h.node and h.node.role == "leader"]
        return self._rng.choice(hosts) if hosts else None

    def _ask(self, change: Change, *, force: bool = False) -> None:
        """Ask somebody for a change, mostly the leader, mostly with the version that is right."""
        version = self._latest.version - (self._rng.random() < 0.1)
        if len(self._latest.voters) >= VOTERS_MAX and isinstance(change, AddLearner):
            return
        host = self._leader()
        if host is None or self._rng.random() < 0.15:
            host = self._rng.choice(list(self._cluster.hosts.values()))
        if self._is_safe(change):
            self._ask_of(host, change, version, force=force)

    def _ask_of(self, host: Host, change: Change, version: int, *, force: bool = False) -> None:
        if not host.is_up or host.is_paused:
            return
        life = host.life
        request = self.ledger.asks(change, version, lambda: host.is_up and host.life == life)

        def done(outcome: object) -> None:
            self.ledger.hears(request, outcome)

        host.act(lambda: host.running()[1].change_members(change, version, force=force, done=done))

    def _possible(self) -> list[Configuration]:
        """Return what is in force and what may come to be, by entries and requests that are under way."""
        known = self._cluster.checker.memberships.possible()
        return known + [
            after
            for before in known
            for request in self.ledger.open
            if before.version == request.expected_version
            and (after := _after(before, request.change)) is not None
        ]

    def _is_safe(self, change: Change) -> bool:
        """Return whether the voters that live could go on after this change, whatever else is under way."""
        alive = self._cluster.hosts.keys()
        return all(
            is_quorum(alive, after.voters)
            for before in self._possible()
            if (after := _after(before, change)) is not None
        )

    def _may_miss(self, member: int) -> bool:
        """Return whether the cluster goes on while this member is out of reach, and everybody else is where he was."""
        hosts, latest = self._cluster.hosts, self._latest
        reached = {
            each.id
            for each in latest.members
            if each.id in hosts and hosts[each.id].address == each.address
        }
        return all(is_quorum(reached - {member}, each.voters) for each in self._possible())

    def check_answers(self) -> None:
        """All is quiet: what was refused has not happened."""
        self.ledger.check()


def _after(configuration: Configuration, change: Change) -> Configuration | None:
    try:
        return changed(configuration, change)
    except ChangeRefused:
        return None


WHIMS = (
    Administrator._move,
    Administrator._remove_any,
    Administrator._remove_leader,
    Administrator._remove_one_too_many,
    Administrator._remove_one_too_many,
    Administrator._promote_any,
    Administrator._add_again,
    Administrator._add,
    Administrator._quarrel,
    Administrator._scrap_learner,
    Administrator._come_back_empty,
)
