"""A cluster inside one event loop: real members, journals and loopback sockets, no API.

`Group` starts, stops and restarts members and waits for what they should come to; the first members have the numbers 1
to `size`, others get a place here and a number of their own. `Root` writes commands that the state machine accepts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sybline import limits
from sybline.clock import SystemClock
from sybline.errors import SyblineError
from sybline.replication.configuration import (
    AddLearner,
    Change,
    ChangeReason,
    ChangeRefused,
    Configuration,
    Promote,
)
from sybline.replication.engine import Engine
from sybline.replication.journal import JournalOptions
from sybline.replication.log import NoteHook
from sybline.replication.measures import NoObserver, Observer
from sybline.replication.member import Member, MemberSettings
from sybline.replication.node import CheckpointDistance
from sybline.replication.timing import Timing
from sybline.state_machine.commands import (
    AnyCommand,
    BootstrapAdmin,
    Caller,
    Checkout,
    DeclareQueue,
    Enqueue,
    EnqueueRun,
    OpenSession,
    Settle,
)
from sybline.state_machine.replies import AnyReply, Done, Enqueued, SessionOpened
from tests.support.ports import free_port
from tests.support.replicas import FOR_EVER_MS, PASSWORD, consumer_named, positions_of, ranges_of
from tests.support.waiting import wait_for, wait_until

FAST = Timing(election_s=0.3, heartbeat_s=0.05)
CALM = Timing(election_s=2.0, heartbeat_s=0.1)  # no election because the machine is busy
SMALL = JournalOptions(segment_bytes=256 * 1024, margin_entries=10)
DEADLINE_S = 20.0


def no_note(note: bytes) -> bytes:
    """Answer no notes."""
    return b""


class Durations(NoObserver):
    """Writes down what took how long."""

    def __init__(self) -> None:
        self.syncs: list[float] = []
        self.checkpoints: list[float] = []

    def fsync_seconds(self, seconds: float) -> None:
        self.syncs.append(seconds)

    def checkpoint_seconds(self, seconds: float) -> None:
        self.checkpoints.append(seconds)


class Group:
    """The members of one cluster; those that run are in `running`."""

    def __init__(
        self,
        directory: Path,
        *,
        size: int = 3,
        timing: Timing = FAST,
        checkpoint: CheckpointDistance | None = None,
        on_note: Callable[[int], NoteHook] = lambda _member: no_note,
        observer: Observer | None = None,
    ) -> None:
        """`on_note` makes each member's hook; `observer` hears of all members."""
        self._directory = directory
        self._timing = timing
        self._checkpoint = checkpoint or CheckpointDistance()
        self._on_note = on_note
        self._observer = observer or NoObserver()
        self.ports = {member: free_port() for member in range(1, size + 1)}
        self.first = tuple(self.ports)
        self.running: dict[int, Member] = {}  # by place
        self.deaths: dict[int, list[str]] = {member: [] for member in self.ports}

    # --- members ---
    def data_dir(self, place: int, *, cluster: str = "test") -> Path:
        """Return where a member keeps its log."""
        return self._directory / f"{cluster}-{place}"

    def address(self, place: int) -> str:
        """Return where other members reach the one at a place."""
        return f"127.0.0.1:{self.ports[place]}"

    def add_place(self) -> int:
        """Return a place for one more member."""
        place = max(self.ports) + 1
        self.ports[place], self.deaths[place] = free_port(), []
        return place

    def build(self, member: int, *, cluster: str = "test", bootstrap: bool | None = None) -> Member:
        """Return a member that is not started; who is none of the first ones joins, unless told otherwise."""
        is_first = member in self.first if bootstrap is None else bootstrap
        settings = MemberSettings(
            cluster_id=cluster,
            member=member if is_first else None,
            bootstrap=is_first,
            name=f"member-{member}",
            address=self.address(member),
            data_dir=self.data_dir(member, cluster=cluster),
            peers={m: self.address(m) for m in self.first if m != member} if is_first else {},
            listen_host="127.0.0.1",
            listen_port=self.ports[member],
            secret=b"secret",
            timing=self._timing,
            checkpoint=self._checkpoint,
            journal=SMALL,
        )
        return Member(
            settings,
            clock=SystemClock(),
            on_note=self._on_note(member),
            observer=self._observer,
            die=self.deaths[member].append,
        )

    async def start(self, *members: int, bootstrap: bool | None = None) -> None:
        """Start members; none named: all."""
        for number in members or self.ports:
            member = self.build(number, bootstrap=bootstrap)
            await member.start()
            self.running[number] = member

    async def grow(self, place: int) -> int:
        """Let the member at a place in, promote it once it has caught up, and return its number."""
        member = await self.add_learner(place)
        await self.promote(member)
        return member

    async def add_learner(self, place: int) -> int:
        """Let the running member at a place in, and return its number."""
        leader = await self.leader()
        found = await leader.identify(self.address(place), deadline_s=DEADLINE_S)
        await self.change(AddLearner(found.id, found.name, self.address(place)))
        return found.id

    async def promote(self, member: int) -> None:
        """Make a learner a voter as soon as it has caught up."""

        async def tried() -> bool:
            try:
                await self.change(Promote(member))
            except ChangeRefused as error:
                if error.reason is not ChangeReason.NOT_CAUGHT_UP:
                    raise
                return False
            return True

        await wait_until(tried, what=f"member {member} has caught up", deadline_s=DEADLINE_S)

    async def change(self, change: Change, *, force: bool = False) -> Configuration:
        """Make a change through some running member."""
        member = next(iter(self.running.values()))
        view = await member.ask_leader_membership(deadline_s=DEADLINE_S)
        return await member.change_members(
            change, expected_version=view.configuration.version, force=force, deadline_s=DEADLINE_S
        )

    async def formed(self) -> Configuration:
        """Wait until the cluster has its number everywhere, and return the configuration."""

        def settled() -> Configuration | None:
            views = [member.membership() for member in self.running.values()]
            is_formed = all(v.committed and v.configuration.cluster_uid for v in views)
            same = len({view.configuration for view in views}) == 1
            return views[0].configuration if is_formed and same else None

        return await wait_for(settled, what="a formed cluster", deadline_s=DEADLINE_S)

    async def stop(self, *members: int) -> None:
        """Stop members; none named: all that run."""
        for number in members or list(self.running):
            await self.running.pop(number).stop()

    # --- conditions ---
    async def leader(self) -> Member:
        """Wait until the running members agree on one of them that is ready to lead, and return it."""

        def found() -> Member | None:
            members = [m for m in self.running.values() if is_in(m) and not m.status().removed]
            leaders = {member.status().leader for member in members}
            views = [member.status() for member in members]
            if len(leaders) != 1 or not all(view.ready and view.formed for view in views):
                return None
            return next((m for m in members if m.status().member in leaders), None)

        return await wait_for(found, what="one leader", deadline_s=DEADLINE_S)

    async def followers(self) -> list[Member]:
        """Wait for a leader and return the others."""
        leader = await self.leader()
        return [member for member in self.running.values() if member is not leader]

    async def equal_states(self) -> None:
        """Wait until all running members have applied the same, and compare their states."""

        def level() -> bool:
            views = [member.status() for member in self.running.values()]
            return len({(v.applied_index, v.last_index) for v in views}) == 1

        await wait_for(level, what="all have applied the same", deadline_s=DEADLINE_S)
        dumps = {member.machine.dump() for member in self.running.values()}
        assert len(dumps) == 1


