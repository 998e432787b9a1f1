"""Connections between members, who come and go: ordered, and everything that goes wrong with them.

A connection has two ends, which learn at different times that it opened or broke; until an end knows, it goes on
sending into the void and receiving what was under way. A blocked direction holds what is sent and delivers it late, in
order, when it is free again, or breaks the connection after a while. A member that dials again replaces the connection
its peer still believes in: the newest wins. All that travels are the product's frames.
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from sybline.replication.admission import Refusal, Standing
from sybline.replication.transport import Link
from tests.simulation.events import Events

Frame = tuple[int, bytes]
LATENCY_S = (0.0003, 0.003)
DIAL_S = (0.02, 0.15)
STAND_IN_S = (0.3, 0.8)  # the same for who dials only because the other side does not
NOTICE_S = (0.0, 0.03)  # until an end sees that the other closed
NOTICE_LATE_S = (0.3, 2.0)  # until a keep-alive tells that the other is gone
IDLE_S = 1.5  # a direction blocked for so long breaks its connection


class End(Protocol):
    """A member as the network sees it."""

    @property
    def is_up(self) -> bool: ...

    @property
    def address(self) -> str: ...

    def link(self, peer: int) -> Link | None:
        """Return how its process reaches a peer; None: it knows of none."""

    def standing(self) -> Standing: ...

    def judge(self, peer: Standing) -> Refusal | None: ...

    def told(self, member: int, refusal: Refusal) -> None: ...

    def connected(self, peer: int) -> None: ...

    def disconnected(self, peer: int) -> None: ...

    def received(self, peer: int, frame: Frame) -> None: ...


@dataclass(eq=False)
class Connection:
    """One connection, for as long as an end believes in it."""

    arrives_s: dict[int, float] = field(default_factory=dict)  # at an end: not before this moment
    held: dict[int, list[Frame]] = field(default_factory=dict)  # on the way to an end, blocked


@dataclass
class Habits:
    """How bad the network is, as rates from 0 to 1 and seconds."""

    late_rate: float = 0.0  # of frames
    late_s: tuple[float, float] = (0.02, 0.6)


class Network:
    """All connections of a cluster."""

    def __init__(self, events: Events, rng: random.Random, habits: Habits) -> None:
        self._events = events
        self._rng = rng
        self.habits = habits
        self._ends: dict[int, End] = {}
        self._links: dict[tuple[int, int], Connection] = {}  # (at, peer): what this end believes in
        self._blocked: dict[tuple[int, int], int] = {}  # (from, to) -> number of the block
        self._dialling: set[tuple[int, int]] = set()
        self._blocks = 0
        self._breaking: list[
            tuple[int, int, Connection]
        ] = []  # gone, which (at, peer) does not know
        self.finds_everybody = False  # else a machine is found at its present address only
        self.on_carry: Callable[[int, int, Frame], None] = lambda member, peer, frame: None
        self.frames = 0
        self.connections = 0

    def join(self, member: int, end: End) -> None:
        """Add a member."""
        self._ends[member] = end

    def leave(self, member: int) -> None:
        """A machine is gone for good; its process has ended."""
        del self._ends[member]

    def is_connected(self, member: int, peer: int) -> bool:
        """Return whether a member believes in a connection to a peer."""
        return (member, peer) in self._links

    # ------------------------------------------------------------------ sending

    def send(self, member: int, peer: int, frame: Frame) -> bool:
        """Send a frame; it is lost when there is no connection."""
        connection = self._links.get((member, peer))
        if connection is None:
            return False
        self.frames += 1
        if (member, peer) in self._blocked:
            connection.held.setdefault(peer, []).append(frame)
        else:
            self._carry(connection, member, peer, frame)
        return True

    def _carry(self, connection: Connection, member: int, peer: int, frame: Frame) -> None:
        latency_s = self._rng.uniform(*LATENCY_S)
        if self.habits.late_rate and self._rng.random() < self.habits.late_rate:
            latency_s += self._rng.uniform(*self.habits.late_s)
        self.on_carry(member, peer, frame)
        at_s = max(self._events.now_s + latency_s, connection.arrives_s.get(peer, 0.0))
        connection.arrives_s[peer] = at_s  # what is sent later does not overtake

        def arrive() -> None:
            if self._links.get((peer, member)) is connection:
                self._ends[peer].received(member, frame)

        self._events.at(at_s, arrive)

    # ------------------------------------------------------------------ opening and closing

    def look_for_peers(self, member: int) -> None:
        """A member's process began, or knows other peers than before: it dials, and closes what it wants no longer."""
        for peer in self._ends:
            if peer != member:
                self._dial_soon(member, peer)
                self._dial_soon(peer, member)

    def _dial_soon(self, dialler: int, peer: int) -> None:
        """Dial after a while, again and again, for as long as the process wants this connection and has none."""
        link = self._wanted(dialler, peer)
        if link is None or (dialler, peer) in self._dialling:
            return
        self._dialling.add((dialler, peer))
        delay_s = self._rng.uniform(*(DIAL_S if link.dials else STAND_IN_S))
        self._events.after(delay_s, lambda: self._dial(dialler, peer))

    def _dial(self, dialler: int, peer: int) -> None:
        self._dialling.discard((dialler, peer))
        link = self._wanted(dialler, peer)
        if link is None:
            return
        is_blocked = (dialler, peer) in self._blocked or (peer, dialler) in self._blocked
        if is_blocked or not self._is_found(link, peer) or not self._agree(dialler, peer):
            self._dial_soon(dialler, peer)
            return
        self.connections += 1
        connection = Connection()
        self._close_end(peer, dialler)  # the newest wins
        opens_s = self._events.now_s + self._rng.uniform(*LATENCY_S)
        connection.arrives_s[dialler] = opens_s
        self._links[peer, dialler] = connection
        self._links[dialler, peer] = connection
        self._ends[peer].connected(dialler)

        def opened() -> None:
            if self._links.get((dialler, peer)) is connection:
                self._ends[dialler].connected(peer)

        self._events.at(opens_s, opened)

    def _wanted(self, dialler: int, peer: int) -> Link | None:
        """Return how a process would dial; None: it has the connection, or wants none."""
        ends = self._ends
        if dialler not in ends or peer not in ends or (dialler, peer) in self._links:
            return None
        return ends[dialler].link(peer)

    def _is_found(self, link: Link, peer: int) -> bool:
        """Return whether the peer runs where the dialler looks for it."""
        end = self._ends[peer]
        return end.is_up and (self.finds_everybody or end.address in link.addresses)

    def _agree(self, dialler: int, peer: int) -> bool:
        """Let both sides of a new connection judge each other; who is refused is told."""
        one, other = self._ends[dialler], self._ends[peer]
        refusals = [
            (one, peer, other.judge(one.standing())),
            (other, dialler, one.judge(other.standing())),
        ]
        for refused, by, refusal in refusals:
            if refusal is not None and refused.is_up:
                refused.told(by, refusal)
        return all(refusal is None for _, _, refusal in refusals)

    def _close_end(self, member: int, peer: int) -> None:
        """One end sees that its connection is gone."""
        if self._links.pop((member, peer), None) is not None and member in self._ends:
            self._ends[member].disconnected(peer)
            self._dial_soon(member, peer)
            self._dial_soon(peer, member)

    def _close_later(self, member: int, peer: int, delay_s: float) -> None:
        connection = self._links.get((member, peer))
        if connection is None:
            return
        gone = (member, peer, connection)
        self._breaking.append(gone)

        def close() -> None:
            self._breaking.remove(gone)
            if self._links.get((member, peer)) is connection:
                self._close_end(member, peer)

        self._events.after(delay_s, close)

    def is_breaking(self, members: Collection[int]) -> bool:
        """Return whether one of them still believes in a connection to another that is gone."""
        return any(
            at in members and peer in members and self._links.get((at, peer)) is connection
            for at, peer, connection in self._breaking
        )

    def close(self, member: int, peer: int) -> None:
        """A member's process closes its connection to a peer, which sees it soon."""
        self._close_end(member, peer)
        self._close_later(peer, member, self._rng.uniform(*NOTICE_S))

    def peers_of(self, member: int) -> list[int]:
        """Return whom a member believes to be connected to."""
        return [peer for at, peer in self._links if at == member]

    def break_connection(self, member: int, peer: int) -> None:
        """A connection breaks; each end notices by itself, what is under way may still arrive."""
        for at, other in ((member, peer), (peer, member)):
            is_late = self._rng.random() < 0.2
            delay_s = self._rng.uniform(*(NOTICE_LATE_S if is_late else NOTICE_S))
            self._close_later(at, other, delay_s)

    def stopped(self, member: int, *, silently: bool) -> None:
        """A member's process ended: its peers see a closed connection soon, or hear nothing (power)."""
        for peer in self._ends:
            self._links.pop((member, peer), None)
            notice_s = NOTICE_LATE_S if silently else NOTICE_S
            self._close_later(peer, member, self._rng.uniform(*notice_s))

    # ------------------------------------------------------------------ blocking

    def block(self, member: int, peer: int) -> None:
        """Let nothing through in one direction."""
        self._blocks += 1
        number = self._blocked[member, peer] = self._blocks

        def idle() -> None:
            if self._blocked.get((member, peer)) == number:
                self._close_later(member, peer, self._rng.uniform(*NOTICE_S))
                self._close_later(peer, member, self._rng.uniform(*NOTICE_S))

        self._events.after(self._rng.uniform(0.5, 1.0) * IDLE_S, idle)

    def free(self, member: int, peer: int) -> None:
        """Let a direction through again; what was held arrives now, in order."""
        self._blocked.pop((member, peer), None)
        connection = self._links.get((member, peer))
        if connection is not None:
            for frame in connection.held.pop(peer, []):
                self._carry(connection, member, peer, frame)

    def isolate(self, member: int) -> list[tuple[int, int]]:
        """Block everything from and to a member; return the directions."""
        directions = [d for p in self._ends if p != member for d in ((member, p), (p, member))]
        for direction in directions:
            self.block(*direction)
        return directions

    def free_all(self) -> None:
        """Block nothing any more."""
        for direction in list(self._blocked):
            self.free(*direction)
