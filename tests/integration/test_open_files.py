"""Members that run out of open files: clients cannot take what storage and peers need, and nothing is lost (F14)."""

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from sybline import limits
from tests.support import cluster as cluster_support
from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster
from tests.support.stored_member import FAIL_STOP_STATUS, START_STATUS, Refused, require_clear
from tests.support.waiting import wait_for, wait_until

pytestmark = pytest.mark.integration
QUEUE = "files"
CONNECTIONS = 80  # what the limit of these tests leaves for clients
DEADLINE_S = 30.0


@pytest.fixture
def allow_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let members that start from now on have so many open files, as `ulimit -n` does."""

    def allow(number: int) -> None:
        script = tmp_path / f"sybline-{number}"
        script.write_text(f'#!/bin/sh\nulimit -n {number}\nexec "{cluster_support.SYBLINE}" "$@"\n')
        script.chmod(0o700)
        monkeypatch.setattr(cluster_support, "SYBLINE", script)

    return allow


@pytest.fixture
def flood() -> Iterator[Callable[[int, int], list[socket.socket]]]:
    """Open connections that say nothing."""
    with ExitStack() as opened:

        def connect(port: int, count: int) -> list[socket.socket]:
            return [
                opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
                for _ in range(count)
            ]

        yield connect


def open_files(cluster: Cluster, member: int) -> int:
    process = cluster[member].process
    assert process is not None
    return len(os.listdir(f"/proc/{process.pid}/fd"))


async def publish_numbers(client: Client, numbers: range) -> list[bytes]:
    bodies = [f"{number:04}".encode() for number in numbers]
    for body in bodies:
        await client.publish(QUEUE, body)
    return bodies


async def test_a_member_with_too_few_open_files_for_its_work_does_not_start(
    tmp_path: Path, allow_open_files: Callable[[int], None]
) -> None:
    allow_open_files(100)
    with Cluster(tmp_path / "members", members=1) as cluster:
        cluster[1].start()
        await wait_for(lambda: not cluster[1].is_running, what="an end", deadline_s=DEADLINE_S)
        assert cluster[1].wait_stopped() == START_STATUS
        assert "ulimit -n" in cluster[1].log_text().splitlines()[-1]


async def test_connections_of_clients_leave_storage_and_peers_the_files_they_need(
    tmp_path: Path,
    allow_open_files: Callable[[int], None],
    flood: Callable[[int, int], list[socket.socket]],
) -> None:
    allow_open_files(limits.OWN_OPEN_FILES_MAX + CONNECTIONS)
    settings = {"SNAPSHOT_THRESHOLD": "100"}
    with Cluster(tmp_path / "members", settings=settings) as cluster:
        leader = await cluster.start_and_wait()
        follower = leader % 3 + 1
        async with await logged_in(cluster[leader].address) as client:
            await client.create_queue(QUEUE)
            term = (await cluster.metrics(leader))["sybline_raft_term"]
            before = open_files(cluster, leader)
            held = flood(cluster[leader].grpc_port, 4 * CONNECTIONS)
            taken = await publish_numbers(client, range(150))  # checkpoints among them
            assert open_files(cluster, leader) <= before + CONNECTIONS + 20

            await asyncio.to_thread(cluster[follower].kill)
            taken += await publish_numbers(client, range(150, 200))
            await cluster.restart(follower)  # members can still reach each other
            assert (await cluster.metrics(leader))["sybline_raft_term"] == term
            for connection in held:
                connection.close()
            await wait_until(
                lambda: can_log_in(cluster[leader].address),
                what="room for a new client",
                deadline_s=DEADLINE_S,
            )
            assert await client.drain(QUEUE) == taken


async def can_log_in(address: str) -> bool:
    try:
        async with await logged_in(address, timeout_s=2.0):
            return True
    except grpc.aio.AioRpcError:
        return False


async def test_a_member_that_can_open_no_file_any_more_ends_by_name_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """The limit falls to what is open, so that not even storage can open anything."""
    with Cluster(tmp_path, members=1, settings={"SNAPSHOT_THRESHOLD": "100"}) as cluster:
        await cluster.start_and_wait()
        async with await logged_in(cluster[1].address) as client:
            await client.create_queue(QUEUE)
            taken = await publish_numbers(client, range(50))
            process = cluster[1].process
            assert process is not None
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, hard))
            number = len(taken)
            while cluster[1].is_running and number < 1000:
                try:
                    taken += await publish_numbers(client, range(number, number + 1))
                except grpc.aio.AioRpcError:
                    break
                number += 1
        await wait_for(lambda: not cluster[1].is_running, what="the end", deadline_s=DEADLINE_S)
        ended = Refused(cluster[1].wait_stopped(), cluster[1].log_text())
        assert ended.status == FAIL_STOP_STATUS
        require_clear(ended, "Too many open files", "a checkpoint")
        require_clear(ended, str(cluster[1].data_dir), "a checkpoint")
        await cluster.restart()
        async with await logged_in(cluster[1].address) as client:
            found = await client.drain(QUEUE)
        assert found[: len(taken)] == taken
