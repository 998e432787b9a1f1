"""What goes wrong, by name, and for how long. Each fault heals by itself; the simulation ends what is left."""

import random
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
    hosts: dict[int, Host]


class Faults:
    """The faults of one run."""

    def __init__(self, cluster: Cluster, rng: random.Random, lasts_s: tuple[float, float]) -> None:
        self._cluster = cluster
        self._rng = rng
        self._lasts_s = lasts_s
        self.is_over = False

    def happen(self, name: str) -> None:
        """Let a fault begin."""
        KINDS[name](self)

    # ------------------------------------------------------------------ whom and how long

    def _any(self) -> Host:
        return self._rng.choice(list(self._cluster.hosts.values()))

    def _leader(self) -> Host:
        leaders = [h for h in self._cluster.hosts.values() if h.node and h.node.role == "leader"]
        return self._rng.choice(leaders) if leaders else self._any()

    def _lasting_s(self) -> float:
        shortest_s, longest_s = self._lasts_s
        is_long = self._rng.random() < 0.3
        usual_s = shortest_s + (longest_s - shortest_s) / 4
        return self._rng.uniform(shortest_s, longest_s if is_long else usual_s)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._cluster.events.after(delay_s, lambda: None if self.is_over else action())

    # ------------------------------------------------------------------ processes

    def crash(self) -> None:
        self._any().crash(power=False)

    def crash_leader(self) -> None:
        self._leader().crash(power=False)

    def power(self) -> None:
        self._any().crash(power=True)

    def power_all(self) -> None:
        for host in self._cluster.hosts.values():
            host.crash(power=self._rng.random() < 0.9)

    def crash_soon(self) -> None:
        """Before or inside one of the next file operations."""
        host = self._any() if self._rng.random() < 0.5 else self._leader()
        host.disk.crash_at = host.disk.steps + self._rng.randint(1, 12)

    def stop(self) -> None:
        self._any().stop()

    def pause(self) -> None:
        host = self._any() if self._rng.random() < 0.5 else self._leader()
        host.paused_until_s = self._cluster.events.now_s + self._lasting_s()

    def jump(self) -> None:
        host = self._any()
        host.clock.jumped_s += self._lasting_s()
        host.wake()

    def transfer(self) -> None:
        host = self._leader()
        members = [None, *self._cluster.hosts]
        target = self._rng.choice(members)
        if host.is_up:
            host.act(lambda: host.transfer(target))

    # ------------------------------------------------------------------ network

    def cut_off(self) -> None:
        self._block(self._cluster.network.isolate(self._any().member))

    def cut_off_leader(self) -> None:
        self._block(self._cluster.network.isolate(self._leader().member))

    def cut_pair(self) -> None:
        one, other = self._rng.sample(sorted(self._cluster.hosts), 2)
        self._block([(one, other), (other, one)])

    def one_way(self) -> None:
        one, other = self._rng.sample(sorted(self._cluster.hosts), 2)
        self._block([(one, other)])

    def deaf_leader(self) -> None:
        """The leader is heard, but hears nobody."""
        leader = self._leader().member
        self._block([(peer, leader) for peer in self._cluster.hosts if peer != leader])

    def break_one(self) -> None:
        one, other = self._rng.sample(sorted(self._cluster.hosts), 2)
        self._cluster.network.break_connection(one, other)

    def _block(self, directions: list[DIRECTION]) -> None:
        network = self._cluster.network
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
    if callable(method) and not name.startswith("_") and name != "happen"
}
