"""Starting, refusing to start, and strangers at the peer port (REG-K2, K7, S2, S3c)."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import Client, logged_in
from tests.support.cluster import ROOT, SYBLINE, Cluster
from tests.support.connections import dialled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration


def run_until_exit(
    environment: dict[str, str], *arguments: str, directory: Path
) -> tuple[int, str]:
    """Run `sybline`, which must end by itself; return its exit code and all it printed."""
    done = subprocess.run(
        [str(SYBLINE), *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "LISTEN_HOST": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A single member that could start."""
    return {
        "RAFT_NODE_ID": "1",
        "SERVER_PORT": str(free_port()),
        "PROM_PORT": str(free_port()),
        "RAFT_PORT": str(free_port()),
        "DATA_DIR": str(tmp_path / "data"),
        "SYBLINE_ADMIN_PASSWORD": "password",
        "CLUSTER_SECRET": "secret",
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SERVER_PORT", "70000", "70000"),
        ("RAFT_NODE_ID", "zero", "zero"),
        ("ELECTION_TIMEOUT", "-1", "-1"),
        ("TLS_VERIFY_SKIP", "true", "TLS_VERIFY_SKIP"),
        ("NODES", "2,3", "ADDRESSES"),
        ("SYBLINE_ADMIN_PASSWORD", "", "SYBLINE_ADMIN_PASSWORD"),
    ],
)
def test_reg_k2_a_bad_setting_stops_the_start_and_is_named(
    environment: dict[str, str], tmp_path: Path, name: str, value: str, said: str
) -> None:
    changed = {**environment, name: value}
    if not value:
        del changed[name]
    code, text = run_until_exit(changed, "serve", directory=tmp_path)
    assert code != 0
    assert said in text
    assert "Traceback" not in text


def test_reg_s3c_outside_development_there_is_no_start_without_an_admin_password(
    environment: dict[str, str], tmp_path: Path
) -> None:
    del environment["SYBLINE_ADMIN_PASSWORD"]
    code, text = run_until_exit(environment, "serve", directory=tmp_path)
    assert code != 0
    assert "SYBLINE_ADMIN_PASSWORD" in text
    assert not (tmp_path / "data").exists(), "nothing was begun"


@pytest.mark.parametrize("port", ["SERVER_PORT", "PROM_PORT", "RAFT_PORT"])
def test_reg_k2_a_port_in_use_stops_the_start(
    environment: dict[str, str], tmp_path: Path, port: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(environment[port])))
        taken.listen()
        code, text = run_until_exit(environment, "serve", directory=tmp_path)
    assert code != 0
    assert environment[port] in text
    assert "Traceback" not in text


def test_reg_k2_a_data_directory_that_cannot_be_made_stops_the_start(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    changed = {**environment, "DATA_DIR": str(tmp_path / "file")}
    code, text = run_until_exit(changed, "serve", directory=tmp_path)
    assert code != 0
    assert str(tmp_path / "file") in text
    assert "Traceback" not in text


def healthcheck(cluster: Cluster) -> tuple[int, str]:
    """Return how the health check of an image with the first member's environment ends."""
    return run_until_exit(cluster[1].environment, "healthcheck", directory=cluster.directory)


async def test_reg_k7_a_single_member_serves_and_finds_its_data_again(
    own_cluster: Callable[..., Cluster],
) -> None:
    cluster = own_cluster(members=1)
    assert await cluster.start_and_wait() == 1
    async with await logged_in(cluster.addresses[0]) as client:
        await client.create_queue("alone")
        await client.publish("alone", b"a")
    assert healthcheck(cluster) == (0, "")
    cluster[1].kill()
    assert "Connection refused" in healthcheck(cluster)[1]
    await cluster.restart()
    async with await logged_in(cluster.addresses[0]) as client:
        assert await client.drain("alone") == [b"a"]
    assert cluster[1].stop() == 0


async def test_reg_s2_strangers_at_the_peer_port_change_nothing(
    cluster: Cluster, own_cluster: Callable[..., Cluster], client: Client
) -> None:
    leader = await cluster.wait_leader()
    term = (await cluster.metrics(leader))["sybline_raft_term"]
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\xff" * 64, b""):
        async with dialled(cluster[leader].peer_port) as (reader, writer):
            writer.write(noise)
            writer.write_eof()
            async with asyncio.timeout(15):
                with contextlib.suppress(ConnectionError):
                    await reader.read()  # whatever it answers, it closes
    foreign = own_cluster(settings={"CLUSTER_SECRET": "another secret"})
    peers = {m: f"127.0.0.1:{cluster[m].peer_port}" for m in (1, 2)}
    foreign[3].environment |= {"NODES": "1,2", "ADDRESSES": ",".join(peers.values())}
    await asyncio.to_thread(cluster[3].kill)
    foreign[3].start()
    try:
        assert await foreign.says_leader(3, timeout_s=5.0) in (False, None)
        status, _ = await foreign.http_get(3, "/readyz")
        assert status != 200
    finally:
        foreign[3].kill()
    remaining = await cluster.wait_leader(among={1, 2})
    await client.create_queue("s2")
    if leader == remaining:
        assert (await cluster.metrics(leader))["sybline_raft_term"] == term


async def test_sybline_dev_serves_reports_and_restarts_a_dead_member(tmp_path: Path) -> None:
    first = free_port(block=30)
    password_file = tmp_path / "password"
    told_file = tmp_path / "stderr"
    with told_file.open("w") as stderr:
        process = subprocess.Popen(
            [
                str(SYBLINE),
                "dev",
                "--members=3",
                f"--data-dir={tmp_path / 'dev'}",
                f"--grpc-port={first}",
                f"--http-port={first + 10}",
                f"--peer-port={first + 20}",
                f"--password-file={password_file}",
                "--output=json",
                "--restart",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        assert line, f"it ended and said: {told_file.read_text()[-4000:]}"
        told = json.loads(line)
        members = {member["id"]: member for member in told["members"]}
        assert sorted(members) == [1, 2, 3]
        password = Path(told["admin"]["password_file"]).read_text().strip()
        assert Path(told["admin"]["password_file"]).stat().st_mode & 0o777 == 0o600
        async with Client(members[2]["grpc"]) as client:
            await client.login(told["admin"]["username"], password)
            await client.create_queue("dev")
            await client.publish("dev", b"a")
        os.kill(members[1]["pid"], signal.SIGKILL)
        await wait_for(
            lambda: not _listens(members[1]["grpc"]), what="killed member", deadline_s=10
        )
        await wait_for(lambda: _listens(members[1]["grpc"]), what="restarted member", deadline_s=20)
        async with Client(members[1]["grpc"]) as client:
            await client.login(told["admin"]["username"], password)
            assert await client.drain("dev") == [b"a"]
    finally:
        process.send_signal(signal.SIGINT)
        code = await asyncio.to_thread(process.wait, 40)
        assert process.stdout is not None
        process.stdout.close()
    assert code == 0
    for member in members.values():
        assert not Path(f"/proc/{member['pid']}").exists()


def _listens(address: str) -> bool:
    """Return whether something listens there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, int(port))) == 0
