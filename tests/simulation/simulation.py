"""One run: a cluster, its clients, faults, then healing, and the proof that everybody agrees and nothing is lost."""

import random
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from unittest import mock

from sybline import limits
from sybline.replication import node
from tests.simulation.broker import BrokerClients
from tests.simulation.checker import Checker
from tests.simulation.configurations import CONFIGURATIONS, Configuration
from tests.simulation.disk import UNLIMITED
from tests.simulation.disk import Faults as DiskFaults
from tests.simulation.events import Events
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.host import Application, Host, Manner
from tests.simulation.network import Frame, Habits, Network
from tests.simulation.tags import TagClients
from tests.simulation.violation import Violation

FIRST_FAULT_S = 0.8
SETTLE_S = 20.0  # after the last fault: by then everybody agrees
LOOK_S = 0.2
GATHER_S = (0.0, 0.002, 0.02)


@dataclass
class Outcome:
    """What came of a run."""

    violation: Violation | None = None
    totals: "Counter[str]" = field(default_factory=Counter)
    fingerprint: int = 0  # of everything that travelled: equal runs have equal ones
    virtual_s: float = 0.0


class Simulation:
    """See the module."""

    def __init__(self, configuration: Configuration, seed: str) -> None:
        self._configuration = configuration
        self._rng = random.Random(f"{seed} run")
        self.events = Events()
        self.outcome = Outcome()
        totals = self.outcome.totals
        self.history = History(totals, repeats_allowed=configuration.product_state)
        self.network = Network(
            self.events, random.Random(f"{seed} network"),
            Habits(configuration.late_rate, configuration.late_s),
        )  # fmt: skip
        members = tuple(range(1, configuration.members + 1))
        self.checker = Checker(len(members) // 2 + 1, {}, totals)
        manner = Manner(
            timing=configuration.timing, options=configuration.options,
            checkpoint=configuration.checkpoint, threads=self._rng.random() < 0.7,
            hasty=self._is_hasty(), slow_sync_rate=configuration.slow_sync_rate,
            gather_s=self._rng.choice(GATHER_S),
        )  # fmt: skip
        self._tags = 0
        self.hosts = {
            member: Host(
                member, members, events=self.events, network=self.network, checker=self.checker,
                manner=manner, application=self._application, seed=seed,
            )
            for member in members
        }  # fmt: skip
        self.faults = Faults(self, random.Random(f"{seed} faults"), configuration.lasts_s)
        self.network.on_carry = self._note

    def _is_hasty(self) -> bool:
        drawn = self._rng.random() < 0.5
        return drawn if self._configuration.is_hasty is None else self._configuration.is_hasty

    def _application(self, host: Host) -> Application:
        if self._configuration.product_state:
            return BrokerClients(host, self.history)
        return TagClients(host, self.history, self._next_tag)

    def _next_tag(self) -> int:
        self._tags += 1
        return self._tags

    def _note(self, member: int, peer: int, frame: Frame) -> None:
        fact = f"{self.events.now_s:.9f} {member} {peer} {frame[0]}".encode() + frame[1]
        self.outcome.fingerprint = zlib.crc32(fact, self.outcome.fingerprint)

    # ------------------------------------------------------------------ the run

    def run(self) -> None:
        """Do all of it; a violation comes out."""
        end_s = self._configuration.seconds
        for host in self.hosts.values():
            host.start()
        self._plan_client(end_s)
        if self._configuration.faults:
            self.events.after(FIRST_FAULT_S, lambda: self._fault(end_s))
        self.events.run_until(end_s)
        self.heal()
        self._agree()
        if self._rng.random() < 0.5:
            for host in self.hosts.values():
                host.crash(power=True)
            self._agree()

    def _plan_client(self, end_s: float) -> None:
        at_s = self.events.now_s + self._rng.expovariate(self._configuration.rate)
        if at_s < end_s:
            self.events.at(at_s, lambda: self._client(end_s))

    def _client(self, end_s: float) -> None:
        hosts = [host for host in self.hosts.values() if host.is_up]
        leaders = [host for host in hosts if host.running()[0].role == "leader"]
        if leaders and self._rng.random() < 0.9:
            hosts = leaders
        if hosts:
            host = self._rng.choice(hosts)
            host.act(lambda: host.running()[1].ask(self._rng))
        self._plan_client(end_s)

    def _fault(self, end_s: float) -> None:
        name = self._rng.choice(self._configuration.faults)
        self.outcome.totals[f"fault {name}"] += 1
        self.faults.happen(name)
        at_s = self.events.now_s + self._rng.expovariate(1 / self._configuration.gap_s)
        if at_s < end_s:
            self.events.at(at_s, lambda: self._fault(end_s))

    def heal(self) -> None:
        """End all faults; whoever is down starts soon."""
        self.faults.is_over = True
        self.network.habits = Habits()
        self.network.free_all()
        for host in self.hosts.values():
            host.paused_until_s = min(host.paused_until_s, self.events.now_s)
            host.disk.faults, host.disk.capacity = DiskFaults(), UNLIMITED
            host.disk.crash_at = None

    # ------------------------------------------------------------------ agreement

    def _agree(self) -> None:
        """Within a bounded time a new write is acknowledged and all members have applied the same."""
        deadline_s = self.events.now_s + SETTLE_S
        probe: int | None = None
        while self.events.now_s < deadline_s:
            self.events.run_until(self.events.now_s + LOOK_S)
            if probe is None or self.history.last_acknowledged <= probe:
                probe = self._probe()
            elif self._is_settled():
                return
        raise Violation("no agreement", self._describe())

    def _probe(self) -> int | None:
        """Write once more at the leader; return what was acknowledged before."""
        leaders = [
            host for host in self.hosts.values() if host.is_up and host.running()[0].is_ready_leader
        ]
        if not leaders:
            return None
        host = max(leaders, key=lambda host: host.running()[0].term)
        host.act(lambda: host.running()[1].ask(self._rng))
        return self.history.last_acknowledged

    def _is_settled(self) -> bool:
        """Return whether all members are up, have handled what arrived and have applied the same."""
        if not all(host.is_up and not host.has_turn_planned for host in self.hosts.values()):
            return False
        nodes = [host.running()[0] for host in self.hosts.values()]
        last = self.checker.last_committed
        if any((node.applied_index, node.commit_index) != (last, last) for node in nodes):
            return False
        if not all(host.running()[1].is_quiet for host in self.hosts.values()):
            return False
        for host in self.hosts.values():
            host.running()[1].check_settled()
        return True

    def _describe(self) -> str:
        lines = [f"{SETTLE_S:g} s after the last fault, committed {self.checker.last_committed}"]
        for host in self.hosts.values():
            node = host.node
            lines.append(
                f"member {host.member}: "
                + (
                    f"{node.role} of term {node.term}, leader {node.leader}, commit {node.commit_index}, "
                    f"applied {node.applied_index}, last {host.journal.last}, full {host.journal.is_full}"
                    if node is not None
                    else "down"
                )
            )
        return "; ".join(lines)


@contextmanager
def small_bounds(bounds: dict[str, int]) -> Iterator[None]:
    """Make bounds of the product small enough that a short run meets them."""
    with ExitStack() as stack:
        for name, value in bounds.items():
            owner = limits if hasattr(limits, name) else node
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


def simulate(name: str, seed: int, seconds: float | None = None) -> Outcome:
    """Run a configuration with a seed; equal arguments give equal outcomes in every process.

    `seconds`: of virtual time under faults, instead of the configuration's own.
    """
    configuration = CONFIGURATIONS[name]
    if seconds is not None:
        configuration = replace(configuration, seconds=seconds)
    with small_bounds(configuration.bounds):
        simulation = Simulation(configuration, f"{name} {seed}")
        outcome = simulation.outcome
        try:
            simulation.run()
        except Violation as violation:
            outcome.violation = violation
    outcome.virtual_s = simulation.events.now_s
    outcome.totals["frames"] = simulation.network.frames
    outcome.totals["connections"] = simulation.network.connections
    outcome.totals["entries committed"] = simulation.checker.last_committed
    return outcome
