"""A cluster inside one event loop: real members, journals and loopback sockets, no API.

`Group` starts, stops and restarts members and waits for what they should come to; `Root` writes commands that the state
machine accepts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sybline import limits
from sybline.clock import SystemClock
from sybline.replication.identity import Identity
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
from tests.support.replicas import (
    FOR_EVER_MS,
    PASSWORD,
    consumer_named,
    positions_of,
    ranges_of,
)
from tests.support.waiting import wait_for

FAST = Timing(election_s=0.3, heartbeat_s=0.05)
SMALL = JournalOptions(segment_bytes=256 * 1024, margin_entries=10)
DEADLINE_S = 20.0


def no_note(note: bytes) -> bytes:
    """Answer no notes."""
    return b""


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
        self.running: dict[int, Member] = {}
        self.deaths: dict[int, list[str]] = {member: [] for member in self.ports}

    # --- members ---
    def build(self, member: int, *, cluster: str = "test") -> Member:
        """Return a member that is not started."""
        settings = MemberSettings(
            identity=Identity(cluster, member),
            data_dir=self._directory / f"{cluster}-{member}",
            peers={m: f"127.0.0.1:{port}" for m, port in self.ports.items() if m != member},
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

    async def start(self, *members: int) -> None:
        """Start members; none named: all."""
        for number in members or self.ports:
            member = self.build(number)
            await member.start()
            self.running[number] = member

    async def stop(self, *members: int) -> None:
        """Stop members; none named: all that run."""
        for number in members or list(self.running):
            await self.running.pop(number).stop()

    # --- conditions ---
    async def leader(self) -> Member:
        """Wait until the running members agree on one of them that is ready to lead, and return it."""

        def found() -> Member | None:
            views = [member.status() for member in self.running.values()]
            leaders = {view.leader for view in views}
            if len(leaders) == 1 and all(view.ready for view in views):
                return self.running.get(next(iter(leaders)) or 0)
            return None

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


def messages(member: Member) -> int:
    """Return how many messages the queue holds."""
    queue = member.machine.queue("q")
    return 0 if queue is None else queue.ready
