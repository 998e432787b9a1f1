"""The client API on a real port, in front of a log in memory: what the tests of `sybline.api` share."""

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator

import grpc

from sybline.api.parts import ApiParts, MemberFacts
from sybline.api.polls import PollMemory
from sybline.api.server import ApiServer
from sybline.auth.passwords import PasswordHasher
from sybline.auth.throttle import LoginThrottle
from sybline.state_machine.commands import (
    AssignRole,
    BootstrapAdmin,
    Caller,
    CreateUser,
    OpenSession,
)
from sybline.state_machine.replies import Done, SessionOpened
from tests.support.client import Client, logged_in
from tests.support.cluster import ADMIN, ADMIN_PASSWORD
from tests.support.manual_clock import ManualClock
from tests.support.memory_log import MemoryLog
from tests.support.replicas import consumer_named

CLUSTER_ID = "test-cluster"
TOKEN_S = 1_800.0
LEASE_S = 300.0
CHEAP_COST_N = 2  # of scrypt: tests log in often


class CountedCalls:
    """Metrics that only count."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.handled: Counter[tuple[str, str]] = Counter()
        self.panics = 0
        self.failed_logins = 0

    def grpc_started(self, method: str) -> None:
        self.started[method] += 1

    def grpc_handled(self, method: str, code_name: str, seconds: float) -> None:
        assert seconds >= 0
        self.handled[method, code_name] += 1

    def grpc_panicked(self) -> None:
        self.panics += 1

    def login_failed(self) -> None:
        self.failed_logins += 1


class Api:
    """One member's API; use `serving_api`."""

    def __init__(
        self, *, reflection: bool = True, credentials: grpc.ServerCredentials | None = None
    ) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock)
        self.metrics = CountedCalls()
        self.hasher = PasswordHasher(cost_n=CHEAP_COST_N)
        self.polls = PollMemory(self.clock)
        self.facts = MemberFacts(
            "0.1.0", "", log_bytes=3 << 20, log_live_bytes=1 << 20, disk_free_bytes=5 << 30
        )
        self.parts = ApiParts(
            log=self.log,
            machine=lambda: self.log.machine,
            cluster_id=CLUSTER_ID,
            hasher=self.hasher,
            throttle=LoginThrottle(self.clock),
            polls=self.polls,
            clock=self.clock,
            metrics=self.metrics,
            token_ms=lambda: int(TOKEN_S * 1000),
            lease_ms=lambda: int(LEASE_S * 1000),
            member_facts=lambda: self.facts,
            election_s=1.0,
            first_admin=(ADMIN, ADMIN_PASSWORD),
        )
        self.admin = Caller(ADMIN, consumer_named("admin of the test"))
        self.server = ApiServer(
            self.parts,
            host="127.0.0.1",
            port=0,
            reflection=reflection,
            credentials=credentials,
        )

    @property
    def address(self) -> str:
        """Return where it listens."""
        return f"127.0.0.1:{self.server.port}"

    async def start(self) -> None:
        """Listen, with the first administrator in place."""
        password = await self.hasher.hash(ADMIN_PASSWORD, deadline_s=10.0)
        assert self.log.apply(BootstrapAdmin(ADMIN, password)) == Done()
        credential = self.log.machine.credential(ADMIN)
        assert credential is not None
        opened = self.log.apply(
            OpenSession(ADMIN, credential.epoch, b"#" * 32, self.admin.consumer, 10**12)
        )
        assert isinstance(opened, SessionOpened)
        await self.server.start()

    async def add_user(self, name: str, *roles: str) -> None:
        """Add a user whose password is its name, by a command of the administrator."""
        password = await self.hasher.hash(name, deadline_s=10.0)
        assert self.log.apply(CreateUser(self.admin, name, password)) == Done()
        for role in roles:
            assert self.log.apply(AssignRole(self.admin, name, role)) == Done()

    @contextlib.asynccontextmanager
    async def client(self, user: str = ADMIN) -> AsyncIterator[Client]:
        """A client with a session."""
        password = ADMIN_PASSWORD if user == ADMIN else user
        client = await logged_in(self.address, user, password)
        try:
            yield client
        finally:
            await client.close()


@contextlib.asynccontextmanager
async def serving_api(
    *, reflection: bool = True, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[Api]:
    """Serve for the time of a block."""
    api = Api(reflection=reflection, credentials=credentials)
    await api.start()
    try:
        yield api
    finally:
        api.log.released.set()
        await api.server.drain(0.0)
        api.hasher.close()
        gc.collect()  # grpc.aio's server schedules its shutdown when it is collected: while the loop runs
        await asyncio.sleep(0)
