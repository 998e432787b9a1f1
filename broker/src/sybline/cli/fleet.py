"""Members as child processes: start, wait until they serve, watch, stop.

A child reads the end of its standard input as "stop", so members never outlive this process, even when it is killed.
What a child prints is kept in its log file. Knows nothing of settings or of what members do.
"""

import asyncio
import signal
import ssl
import sys
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEMBERS_TO_LOSE_ONE = 3  # the others are still a majority
READY_S = 60.0
READY_POLL_S = 0.05
STOP_S = 35.0  # a member drains for up to 25 s
RESTART_S_MIN, RESTART_S_MAX = 0.5, 10.0
STEADY_S = 30.0  # who ran for so long starts again without a longer pause
TAIL_BYTES = 4096
TAIL_CHARACTERS_MAX = 300

_COMMAND = (sys.executable, "-P", "-m", "sybline", "serve", "--stop-with-stdin")


class MemberEnded(Exception):
    """A member ended that should run; how was reported."""


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """One member to run."""

    id: int
    grpc_address: str
    http_address: str
    log_path: Path
    environment: Mapping[str, str]
    ca_path: Path | None = None  # of the CA to trust; None: plain text

    @property
    def http_url(self) -> str:
        """Return where its HTTP port is."""
        return f"{'http' if self.ca_path is None else 'https'}://{self.http_address}"


class RunningMember:
    """A member's process, across restarts."""

    def __init__(self, plan: MemberPlan) -> None:
        self.plan = plan
        self.is_expected_to_end = False
        self._process: Process | None = None
        self._started_s = 0.0

    @property
    def pid(self) -> int:
        """Return the process id of the current or last process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Return whether the process lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def ran_s(self) -> float:
        """Return seconds since the start."""
        return asyncio.get_running_loop().time() - self._started_s

    async def start(self) -> None:
        """Start the process; nothing is waited for."""
        self.is_expected_to_end = False
        self._started_s = asyncio.get_running_loop().time()
        with self.plan.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_COMMAND,
                stdin=PIPE,
                stdout=log,
                stderr=log,
                env=self.plan.environment,
                start_new_session=True,  # Ctrl-C reaches it through us alone
            )

    def signal(self, number: int) -> None:
        """Send a signal, if the process lives; its end is then no surprise."""
        self.is_expected_to_end = True
        if self._process is not None and self.is_running:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the end and return the exit status, negative for a signal."""
        assert self._process is not None
        status = await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return status

    async def is_ready(self) -> bool:
        """Ask the member whether it serves."""
        return await asyncio.to_thread(_is_ok, f"{self.plan.http_url}/readyz", self.plan.ca_path)

    def describe_end(self, status: int) -> str:
        """Return one line that says who ended, how, and what it said last."""
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        last = _read_last_line(self.plan.log_path)
        said = f"; it said: {last}" if last else ""
        return f"member {self.plan.id} (pid {self.pid}) ended, {how}{said}"


class Fleet:
    """The members of one cluster. Whoever ends unasked is reported, and started again if wanted."""

    def __init__(
        self, plans: Sequence[MemberPlan], *, restart: bool, report: Callable[[str], None]
    ) -> None:
        self.members = {plan.id: RunningMember(plan) for plan in plans}
        self._restart = restart
        self._report = report
        self._watches: dict[int, asyncio.Task[None]] = {}

    async def start(self, *ids: int) -> None:
        """Start the members named (default: all) and watch them."""
        for member in ids or tuple(self.members):
            await self.members[member].start()
            self._watches[member] = asyncio.create_task(self._watch(self.members[member]))

    async def wait_ready(self, *ids: int, deadline_s: float = READY_S) -> None:
        """Wait until the members named (default: all) serve.

        Raises:
            MemberEnded: one of them ended.
            TimeoutError: one did not get ready in time; the text names it.
        """
        asked = [self.members[member] for member in ids or self.members]
        try:
            async with asyncio.timeout(deadline_s):
                for member in asked:
                    await self._wait_ready(member)
        except TimeoutError:
            raise TimeoutError(
                f"member {member.plan.id} is not ready after {deadline_s:g} s, "
                f"see {member.plan.log_path}"
            ) from None

    async def wait_none_left(self) -> None:
        """Wait until no member runs, or will."""
        while pending := [watch for watch in self._watches.values() if not watch.done()]:
            await asyncio.wait(pending)

    async def kill(self, member: int) -> None:
        """SIGKILL a member, on purpose, and wait for its end."""
        self.members[member].signal(signal.SIGKILL)
        await self.members[member].wait()

    def kill_all(self) -> None:
        """SIGKILL every member; nothing is waited for."""
        for member in self.members.values():
            member.signal(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM every member and wait for their ends; SIGKILL who takes too long."""
        for watch in self._watches.values():
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        running = [member for member in self.members.values() if member.is_running]
        for member in running:
            member.signal(signal.SIGTERM)
        ends = asyncio.gather(*(member.wait() for member in running))
        try:
            async with asyncio.timeout(STOP_S):
                await asyncio.shield(ends)
        except TimeoutError:
            self._report(f"not every member stopped within {STOP_S:g} s: killed")
            self.kill_all()
            await ends

    async def _wait_ready(self, member: RunningMember) -> None:
        while not await member.is_ready():
            if not (member.is_running or self._restart):
                await self._watches[member.plan.id]  # which reports how it ended
                raise MemberEnded(f"member {member.plan.id} ended before it was ready")
            await asyncio.sleep(READY_POLL_S)

    async def _watch(self, member: RunningMember) -> None:
        pause_s = RESTART_S_MIN
        while True:
            status = await member.wait()
            if member.is_expected_to_end:
                return
            self._report(member.describe_end(status))
            if not self._restart:
                return
            pause_s = RESTART_S_MIN if member.ran_s > STEADY_S else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_S_MAX)
            await member.start()
            self._report(f"member {member.plan.id} started again, pid {member.pid}")


def _is_ok(url: str, ca_path: Path | None) -> bool:
    trust = None if ca_path is None else ssl.create_default_context(cafile=ca_path)
    try:
        with urllib.request.urlopen(url, timeout=2, context=trust) as answer:  # noqa: S310  our own loopback address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _read_last_line(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return lines[-1][:TAIL_CHARACTERS_MAX] if lines else ""
