"""What goes wrong, by name, and for how long. Each fault heals by itself; the simulation ends what is left."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from tests.simulation.disk import UNLIMITED
from tests.simulation.events import Events
from tests.simulation.host import Host
from tests.simulation.network import Network

DIRECTION = tuple[int, int]


class Cluster(Protocol):
    """What faults act on."""

    events: Events
    network: Network
    hosts: dict[int, Host]  # of the machines that exist now: they come and go
    totals: "Counter[str]"


class Faults:
    """The faults of one run."""

    def __init__(self, cluster: Cluster, rng: random.Random, lasts_s: tuple[float, float]) -> None:
        self.cluster = cluster
        self._rng = rng
        self._lasts_s = lasts_s
        self.is_over = False

    def happen(self, name: str) -> None:
        """Let a fault begin."""
        KINDS[name](self)

    # ------------------------------------------------------------------ whom and how long

    def _any(self) -> Host:
        return self._rng.choice(list(self.cluster.hosts.values()))

    def _leader(self) -> Host:
        leaders = [h for h in self.cluster.hosts.values() if h.node and h.node.role == "leader"]
        return self._rng.choice(leaders) if leaders else self._any()

    def _pair(self) -> DIRECTION | None:
        """Return two members; None: there is only one."""
        members = sorted(self.cluster.hosts)
        if len(members) < 2:
            return None
        one, other = self._rng.sample(members, 2)
        return one, other

    def _lasting_s(self) -> float:
        shortest_s, longest_s = self._lasts_s
        is_long = self._rng.random() < 0.3
        usual_s = shortest_s + (longest_s - shortest_s) / 4
        return self._rng.uniform(shortest_s, longest_s if is_long else usual_s)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self.cluster.events.after(delay_s, lambda: None if self.is_over else action())

    # ------------------------------------------------------------------ processes

    def crash(self) -> None:
        self._any().crash(power=False)

    def crash_leader(self) -> None:
        self._leader().crash(power=False)

    def power(self) -> None:
        self._any().crash(power=True)

    def power_all(self) -> None:
        for host in list(self.cluster.hosts.values()):
            host.crash(power=self._rng.random() < 0.9)

    def crash_soon(self) -> None:
        """Before or inside one of the next file operations."""
        host = self._any() if self._rng.random() < 0.5 else self._leader()
        host.disk.crash_at = host.disk.steps + self._rng.randint(1, 12)

    def stop(self) -> None:
        self._any().stop()

    def pause(self) -> None:
        host = self._any() if self._rng.random() < 0.5 else self._leader()
        host.paused_until_s = self.cluster.events.now_s + self._lasting_s()

    def jump(self) -> None:
        host = self._any()
        host.clock.jumped_s += self._lasting_s()
        host.wake()

    def transfer(self) -> None:
        host = self._leader()
        members = [None, *self.cluster.hosts]
        target = self._rng.choice(members)
        host.hand_over(target)

    # ------------------------------------------------------------------ network

    def cut_off(self) -> None:
        self.block(self.cluster.network.isolate(self._any().member))

    def cut_off_leader(self) -> None:
        self.block(self.cluster.network.isolate(self._leader().member))

    def cut_pair(self) -> None:
        if (pair := self._pair()) is not None:
            one, other = pair
            self.block([(one, other), (other, one)])

    def one_way(self) -> None:
        if (pair := self._pair()) is not None:
            self.block([pair])

    def deaf_leader(self) -> None:
        """The leader is heard, but hears nobody."""
        leader = self._leader().member
        self.block([(peer, leader) for peer in self.cluster.hosts if peer != leader])

    def break_one(self) -> None:
        if (pair := self._pair()) is not None:
            self.cluster.network.break_connection(*pair)

    def block(self, directions: list[DIRECTION]) -> None:
        """Let nothing through in these directions for a while."""
        network = self.cluster.network
        for direction in directions:
            network.block(*direction)

        def free() -> None:
            for direction in directions:
                network.free(*direction)

        self._later(self._lasting_s(), free)

    # ------------------------------------------------------------------ disks

    def sync_error(self) -> None:
        disk = self._any().disk
        disk.faults.sync_error = self._rng.choice((0.05, 1.0))

        def heal() -> None:
            disk.faults.sync_error = 0.0

        self._later(self._lasting_s() / 4, heal)

    def read_error(self) -> None:
        disk = self._any().disk
        disk.faults.read_error = 0.3

        def heal() -> None:
            disk.faults.read_error = 0.0

        self._later(self._lasting_s() / 4, heal)

    def full_disk(self) -> None:
        disk = self._any().disk
        disk.capacity = disk.used() + self._rng.choice((0, 500, 3000))

        def heal() -> None:
            disk.capacity = UNLIMITED

        self._later(self._lasting_s(), heal)


KINDS: dict[str, Callable[[Faults], None]] = {
    name: method
    for name, method in vars(Faults).items()
    if callable(method) and not name.startswith("_") and name not in ("happen", "block")
}
