"""Real members as child processes: start, stop, kill, pause, restart, and conditions to wait for.

The members are configured by the environment names of the wire contract, one process `sybline serve` each. Every
process is stopped by its own pid; what a member printed is kept in `<dir>/member-<id>.log`, over all its lives.
"""

import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import grpc

from sybline.v1 import mq_pb2, mq_pb2_grpc
from tests.support.channels import Trust, open_channel
from tests.support.partition import PeerNetwork
from tests.support.ports import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SYBLINE = ROOT / ".venv" / "bin" / "sybline"
ADMIN, ADMIN_PASSWORD = "sybline", "correct horse battery"
START_S = 30.0
# A channel that notices a returned member soon; the defaults wait up to 120 s.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # so long may one attempt take, on a busy machine, too
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 4_194_304),
)


@dataclass
class Member:
    """One broker process, across restarts."""

    id: int
    directory: Path
    grpc_port: int
    http_port: int
    peer_port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    log_file: IO[bytes] | None = None
    starts: int = 0
    paused: bool = False
    exit_codes: list[int] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return the client address."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def peer_address(self) -> str:
        """Return the address for other members."""
        return f"127.0.0.1:{self.peer_port}"

    @property
    def data_dir(self) -> Path:
        """Return where the member keeps its log."""
        return self.directory / f"member-{self.id}"

    @property
    def log_path(self) -> Path:
        """Return the file that has everything the member printed."""
        return self.directory / f"member-{self.id}.log"

    @property
    def is_running(self) -> bool:
        """Return whether the process lives, paused or not."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; nothing is waited for."""
        assert not self.is_running, f"member {self.id} runs already"
        self.log_file = self.log_path.open("ab")
        self.log_file.write(f"--- start {self.starts + 1} ---\n".encode())
        self.log_file.flush()
        self.process = subprocess.Popen(
            [str(SYBLINE), "serve"],
            cwd=self.directory,
            env={**_clean_environment(), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=self.log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C goes to the harness alone
        )
        self.starts += 1
        self.paused = False

    def signal(self, number: int) -> None:
        """Send a signal, if the process lives."""
        if self.is_running:
            assert self.process is not None
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL and wait for the end."""
        self.signal(signal.SIGKILL)
        self._reap(10)

    def pause(self) -> None:
        """SIGSTOP."""
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)
        self.paused = False

    def stop(self, deadline_s: float = 35.0) -> int:
        """SIGTERM, wait, and return the exit code; SIGKILL when the deadline passes."""
        if self.paused:
            self.resume()
        self.signal(signal.SIGTERM)
        return self.wait_stopped(deadline_s)

    def wait_stopped(self, deadline_s: float = 35.0) -> int:
        """Return the exit code of a process that was told to stop; SIGKILL when the deadline passes."""
        return self._reap(deadline_s)

    def log_text(self) -> str:
        """Return all that it printed so far."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(errors="replace")

    def resident_bytes(self) -> int:
        """Return the process's resident memory."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def _reap(self, deadline_s: float) -> int:
        if self.process is None:
            return 0
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(10)
        self.exit_codes.append(code)
        self.process = None
        if self.log_file is not None:
            self.log_file.close()
            self.log_file = None
        return code


class Cluster:
    """Several members that know each other. Close it, or use it as a context."""

    def __init__(
        self,
        directory: Path,
        *,
        members: int = 3,
        settings: dict[str, str] | None = None,
        trust: Trust | None = None,
    ) -> None:
        """`settings`: environment names and values for all members, over the defaults here.

        `trust`: what asking the members needs, when the settings turn TLS on.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._settings = settings or {}
        self.trust = trust
        peer_ports = {member: free_port() for member in range(1, members + 1)}
        self.network: PeerNetwork | None = None
        self.members = {
            member: self._build_member(member, port) for member, port in peer_ports.items()
        }
        self._numbers = members  # given out
        self._connect()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, member: int) -> Member:
        return self.members[member]

    @property
    def addresses(self) -> list[str]:
        """Return the client addresses of all members, in order of their ids."""
        return [member.address for member in self.members.values()]

    def start(self) -> None:
        """Start every member that does not run; nothing is waited for."""
        for member in self.members.values():
            if not member.is_running:
                member.start()

    async def start_and_wait(self, deadline_s: float = START_S) -> int:
        """Start all, wait until every one serves, and return the leader."""
        self.start()
        await self.wait_serving(deadline_s=deadline_s)
        return await self.wait_leader(deadline_s=deadline_s)

    async def wait_serving(self, *ids: int, deadline_s: float = START_S) -> None:
        """Wait until the members (default: all) say they are ready."""
        for member in ids or tuple(self.members):
            await wait_until(
                lambda m=member: self._ready_or_dead(m),
                what=f"member {member} ready",
                deadline_s=deadline_s,
            )

    async def wait_leader(self, *, among: set[int] | None = None, deadline_s: float = 10.0) -> int:
        """Wait until exactly one of the members (default: all that run) says it leads."""

        async def one_leader() -> int | None:
            asked = [m for m in self.members if among is None or m in among]
            answers = await asyncio.gather(*(self.says_leader(m) for m in asked))
            leaders = [m for m, answer in zip(asked, answers, strict=True) if answer]
            return leaders[0] if len(leaders) == 1 else None

        return await wait_until(one_leader, what="one leader", deadline_s=deadline_s)

    async def says_leader(self, member: int, *, timeout_s: float = 1.0) -> bool | None:
        """Return the member's answer to IsLeaderNode; None: no answer in time."""
        each = self.members[member]
        if not each.is_running or each.paused:
            return None
        async with open_channel(each.address, CHANNEL_OPTIONS, self.trust) as channel:
            stub = mq_pb2_grpc.MQEndpointsStub(channel)
            try:
                answer = await stub.IsLeaderNode(mq_pb2.LeaderNodeRequest(), timeout=timeout_s)
            except grpc.aio.AioRpcError:
                return None
        return bool(answer.status)

    async def http_get(self, member: int, path: str) -> tuple[int, str]:
        """Return (status, text) of a GET on the member's HTTP port; (0, reason) without an answer."""
        scheme, context = (
            ("http", None) if self.trust is None else ("https", self.trust.http_context)
        )
        url = f"{scheme}://127.0.0.1:{self.members[member].http_port}{path}"
        return await asyncio.to_thread(_http_get, url, context)

    async def metrics(self, member: int) -> dict[str, float]:
        """Return the member's metrics: `name{labels}` to value; empty without an answer."""
        status, text = await self.http_get(member, "/metrics")
        return parse_metrics(text) if status == 200 else {}

    async def restart(self, *ids: int, deadline_s: float = START_S) -> None:
        """Start the members named (default: all) if they are down, and wait until they serve."""
        for member in ids or tuple(self.members):
            if not self.members[member].is_running:
                self.members[member].start()
        await self.wait_serving(*ids, deadline_s=deadline_s)

    def add_joiner(self) -> Member:
        """Build one more member, with an empty disk; started, it waits to be added. Its number here is not its id."""
        self._numbers += 1
        peer_port = free_port()
        joiner = self._build_member(self._numbers, peer_port)
        joiner.environment["SYBLINE_MEMBER__BOOTSTRAP"] = "false"
        del joiner.environment["RAFT_NODE_ID"]
        self.members[self._numbers] = joiner
        return joiner

    def forget(self, member: int) -> Member:
        """Take a member that has ended, or is about to, out of everything that is done with all members."""
        return self.members.pop(member)

    def route_through_proxies(self) -> None:
        """Let members that have served, and are stopped, reach each other through proxies from their next start on.

        They listen elsewhere from then on: at the addresses that the cluster has agreed on there is nobody, so there is
        no way around the proxies.
        """
        for member in self.members.values():
            member.peer_port = free_port()
            member.environment["RAFT_PORT"] = str(member.peer_port)
        self.network = PeerNetwork({m: each.peer_port for m, each in self.members.items()})
        self._connect()

    def kill_all(self) -> None:
        """SIGKILL every member at once."""
        for member in self.members.values():
            member.signal(signal.SIGKILL)
        for member in self.members.values():
            member.kill()

    async def stop_all(self) -> dict[int, int]:
        """SIGTERM every member and return their exit codes."""
        for member in self.members.values():
            member.resume()
            member.signal(signal.SIGTERM)
        codes = {}
        for number, member in self.members.items():
            codes[number] = await asyncio.to_thread(member.wait_stopped)
        return codes

    def log_tails(self, lines: int = 15) -> str:
        """Return the end of each member's log, for a failure's report."""
        parts = []
        for member in self.members.values():
            parts.append(f"== member {member.id} (exits {member.exit_codes})")
            parts.extend(member.log_text().splitlines()[-lines:])
        return "\n".join(parts)

    def close(self) -> None:
        """End every process that this cluster started."""
        for member in self.members.values():
            member.signal(signal.SIGKILL)
        for member in self.members.values():
            member.kill()
        if self.network is not None:
            self.network.close()

    def _build_member(self, member: int, peer_port: int) -> Member:
        grpc_port, http_port = free_port(), free_port()
        environment = {
            "LISTEN_HOST": "127.0.0.1",
            "SERVER_PORT": str(grpc_port),
            "PROM_PORT": str(http_port),
            "RAFT_PORT": str(peer_port),
            "SYBLINE_MEMBER__BOOTSTRAP": "true",
            "SYBLINE_MEMBER__NAME": f"member-{member}",
            "SYBLINE_MEMBER__ADDRESS": f"127.0.0.1:{peer_port}",
            "RAFT_NODE_ID": str(member),
            "DATA_DIR": str(self.directory / f"member-{member}"),
            "CLUSTER_SECRET": "between members only",
            "SYBLINE_ADMIN_USER": ADMIN,
            "SYBLINE_ADMIN_PASSWORD": ADMIN_PASSWORD,
            **self._settings,
        }
        return Member(
            id=member,
            directory=self.directory,
            grpc_port=grpc_port,
            http_port=http_port,
            peer_port=peer_port,
            environment=environment,
        )

    def _connect(self) -> None:
        """Tell each member the peer addresses of the others."""
        for member, each in self.members.items():
            others = [other for other in self.members if other != member]
            ports = [
                self.network.port(member, o) if self.network else self.members[o].peer_port
                for o in others
            ]
            each.environment["NODES"] = ",".join(str(other) for other in others)
            each.environment["ADDRESSES"] = ",".join(f"127.0.0.1:{port}" for port in ports)

    async def _ready_or_dead(self, member: int) -> bool:
        each = self.members[member]
        if not each.is_running:
            tail = "\n".join(each.log_text().splitlines()[-15:])
            raise AssertionError(f"member {member} ended while starting:\n{tail}")
        status, _ = await self.http_get(member, "/readyz")
        return status == 200


def parse_metrics(text: str) -> dict[str, float]:
    """Return `name{labels}` to value of a Prometheus text page."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            with contextlib.suppress(ValueError):
                values[name] = float(value)
    return values


def _http_get(url: str, context: ssl.SSLContext | None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError) as error:
        return 0, str(error)


def _clean_environment() -> dict[str, str]:
    """Return what a child needs of ours, without settings that would reach the broker."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONHASHSEED")
    return {name: os.environ[name] for name in kept if name in os.environ}


def stopwatch() -> float:
    """Return seconds of the monotonic clock, for durations."""
    return time.monotonic()
