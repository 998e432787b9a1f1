"""Clusters for the tests with real processes. One three-member cluster is shared; tests leave it whole."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, Metadata, logged_in
from tests.support.cluster import Cluster

SESSIONS = 3  # logins that tests share: each costs a password hash


class SharedCluster:
    """The shared cluster and some sessions on it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.sessions: list[Metadata] = []

    async def prepare(self) -> None:
        await self.cluster.start_and_wait()
        for number in range(SESSIONS):
            async with await logged_in(self.cluster.addresses[number]) as client:
                self.sessions.append(client.metadata)

    async def mend(self) -> None:
        """Bring back what a test stopped."""
        for member in self.cluster.members.values():
            if member.paused:
                member.resume()
        await self.cluster.restart()
        await self.cluster.wait_leader()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCluster]:
    with Cluster(tmp_path_factory.mktemp("shared")) as cluster:
        shared_cluster = SharedCluster(cluster)
        asyncio.run(shared_cluster.prepare())
        yield shared_cluster


@pytest.fixture
async def cluster(shared: SharedCluster) -> AsyncIterator[Cluster]:
    """The shared cluster, whole before and after."""
    await shared.mend()
    yield shared.cluster
    await shared.mend()


@pytest.fixture
async def clients(shared: SharedCluster) -> AsyncIterator[list[Client]]:
    """One client per member, each with its own session, so that most calls are forwarded."""
    opened = []
    for address, metadata in zip(shared.cluster.addresses, shared.sessions, strict=True):
        client = Client(address)
        client.metadata = metadata
        opened.append(client)
    yield opened
    for client in opened:
        await client.close()


@pytest.fixture
async def client(clients: list[Client]) -> Client:
    return clients[0]


@pytest.fixture
async def other(clients: list[Client]) -> Client:
    """Another session, on another member."""
    return clients[1]


@pytest.fixture
def metadata(shared: SharedCluster) -> Metadata:
    """A session that is valid on every member."""
    return shared.sessions[0]


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Make a cluster for one test, with its own settings."""
    made: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        made.append(Cluster(tmp_path / f"cluster-{len(made)}", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the end of the members' logs with a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Cluster):
                report.sections.append(("members", value.log_tails()))
