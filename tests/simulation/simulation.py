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
from sybline.replication.changing import draw_cluster_uid
from sybline.replication.configuration import NO_MEMBERS, MemberInfo, first_configuration
from sybline.replication.configuration import Configuration as Members
from tests.simulation.administrator import Administrator
from tests.simulation.ambush import Ambush
from tests.simulation.broker import BrokerClients
from tests.simulation.checker import Checker
from tests.simulation.configurations import CONFIGURATIONS, Configuration
from tests.simulation.disk import UNLIMITED
from tests.simulation.disk import Faults as DiskFaults
from tests.simulation.events import Events
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.host import Application, Host, Manner, address_of
from tests.simulation.impostor import Unheard
from tests.simulation.memberships import Memberships
from tests.simulation.network import Frame, Habits, Network
from tests.simulation.tags import TagClients
from tests.simulation.violation import Violation

FIRST_FAULT_S = 0.8
SETTLE_S = 20.0  # after the last fault: by then everybody agrees
LOOK_S = 0.2
CALM_S = 2.0  # several election time-outs
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
        first = self._first_configuration()
        self.checker = Checker(Memberships(first), {}, totals)
        self._manner = Manner(
            timing=configuration.timing, options=configuration.options,
            checkpoint=configuration.checkpoint, threads=self._rng.random() < 0.7,
            hasty=self._is_hasty(), slow_sync_rate=configuration.slow_sync_rate,
            gather_s=self._rng.choice(GATHER_S),
        )  # fmt: skip
        self._tags = 0
        self._seed = seed
        self.hosts: dict[int, Host] = {}
        for member in first.ids:
            self.add_machine(member, first)
        self.faults = Faults(self, random.Random(f"{seed} faults"), configuration.lasts_s)
        ambush = Ambush(self.faults, random.Random(f"{seed} ambush"), configuration.ambush_rate)
        self.checker.on_step = ambush.step
        self.administrator = Administrator(
            self, random.Random(f"{seed} administrator"), configuration.administration
        )
        self.network.on_carry = self._note

    @property
    def totals(self) -> "Counter[str]":
        return self.outcome.totals

    def _first_configuration(self) -> Members:
        """Return what an empty disk of the bootstrap begins with; who begins alone draws a number of its own."""
        count = self._configuration.members
        members = (
            MemberInfo(number, f"machine-{number}", address_of(number), voter=True)
            for number in range(1, count + 1)
        )
        return first_configuration(members, 0 if count > 1 else draw_cluster_uid(self._rng))

    def add_machine(self, member: int, first: Members = NO_MEMBERS) -> Host:
        """Add a machine with an empty disk, which is not started yet."""
        host = self.hosts[member] = Host(
            member, first, events=self.events, network=self.network, checker=self.checker,
            manner=self._manner, application=self._application, seed=self._seed,
        )  # fmt: skip
        return host

    def add_impostor(self, member: int) -> None:
        """Start a first member, whose machine is gone, on an empty disk and with its old settings."""
        self.totals["disks lost"] += 1
        first = self._first_configuration()
        Host(
            member, first, events=self.events, network=self.network,
            checker=Unheard(first), manner=self._manner, application=self._application,
            seed=f"{self._seed} impostor", may_stop=True,
        ).start()  # fmt: skip

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
        self.administrator.begin(end_s)
        if self._configuration.faults:
            self.events.after(FIRST_FAULT_S, lambda: self._fault(end_s))
        self.events.run_until(end_s)
        self.heal()
        self._agree()
        self._leave_alone()
        if self._rng.random() < 0.5:
            for host in self.hosts.values():
                host.crash(power=True)
            self._agree()
        self.administrator.check_answers()

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
        """End all faults; whoever is down starts soon, whoever is paused goes on when he would have."""
        self.faults.is_over = True
        self.network.habits = Habits()
        self.network.free_all()
        self.network.finds_everybody = True
        for host in self.hosts.values():
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

    def _counted(self) -> list[Host]:
        """Return the members of the newest configuration whose machines exist."""
        members = self.checker.memberships.latest.configuration.ids
        return [self.hosts[member] for member in members if member in self.hosts]

    def _is_settled(self) -> bool:
        """Return whether all members are up, have handled what arrived and have applied the same."""
        hosts = self._counted()
        if not all(
            host.is_up and not host.is_paused and not host.has_turn_planned for host in hosts
        ):
            return False
        if any(
            host.node and host.node.role == "leader"
            for host in self.hosts.values()
            if host not in hosts
        ):
            return False
        nodes = [host.running()[0] for host in hosts]
        if self.network.is_breaking([node.member for node in nodes]):
            return False  # who notices that only later will ask for votes then
        leaders = [node for node in nodes if node.quorum_confirmed]
        if not leaders or any(node.leader != leaders[0].member for node in nodes):
            return (
                False  # who follows nobody, its connection being broken, is about to ask for votes
            )
        last = self.checker.last_committed
        if any((node.applied_index, node.commit_index) != (last, last) for node in nodes):
            return False
        if any(host.journal.last != last for host in hosts):
            return False
        if not all(host.running()[1].is_quiet for host in hosts):
            return False
        for host in hosts:
            host.running()[1].check_settled()
        return True

    def _leave_alone(self) -> None:
        """Machines that are no members, or no longer, do not disturb those that are (pre-vote, thesis 4.2.3)."""
        strangers = self.hosts.keys() - set(self.checker.memberships.latest.configuration.ids)
        if self._manner.hasty or not strangers:
            return
        before = self._describe()
        terms = [host.running()[0].term for host in self._counted()]
        self.events.run_until(self.events.now_s + CALM_S)
        if terms != [host.running()[0].term for host in self._counted()]:
            raise Violation("disturbed", f"{before}; then: {self._describe()}")

    def _describe(self) -> str:
        latest = self.checker.memberships.latest
        lines = [
            f"{SETTLE_S:g} s after the last fault, committed {self.checker.last_committed}, "
            f"members {latest.configuration}"
        ]
        for host in self.hosts.values():
            node = host.node
            lines.append(
                f"member {host.member}: "
                + (
                    f"{node.role} of term {node.term}, leader {node.leader}, commit {node.commit_index}, "
                    f"applied {node.applied_index}, last {host.journal.last}, full {host.journal.is_full}, "
                    f"version {node.configuration.version} with voters {sorted(node.configuration.voters)}, "
                    f"connected to {self.network.peers_of(host.member)}"
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
