"""`sybline dev`: deaths are reported, every end is clean, nothing stays behind, and the show works twice."""

import http.client
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.channels import Trust
from tests.support.client import Client
from tests.support.cluster import SYBLINE
from tests.support.ports import free_port
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration

START_S = 60.0
STOP_S = 40.0


class Dev:
    """A `sybline dev` as a child process; what it prints goes to files."""

    def __init__(self, directory: Path, first_port: int, *options: str) -> None:
        self.directory = directory
        self.outputs = [directory / name for name in ("stdout", "stderr")]
        command = [
            str(SYBLINE),
            "dev",
            f"--data-dir={directory / 'data'}",
            f"--grpc-port={first_port}",
            f"--http-port={first_port + 10}",
            f"--peer-port={first_port + 20}",
            *options,
        ]
        with self.outputs[0].open("wb") as out, self.outputs[1].open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={"PATH": os.environ["PATH"]},
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self.outputs[0].read_text()

    @property
    def err(self) -> str:
        return self.outputs[1].read_text()

    async def members(self) -> dict[int, dict[str, Any]]:
        """Wait for the line of --output json and return the members by id."""
        await self.wait(lambda: self.out.endswith("\n"), "the line that says it serves")
        return {member["id"]: member for member in json.loads(self.out)["members"]}

    async def wait(
        self, condition: Callable[[], bool], what: str, deadline_s: float = START_S
    ) -> None:
        def met_or_over() -> bool:
            return condition() or self.process.poll() is not None

        await wait_for(met_or_over, what=what, deadline_s=deadline_s)
        assert condition(), f"dev ended with {self.process.returncode}:\n{self.err}"

    async def wait_end(self) -> int:
        await wait_for(
            lambda: self.process.poll() is not None, what="the end of dev", deadline_s=STOP_S
        )
        assert self.process.returncode is not None
        return self.process.returncode

    def close(self) -> None:
        """Kill it; its members end by themselves."""
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    """Start `sybline dev` in a directory and on ports of this test."""
    started: list[Dev] = []
    first_port = free_port(block=30)

    def start(*options: str) -> Dev:
        started.append(Dev(tmp_path, first_port, *options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def wait_gone(*pids: int) -> None:
    await wait_for(
        lambda: not any(lives(pid) for pid in pids), what="the members' ends", deadline_s=STOP_S
    )


async def test_a_dead_member_is_reported_and_the_others_go_on(dev: Callable[..., Dev]) -> None:
    running = dev("--members=3", "--output=json")
    members = await running.members()
    os.kill(members[2]["pid"], signal.SIGKILL)
    told = f"sybline dev: member 2 (pid {members[2]['pid']}) ended, killed by SIGKILL; it said: "
    await running.wait(lambda: told in running.err, "the report", deadline_s=10)
    running.process.send_signal(signal.SIGINT)
    assert await running.wait_end() == 0
    assert running.out.count("\n") == 1
    assert len(running.err.splitlines()) == 1
    await wait_gone(*(member["pid"] for member in members.values()))


async def test_without_a_member_left_dev_ends_with_status_1(dev: Callable[..., Dev]) -> None:
    running = dev("--members=1", "--output=json")
    members = await running.members()
    os.kill(members[1]["pid"], signal.SIGKILL)
    assert await running.wait_end() == 1
    assert running.err.endswith("sybline dev: no member is left\n")


async def test_a_member_that_cannot_start_ends_dev_with_its_reason(
    dev: Callable[..., Dev], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "member-1").write_text("in the way")
    running = dev("--members=1")
    assert await running.wait_end() == 1
    assert str(tmp_path / "data" / "member-1") in running.err
    assert "member 1 ended before it was ready" in running.err
    assert running.out == ""


async def test_a_second_ctrl_c_stops_at_once(dev: Callable[..., Dev]) -> None:
    running = dev("--members=1")
    await running.wait(lambda: "Ctrl-C" in running.out, "the endpoints")
    running.process.send_signal(signal.SIGINT)
    await running.wait(lambda: "stopping" in running.err, "the hint", deadline_s=10)
    running.process.send_signal(signal.SIGINT)
    assert await running.wait_end() == 130


async def test_members_do_not_outlive_a_killed_dev(dev: Callable[..., Dev]) -> None:
    running = dev("--members=3", "--output=json")
    members = await running.members()
    running.process.kill()
    await wait_gone(*(member["pid"] for member in members.values()))


async def test_the_show_loses_nothing_and_finds_its_message_in_the_next_run(
    dev: Callable[..., Dev], tmp_path: Path
) -> None:
    for found in ("0 messages", "1 message"):
        running = dev("--members=3", "--demo")
        await running.wait(lambda r=running: "Ctrl-C" in r.out, "the endpoints")
        assert f"waiting from the last run: {found}\n" in running.out
        assert "(kill -9)" in running.out
        assert "delivered all 6, settled; nothing is lost" in running.out
        running.process.send_signal(signal.SIGTERM)
        assert await running.wait_end() == 0


async def test_with_tls_the_show_runs_and_nothing_is_answered_in_plain_text(
    dev: Callable[..., Dev], tmp_path: Path
) -> None:
    running = dev("--members=3", "--tls", "--demo", "--output=json")
    members = await running.members()
    assert "delivered all 6, settled; nothing is lost" in running.err
    ca = Path(json.loads(running.out)["ca"])
    assert ca == tmp_path / "data" / "tls" / "ca-cert.pem"
    url = f"{members[2]['http']}/livez"
    trust = Trust(ca.read_bytes())
    with urllib.request.urlopen(f"https://{url}", timeout=5, context=trust.http_context) as answer:
        assert answer.status == 200
    with pytest.raises((OSError, http.client.HTTPException)):
        urllib.request.urlopen(f"http://{url}", timeout=5)
    async with Client(members[2]["grpc"], trust=trust) as client:
        await client.is_leader()
    keys = list((tmp_path / "data" / "tls").rglob("*key.pem"))
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    running.process.send_signal(signal.SIGTERM)
    assert await running.wait_end() == 0