@asynccontextmanager
async def running(cluster: Group, *first: int) -> AsyncIterator[Group]:
    """Run a group for the time of a block; `first`: only these members from the beginning, else all."""
    try:
        await cluster.start(*first)
        yield cluster
    finally:
        await cluster.stop()


class Root:
    """An administrator with a session and a queue "q", who publishes to it."""

    def __init__(self) -> None:
        self.caller = Caller("root", consumer_named("root"))

    @classmethod
    async def create(cls, member: Member, *, size: int = 1_000_000) -> "Root":
        """Make the account, its session and the queue through a member."""
        assert await propose(member, BootstrapAdmin("root", PASSWORD)) == Done()
        credential = member.machine.credential("root")
        assert credential is not None
        root, token_hash = cls(), b"root".ljust(32, b"#")
        opened = OpenSession(
            "root", credential.epoch, token_hash, root.caller.consumer, FOR_EVER_MS
        )
        assert isinstance(await propose(member, opened), SessionOpened)
        declare = DeclareQueue(root.caller, "q", "q", size, 3, False)
        assert await propose(member, declare) == Done()
        return root

    def message(self, body: bytes) -> Enqueue:
        """Return the command that publishes one message."""
        return Enqueue(self.caller, ("q",), (EnqueueRun(0, 1, len(body)),), body)

    async def publish(self, member: Member, body: bytes = b"body") -> int:
        """Publish through a member and return the log index."""
        reply = await propose(member, self.message(body))
        assert isinstance(reply, Enqueued), reply
        return reply.index

    async def settle_all(self, member: Member) -> None:
        """Fetch and settle what the queue holds."""
        fetch = Checkout(self.caller, "q", 10_000, limits.MESSAGE_BYTES_MAX, 60_000)
        while positions := positions_of(await propose(member, fetch)):
            await propose(member, Settle(self.caller, "q", ranges_of(positions), True))


async def propose(member: Member, command: AnyCommand, *, deadline_s: float = 10.0) -> AnyReply:
    """Propose within a deadline that a hang would break."""
    async with asyncio.timeout(deadline_s + 5):
        return await member.propose(command, deadline_s=deadline_s)


def is_in(member: Member) -> bool:
    """Return whether a member is one as far as it knows."""
    return member.membership().configuration.get(member.status().member) is not None


def messages(member: Member) -> int:
    """Return how many messages the queue holds."""
    queue = member.machine.queue("q")
    return 0 if queue is None else queue.ready


def number_of(member: Member) -> int:
    """Return its number in the configuration."""
    return member.status().member


def engine_of(member: Member) -> Engine:
    """Return what drives a member that was started."""
    assert member._engine is not None
    return member._engine


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, asked often."""
    await wait_for(condition, what=what, deadline_s=DEADLINE_S, poll_s=0.005)


async def outcome(call: "asyncio.Task[object]") -> object:
    """Return what a call came to, in time."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await call
        except SyblineError as error:
            return error
