"""What a checkpoint costs with a backlog of so many messages: the first one, one after a few changes, and a restart.

Works on the state machine and the checkpoint store alone, each size in a process of its own. Beside each figure stands
what the same bytes cost without any of it: one write and one fdatasync.

    python -m tests.bench.checkpoints KIND MESSAGES DIRECTORY     one row, as JSON
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sybline.process_memory import give_back_memory
from sybline.replication.checkpoint import NO_CHECKPOINT, CheckpointOwner
from sybline.replication.checkpoint_store import CheckpointStore, newest_checkpoint
from sybline.replication.files import RealFiles
from sybline.replication.state_dump import StateDump
from sybline.state_machine.commands import (
    AnyCommand,
    BootstrapAdmin,
    Caller,
    Checkout,
    CloseSession,
    DeclareQueue,
    Enqueue,
    EnqueueRun,
    OpenSession,
    PasswordHash,
    PositionRange,
    Settle,
)
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.meta import Meta
from sybline.state_machine.pages import Reader
from sybline.state_machine.replies import AnyReply, CheckedOut, Refused, SessionOpened
from tests.bench.own_cluster import OwnCluster
from tests.bench.report import MIB

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
KINDS = {
    "batches": "in order, batches of 1,000 of one size",
    "singles": "in order, each message a run of its own",
    "settled": "every second one settled, the others returned one by one",
}
CHANGES = 10_000
BATCH = 10_000
ROW_S_MAX = 1_800.0  # of one process
OWNER = CheckpointOwner(bytes(16), 0)
FOR_EVER_MS = 10**12
LEASE_MS = 10_000_000


@dataclass
class Row:
    """One size of one kind."""

    messages: int
    first_bytes: int = 0
    first_s: float = 0.0
    first_raw_s: float = 0.0
    next_bytes: int = 0
    next_loop_s: float = 0.0
    next_thread_s: float = 0.0
    next_raw_s: float = 0.0
    slice_s: float = 0.0  # the longest on the loop, of both checkpoints
    slice_cpu_s: float = 0.0  # the same in CPU time: others may use this machine
    load_s: float = 0.0
    rss_per_message: float = 0.0
    loaded_rss_per_message: float = 0.0


class Filler:
    """A state machine with one queue that is filled by commands."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.index = 0
        self.people = 0
        self.apply(BootstrapAdmin("root", PasswordHash("scrypt", b"", 1, 1, 1, b"")))
        self.root = self.login()
        self.apply(DeclareQueue(self.root, "q", "key", 2_000_000_000, -1, False, 0))

    def apply(self, command: AnyCommand) -> AnyReply:
        """Apply the next entry."""
        self.index += 1
        reply = self.machine.apply(Meta(self.index, 1, 1000 + self.index, 0, 0, 0), command).reply
        assert not isinstance(reply, Refused), reply
        return reply

    def login(self) -> Caller:
        """Open a session of a new consumer."""
        self.people += 1
        number = self.people.to_bytes(16, "big")
        epoch = 1
        reply = self.apply(OpenSession("root", epoch, number, number, FOR_EVER_MS, b""))
        assert isinstance(reply, SessionOpened)
        return Caller("root", reply.consumer)

    def publish(self, sizes: list[tuple[int, int]]) -> None:
        """Publish a batch of (messages, bytes) runs."""
        runs = tuple(EnqueueRun(0, count, size) for count, size in sizes)
        bodies = bytes(sum(count * size for count, size in sizes))
        self.apply(Enqueue(self.root, ("key",), runs, bodies, True, "", b""))

    def fill(self, kind: str, messages: int) -> None:
        """Let so many messages wait."""
        if kind == "batches":
            for _ in range(messages // 1000):
                self.publish([(1000, 100)])
        elif kind == "singles":
            for _ in range(messages // BATCH):
                self.publish([(1, 1), (1, 2)] * (BATCH // 2))
        else:
            for _ in range(2 * messages // BATCH):
                self.publish([(BATCH, 1)])
            consumers = [self.settle_every_second() for _ in range(2 * messages // BATCH)]
            for caller in consumers:
                self.apply(CloseSession(caller))

    def settle_every_second(self) -> Caller:
        """Let a new consumer fetch a batch and settle half of it."""
        caller = self.login()
        reply = self.apply(Checkout(caller, "q", BATCH, 1 << 40, LEASE_MS))
        assert isinstance(reply, CheckedOut)
        positions = [d.position + n for d in reply.deliveries for n in range(d.count)]
        ranges = tuple(PositionRange(position, 1) for position in positions[::2])
        self.apply(Settle(caller, "q", ranges, True))
        return caller

    def change(self, commands: int) -> None:
        """Apply further commands: publishes of one message, fetches of one, and their settlements."""
        caller = self.login()
        for _ in range(commands // 4):
            self.publish([(1, 1)])
            self.publish([(1, 2)])
            reply = self.apply(Checkout(caller, "q", 1, 1 << 40, LEASE_MS))
            assert isinstance(reply, CheckedOut)
            ranges = tuple(PositionRange(d.position, 1) for d in reply.deliveries)
            self.apply(Settle(caller, "q", ranges, True))


def measure(kind: str, messages: int, directory: Path) -> Row:
    """Return the figures of one size, in a process that does nothing else."""
    gc.disable()  # it would count as part of whatever it interrupts
    row = Row(messages)
    files = RealFiles()
    before = rss_bytes()
    filler = Filler()
    filler.fill(kind, messages)
    give_back_memory()
    row.rss_per_message = (rss_bytes() - before) / messages
    store = CheckpointStore(files, directory, OWNER, NO_CHECKPOINT, file_bytes=32 * MIB)
    first = checkpoint(store, filler)
    row.first_bytes, row.first_s = first.bytes, first.loop_s + first.thread_s
    row.first_raw_s = raw_s(directory, first.bytes)
    filler.change(CHANGES)
    following = checkpoint(store, filler)
    row.next_bytes = following.bytes
    row.next_loop_s, row.next_thread_s = following.loop_s, following.thread_s
    row.next_raw_s = raw_s(directory, following.bytes)
    row.slice_s = max(first.slice_s, following.slice_s)
    row.slice_cpu_s = max(first.slice_cpu_s, following.slice_cpu_s)
    return row


@dataclass
class Cost:
    """What one checkpoint took."""

    bytes: int = 0
    loop_s: float = 0.0
    slice_s: float = 0.0
    slice_cpu_s: float = 0.0
    thread_s: float = 0.0


class TimedDump:
    """A dump that notes how long the loop is kept and how much is new."""

    def __init__(self, inner: StateDump, cost: Cost) -> None:
        self._inner = inner
        self._cost = cost

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def collect(self, bytes_max: int) -> list:
        """Collect, and count."""
        with Timed(self._cost):
            pages = self._inner.collect(bytes_max)
        self._cost.bytes += sum(len(page.data) for page in pages)
        return pages


class Timed:
    """The time of a block on the loop."""

    def __init__(self, cost: Cost) -> None:
        self._cost = cost

    def __enter__(self) -> None:
        self._begun_s = time.perf_counter()
        self._begun_cpu_s = time.thread_time()

    def __exit__(self, *_: object) -> None:
        taken_s = time.perf_counter() - self._begun_s
        self._cost.loop_s += taken_s
        self._cost.slice_s = max(self._cost.slice_s, taken_s)
        cpu_s = time.thread_time() - self._begun_cpu_s
        self._cost.slice_cpu_s = max(self._cost.slice_cpu_s, cpu_s)


def checkpoint(store: CheckpointStore, filler: Filler) -> Cost:
    """Write a checkpoint as a member does, all in this thread."""
    cost = Cost()
    with Timed(cost):
        dump = TimedDump(filler.machine.begin_capture(store.next_page), cost)
    job = store.begin(filler.index, 1, dump, configuration=b"", needed=())
    while not job.is_done:
        begun_s = time.perf_counter()
        store.run(job)
        cost.thread_s += time.perf_counter() - begun_s
        if not job.is_done:
            job.collect()
    with Timed(cost):
        assert store.end(job)
    cost.bytes += store.newest.root_bytes
    return cost


def measure_load(directory: Path, messages: int) -> tuple[float, float]:
    """Return the seconds of verifying and loading the checkpoint, and the memory a message then takes."""
    gc.disable()
    files = RealFiles()
    before = rss_bytes()
    begun_s = time.perf_counter()
    facts = newest_checkpoint(files, directory, OWNER, files.names(directory))
    store = CheckpointStore(files, directory, OWNER, facts, file_bytes=32 * MIB)
    saved = store.load()
    assert saved is not None
    machine = StateMachine.load_capture(saved.root, Reader(saved.page, is_kept=True))
    taken_s = time.perf_counter() - begun_s
    saved.close()
    give_back_memory()
    stats = machine.queue("q")
    assert stats is not None
    assert stats.ready > 0
    return taken_s, (rss_bytes() - before) / messages


def raw_s(directory: Path, size_bytes: int) -> float:
    """Return the seconds of one write and one fdatasync of so many bytes."""
    path = directory / "raw"
    data = os.urandom(min(size_bytes, MIB))
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        begun_s = time.perf_counter()
        for start in range(0, size_bytes, MIB):
            os.write(descriptor, data[: min(MIB, size_bytes - start)])
        os.fdatasync(descriptor)
        return time.perf_counter() - begun_s
    finally:
        os.close(descriptor)
        path.unlink()


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def checkpoints(own: OwnCluster) -> None:
    """Print a table for each kind of backlog."""
    report = own.report
    report.say(f"## Checkpoints: after the first one, {CHANGES:,} further commands, then another\n")
    for kind, meaning in KINDS.items():
        report.say(f"{kind}: {meaning}\n")
        report.table(
            "messages", "first MiB", "first s", "raw s", "next MiB", "next loop ms",
            "next thread ms", "raw ms", "longest slice ms", "of it CPU", "load s", "RSS B/message",
            "after restart",
        )  # fmt: skip
        for messages in SIZES:
            if messages <= SIZES[-1] * own.scale:
                row = await run_row(kind, messages, own.directory / "checkpoints")
                report.row(*cells(row))
        report.say("")


def cells(row: Row) -> Iterator[str]:
    """Yield the cells of a row."""
    yield f"{row.messages:,}"
    yield f"{row.first_bytes / MIB:.2f}"
    yield f"{row.first_s:.3f}"
    yield f"{row.first_raw_s:.3f}"
    yield f"{row.next_bytes / MIB:.2f}"
    yield f"{row.next_loop_s * 1000:.1f}"
    yield f"{row.next_thread_s * 1000:.1f}"
    yield f"{row.next_raw_s * 1000:.1f}"
    yield f"{row.slice_s * 1000:.1f}"
    yield f"{row.slice_cpu_s * 1000:.1f}"
    yield f"{row.load_s:.2f}"
    yield f"{row.rss_per_message:.1f}"
    yield f"{row.loaded_rss_per_message:.1f}"


async def run_row(kind: str, messages: int, directory: Path) -> Row:
    """Measure one size in a process, and its restart in another."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        written = await _child(kind, str(messages), str(directory))
        row = Row(**written)
        loaded = await _child("load", str(messages), str(directory))
        row.load_s, row.loaded_rss_per_message = loaded["s"], loaded["bytes"]
        return row
    finally:
        for path in directory.iterdir():
            path.unlink()


async def _child(*arguments: str) -> dict[str, float]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.checkpoints", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(), ROW_S_MAX)
    finally:
        if child.returncode is None:
            child.kill()
    assert child.returncode == 0, arguments
    result: dict[str, float] = json.loads(output)
    return result


def main() -> None:
    """Print one row as JSON."""
    kind, messages, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if kind == "load":
        taken_s, size_bytes = measure_load(directory, messages)
        print(json.dumps({"s": taken_s, "bytes": size_bytes}))
    else:
        print(json.dumps(asdict(measure(kind, messages, directory))))


if __name__ == "__main__":
    main()
