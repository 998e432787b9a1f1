"""A data directory with acknowledged messages in it, and what a member makes of a damaged copy: the oracle.

Only two outcomes are right: everything acknowledged is served, or nothing is and the member ends with one line that
names a file of the directory and what to do. The directory is judged by what is in it, not by its format.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster, Member
from tests.support.waiting import wait_until

QUEUE, FILLER = "kept", "filler"
MIB = 1024 * 1024
FILLER_BYTES = 70 * MIB  # more than a segment
CHECKPOINT_ENTRIES = "100"
OUTCOME_S = 30.0
START_STATUS, FAIL_STOP_STATUS = 1, 70
ADVICE = re.compile(
    r"Restore the disk|Start it with the version|Give this member its own|file system|No space left"
    r"|Check the disk|correct its id"
)


@dataclass(frozen=True)
class Refused:
    """The member ended by itself."""

    status: int
    text: str  # its last words


@dataclass(frozen=True)
class Served:
    """The member answered calls."""

    bodies: tuple[bytes, ...]


class StoredMember:
    """A cluster of one member, stopped, and copies of its directory."""

    def __init__(self, cluster: Cluster, copies: Path) -> None:
        self.cluster = cluster
        self.member: Member = cluster[1]
        self.origin = self.member.data_dir
        self.expected: list[bytes] = []
        self._copies = copies

    async def fill(self) -> None:
        """Store what later must be found, in two segments at least, with checkpoints between, and stop cleanly."""
        await self.cluster.start_and_wait()
        async with await logged_in(self.member.address) as client:
            for queue in (QUEUE, FILLER):
                await client.create_queue(queue)
            await self._publish(client, 20)
            for number in range(FILLER_BYTES // (4 * MIB) + 1):
                bodies = [bytes([65 + number]) * (MIB - 200) for _ in range(4)]
                await client.publish_batch([(FILLER, body) for body in bodies])
            while got := await client.fetch(FILLER, 4):
                await client.batch_ack(FILLER, [message for message, _ in got])
            await self._publish(client, 150)
        assert self.member.stop() == 0

    async def _publish(self, client: Client, count: int) -> None:
        for _ in range(count):
            body = f"kept-{len(self.expected):04}".encode() * 20
            await client.publish(QUEUE, body)
            self.expected.append(body)

    @property
    def copy_path(self) -> Path:
        """Return where the copy lies that was made last."""
        return self._copies

    def files(self) -> list[Path]:
        """Return the files that hold something, relative to the directory."""
        return sorted(
            path.relative_to(self.origin)
            for path in self.origin.rglob("*")
            if path.is_file() and path.stat().st_size
        )

    def copy(self) -> Path:
        """Return a fresh copy of the directory for one start."""
        if self._copies.exists():
            shutil.rmtree(self._copies)
        subprocess.run(
            ["cp", "--recursive", "--sparse=always", str(self.origin), str(self._copies)],
            check=True,
        )
        return self._copies

    async def outcome_of(
        self, damage: Callable[[Path], object], **settings: str
    ) -> Served | Refused:
        """Damage a copy, start a member on it, and return what came of that."""
        directory = self.copy()
        damage(directory)
        return await self.outcome_on(directory, **settings)

    async def outcome_on(self, directory: Path, **settings: str) -> Served | Refused:
        """Start a member on a directory, and return what came of that."""
        before, said = dict(self.member.environment), len(self.member.log_text())
        self.member.environment |= {"DATA_DIR": str(directory), **settings}
        self.member.start()
        try:
            await wait_until(self._has_decided, what="ready or ended", deadline_s=OUTCOME_S)
            found = await self._served() if self.member.is_running else None
            if found is not None:
                return found
            await wait_until(self._has_ended, what="the end of the member", deadline_s=OUTCOME_S)
            return Refused(self.member.wait_stopped(), self.member.log_text()[said:])
        finally:
            self.member.kill()
            self.member.environment = before

    async def _has_decided(self) -> bool:
        return await self._has_ended() or (await self.cluster.http_get(1, "/readyz"))[0] == 200

    async def _has_ended(self) -> bool:
        return not self.member.is_running

    async def _served(self) -> Served | None:
        """Return what is served; None: the member ended instead of serving what it cannot trust."""
        try:
            async with await logged_in(self.member.address) as client:
                got = await client.fetch(QUEUE, 2 * len(self.expected))
        except grpc.aio.AioRpcError:
            return None  # then it has to end, and the caller waits for that
        return Served(tuple(body for _, body in got))

    def judge(self, outcome: Served | Refused, directory: Path, what: str) -> str:
        """Require one of the two right outcomes, and return it in a word."""
        if isinstance(outcome, Served):
            assert list(outcome.bodies) == self.expected, f"{what}: something is not there"
            return "served"
        require_clear(outcome, str(directory), what)
        return "refused"


def require_clear(outcome: Refused, named: str, what: str) -> None:
    """Require last words in one line that name a path and what to do."""
    assert outcome.status in (START_STATUS, FAIL_STOP_STATUS), f"{what}: {outcome}"
    assert "Traceback" not in outcome.text, f"{what}: {outcome.text}"
    last = outcome.text.strip().splitlines()[-1]
    assert named in last, f"{what}: no file is named in: {last}"
    assert ADVICE.search(last), f"{what}: nothing says what to do: {last}"
