"""Nodes around a table, whose messages travel only when told to, on a clock that stands still."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from sybline.replication.configuration import (
    Change,
    ChangeReason,
    ChangeRefused,
    Configuration,
    static_configuration,
)
from sybline.replication.journal import Journal
from sybline.replication.messages import RaftMessage
from sybline.replication.node import CheckpointDistance, RaftNode
from sybline.replication.timing import Timing
from tests.simulation.configurations import SMALL
from tests.simulation.disk import SimulatedDisk
from tests.simulation.events import Events, HostClock
from tests.simulation.tags import TAG, Tags

ROOT = Path("/data")
TIMING = Timing(election_s=1.0, heartbeat_s=0.1)
JOINER = 70_000


class Silent:
    """A node's listener that hears nothing."""

    def leader_changed(self, leader: int | None, term: int) -> None: ...

    def applied(self, index: int) -> None: ...

    def installed(self) -> None: ...

    def checkpointed(self, index: int) -> None: ...

    def membership_changed(self) -> None: ...


class Table:
    """Nodes around a table; time stands still unless it is moved."""

    def __init__(self, *founders: int, entries: int = 10_000) -> None:
        self._first = static_configuration(founders, 77 if len(founders) == 1 else 0)
        self._entries = entries
        self.clock = HostClock(Events())
        self.disks: dict[int, SimulatedDisk] = {}
        self.journals: dict[int, Journal] = {}
        self.nodes: dict[int, RaftNode] = {}
        self.under_way: dict[tuple[int, int], list[RaftMessage]] = {}
        for member in founders:
            self.start(member)

    def start(self, member: int, *, meets: bool = True) -> RaftNode:
        """Start a member, again if it ran, after a power loss."""
        if member in self.disks:
            self.disks[member].crash(power=True)
        disk = self.disks.setdefault(member, SimulatedDisk(random.Random(member)))
        first = self._first if member in self._first.ids else static_configuration(())
        journal = self.journals[member] = Journal.open(
            ROOT, cluster_id="table", member=member, first=first, files=disk, options=SMALL
        )
        node = self.nodes[member] = RaftNode(
            member=member, journal=journal, state=Tags(lambda index, tag: None),
            send=lambda peer, message: self._sent(member, peer, message),
            clock=self.clock, rng=random.Random(member), timing=TIMING, listener=Silent(),
            checkpoint=CheckpointDistance(entries=self._entries),
        )  # fmt: skip
        if meets:
            for other in self._first.ids:
                node.peer_connected(other)
        return node

    def _sent(self, member: int, peer: int, message: RaftMessage) -> None:
        self.under_way.setdefault((member, peer), []).append(message)

    def sent(self, member: int, kind: type) -> list[RaftMessage]:
        """Return what of a kind a member has sent and nobody has got."""
        return [m for (own, _), each in self.under_way.items() if own == member for m in each
                if type(m) is kind]  # fmt: skip

    def lose(self) -> None:
        """Lose everything under way."""
        self.under_way = {}

    def deliver(self, member: int, peer: int) -> int:
        """Deliver what is under way from one to the other."""
        messages = self.under_way.pop((member, peer), [])
        for message in messages:
            if peer in self.nodes:
                self.nodes[peer].receive(member, message)
                self.nodes[peer].tick()
        return len(messages)

    def exchange(self, *members: int) -> None:
        """Deliver everything among these members, until nothing is under way."""
        pairs = [(one, other) for one in members for other in members if one != other]
        for _ in range(100):
            if not sum(self.deliver(*pair) for pair in pairs):
                return
        raise AssertionError("they talk for ever")

    def lead(self, member: int, *voters: int) -> RaftNode:
        """Let a member campaign, be elected by these, and commit its first entry with them."""
        node = self.nodes[member]
        node._follow(max(other.term for other in self.nodes.values()), None)
        node._campaign(self.clock.monotonic_s(), transfer=True)
        self.exchange(member, *voters)
        assert node.is_ready_leader, f"{member} is {node.role} in {node.term}"
        return node

    def beat(self, member: int, *others: int) -> None:
        """Let a leader's next heartbeats be answered by these."""
        self.clock.jumped_s += TIMING.heartbeat_s
        self.nodes[member].tick()
        self.exchange(member, *others)

    def propose(self, member: int) -> None:
        """Append a command at a leader."""
        self.nodes[member].propose(TAG.pack(7), lambda _overloaded: None)
        self.nodes[member].tick()


def change(node: RaftNode, what: Change, *, force: bool = False) -> list[Configuration | None]:
    """Begin a change in whatever version there is, and return what will come of it."""
    outcome: list[Configuration | None] = []
    node.change_members(
        what, expected_version=node.configuration.version, force=force, done=outcome.append
    )
    node.tick()
    return outcome


def reason(call: Callable[[], object]) -> ChangeReason:
    with pytest.raises(ChangeRefused) as caught:
        call()
    return caught.value.reason


def everybody(*without: int, of: Iterable[int] = (1, 2, 3, 4, 5)) -> tuple[int, ...]:
    return tuple(member for member in of if member not in without)


def formed(*members: int) -> Table:
    """Return a table whose cluster has formed under the first member."""
    table = Table(*members)
    table.lead(members[0], *members[1:])
    table.beat(members[0], *members[1:])
    assert table.nodes[members[0]].is_configuration_committed
    return table


def settle(table: Table, *members: int) -> None:
    """Let the first of them lead for longer than a new leader waits for all to say what they have."""
    for _ in range(11):
        table.beat(*members)
