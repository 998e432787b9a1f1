"""A disk for the simulator, with the same `Files` protocol as the real one, that forgets what was not synced.

A file has the bytes a process sees and the bytes on the platter, with the writes between them; a directory likewise
with its names. Every operation that changes something is a step, before which the machine may be stopped.

    process crash   everything written survives; a write in progress may be partial
    power loss      per file a random prefix of the unsynced bytes, of which blocks may be missing (holes);
                    per directory a random prefix of the unsynced creations, renames and removals
    failed sync     a random part of the unsynced bytes reaches the disk, the rest never will, although the page cache
                    still shows it and later syncs succeed
    full disk       writes and allocations beyond `capacity` fail, a write after a part of it
    read error      reads fail

Nothing of it is random but for the generator passed in.
"""

import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sybline.replication.storage_errors import DirectoryInUse

BLOCK_BYTES = 64  # small, so that short records span several blocks
HOLE_RATE = 0.2
UNLIMITED = 1 << 60


class Crashed(BaseException):
    """The machine stopped before or inside a file operation."""


@dataclass
class Faults:
    """What goes wrong at random, as rates from 0 to 1."""

    sync_error: float = 0.0
    write_error: float = 0.0  # disk full although there is space: another process took it
    read_error: float = 0.0


class _Inode:
    """A file. Lengths may be beyond the bytes held: the rest reads as zeros."""

    def __init__(self) -> None:
        self.live = bytearray()
        self.live_length = 0
        self.durable = bytearray()
        self.durable_length = 0
        self.pending: list[tuple[int, bytes, int]] = []  # offset, bytes, file length then
        self.version = 0  # rises whenever bytes reach the disk

    def write(self, offset: int, data: bytes) -> None:
        _put(self.live, offset, data)
        self.live_length = max(self.live_length, offset + len(data))
        self.pending.append((offset, data, self.live_length))

    def allocate(self, size: int) -> None:
        self.live_length = max(self.live_length, size)
        self.pending.append((0, b"", self.live_length))

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.live_length)
        return bytes(self.live[offset:end]).ljust(max(0, end - offset), b"\0")

    def sync(self) -> None:
        for offset, data, length in self.pending:
            _put(self.durable, offset, data)
            self.durable_length = max(self.durable_length, length)
        self.pending = []
        self.version += 1

    def sync_partly(self, rng: random.Random) -> None:
        """Let a random prefix of the unsynced bytes reach the disk, with holes; the rest is gone."""
        left = rng.randint(0, sum(len(data) + 1 for _, data, _ in self.pending))
        for offset, data, length in self.pending:
            if left <= 0:
                break
            part, left = data[: left - 1], left - len(data) - 1
            whole = len(part) == len(data)
            self.durable_length = max(
                self.durable_length, length if whole else min(length, offset + len(part))
            )
            for start in range(0, len(part), BLOCK_BYTES):
                if rng.random() >= HOLE_RATE:
                    _put(self.durable, offset + start, part[start : start + BLOCK_BYTES])
        self.pending = []
        self.version += 1

    def lose_power(self, rng: random.Random) -> None:
        self.sync_partly(rng)
        self.live = bytearray(self.durable)
        self.live_length = self.durable_length

    def durable_twin(self) -> "_Inode":
        twin = _Inode()
        twin.live, twin.durable = bytearray(self.durable), bytearray(self.durable)
        twin.live_length = twin.durable_length = self.durable_length
        return twin


def _put(target: bytearray, offset: int, data: bytes) -> None:
    if len(target) < offset and data:
        target.extend(bytes(offset - len(target)))
    target[offset : offset + len(data)] = data


class _Directory:
    """Names, as seen and as on disk; changes are kept in their order."""

    def __init__(self) -> None:
        self.live: dict[str, _Node] = {}
        self.durable: dict[str, _Node] = {}
        self.pending: list[Callable[[dict[str, _Node]], None]] = []

    def change(self, operation: "Callable[[dict[str, _Node]], None]") -> None:
        operation(self.live)
        self.pending.append(operation)

    def sync(self) -> None:
        self.durable = dict(self.live)
        self.pending = []

    def lose_power(self, rng: random.Random) -> None:
        for operation in self.pending[: rng.randint(0, len(self.pending))]:
            operation(self.durable)
        self.pending = []
        self.live = dict(self.durable)
        for name in sorted(self.live):
            self.live[name].lose_power(rng)

    def durable_twin(self) -> "_Directory":
        twin = _Directory()
        twin.live = {name: node.durable_twin() for name, node in self.durable.items()}
        twin.durable = dict(twin.live)
        return twin


_Node = _Inode | _Directory


def _link(name: str, node: _Node) -> Callable[[dict[str, _Node]], None]:
    def operation(names: dict[str, _Node]) -> None:
        names[name] = node

    return operation


def _unlink(name: str) -> Callable[[dict[str, _Node]], None]:
    def operation(names: dict[str, _Node]) -> None:
        names.pop(name, None)

    return operation


def _move(source: str, target: str, node: _Node) -> Callable[[dict[str, _Node]], None]:
    def operation(names: dict[str, _Node]) -> None:
        names.pop(source, None)
        names[target] = node

    return operation


class SimulatedFile:
    """An open file of the disk."""

    def __init__(self, disk: "SimulatedDisk", node: _Inode, path: Path, writable: bool) -> None:
        self._disk = disk
        self._node = node
        self._path = path
        self._writable = writable
        self._life = disk.life
        self._is_open = True

    def _check(self) -> None:
        assert self._is_open, f"{self._path} is closed"
        assert self._life == self._disk.life, f"{self._path} was opened before the crash"

    def size(self) -> int:
        self._check()
        return self._node.live_length

    def read_at(self, offset: int, size: int) -> bytes:
        self._check()
        self._disk.maybe_fail_read()
        return self._node.read(offset, size)

    def write_at(self, offset: int, parts: Sequence[bytes]) -> None:
        self._check()
        assert self._writable, f"{self._path} is open for reading"
        data = b"".join(parts)
        room = self._disk.room_for(self._node, offset + len(data))
        try:
            self._disk.step(f"write {len(data)} bytes at {offset} of {self._path}")
        except BaseException:
            part = data[: self._disk.rng.randint(0, min(len(data), max(0, room - offset)))]
            self._node.write(offset, part)
            raise
        if self._disk.rng.random() < self._disk.faults.write_error:
            room = self._disk.rng.randint(offset, offset + len(data) - 1)
        if room < offset + len(data):
            self._node.write(offset, data[: max(0, room - offset)])
            raise self._disk.failure(errno.ENOSPC, "no space left on device")
        self._node.write(offset, data)

    def allocate(self, size: int) -> None:
        self._check()
        self._disk.step(f"allocate {size} bytes for {self._path}")
        if self._disk.room_for(self._node, size) < size:
            raise self._disk.failure(errno.ENOSPC, "no space left on device")
        self._node.allocate(size)

    def sync(self) -> None:
        self._check()
        self._disk.step(f"sync {self._path}")
        self._disk.bytes_version += 1
        if self._disk.rng.random() < self._disk.faults.sync_error:
            self._node.sync_partly(self._disk.rng)
            raise self._disk.failure(errno.EIO, "input/output error")
        self._node.sync()
        self._disk.syncs += 1

    def close(self) -> None:
        self._is_open = False


@dataclass(frozen=True)
class Platter:
    """The bytes of a file that are on the disk whatever happens; equal for the same file. A File to read from."""

    _node: _Inode

    @property
    def version(self) -> int:
        """Return a number that rises whenever the bytes change."""
        return self._node.version

    def size(self) -> int:
        return self._node.durable_length

    def read_at(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self._node.durable_length)
        return bytes(self._node.durable[offset:end]).ljust(max(0, end - offset), b"\0")

    def write_at(self, offset: int, parts: Sequence[bytes]) -> None:
        raise AssertionError("nobody writes to the platter past the cache")

    def allocate(self, size: int) -> None:
        self.write_at(0, [])

    def sync(self) -> None: ...

    def close(self) -> None: ...


class SimulatedLock:
    """A held lock."""

    def __init__(self, held: set[Path], path: Path) -> None:
        self._held = held
        self._path = path

    def close(self) -> None:
        self._held.discard(self._path)


@dataclass
class SimulatedDisk:
    """One machine's disk; see the module. `before_step` may raise to stop the machine."""

    rng: random.Random
    before_step: Callable[[str], None] | None = None
    capacity: int = UNLIMITED
    faults: Faults = field(default_factory=Faults)
    crash_at: int | None = (
        None  # stop before this step, counted from 1 over the whole life of the disk
    )

    def __post_init__(self) -> None:
        self.steps = 0
        self.syncs = 0
        self.errors = 0  # that it has reported
        self.names_version = 0  # rises whenever names reach the platter
        self.bytes_version = 0  # rises whenever bytes of files do
        self.life = 0  # rises with each crash: open files of an earlier life are dead
        self.last_step = ""
        self._root = _Directory()
        self._locks: set[Path] = set()

    # ---- what happens to the machine

    def step(self, what: str) -> None:
        """Count an operation that changes something, and maybe stop the machine before it."""
        self.steps += 1
        self.last_step = what
        if self.steps == self.crash_at:
            raise Crashed(f"step {self.steps}: {what}")
        if self.before_step is not None:
            self.before_step(what)

    def crash(self, *, power: bool) -> None:
        """The process is gone; with `power`, what was not synced is lost in part."""
        self.life += 1
        self._locks = set()
        if power:
            self._root.lose_power(self.rng)
            self.names_version += 1
            self.bytes_version += 1

    def durable_copy(self) -> "SimulatedDisk":
        """Return a disk with what a power loss at this moment would leave at worst: nothing unsynced."""
        copy = SimulatedDisk(random.Random(0))
        copy._root = self._root.durable_twin()
        return copy

    def used(self) -> int:
        """Return the bytes taken by files that have a name."""

        def size(node: _Node) -> int:
            if isinstance(node, _Inode):
                return node.live_length
            return sum(size(child) for child in node.live.values())

        return size(self._root)

    def room_for(self, node: _Inode, end: int) -> int:
        """Return up to which offset the file may grow now, at most `end`."""
        if end <= node.live_length or self.capacity == UNLIMITED:
            return end
        return min(end, node.live_length + max(0, self.capacity - self.used()))

    def maybe_fail_read(self) -> None:
        if self.faults.read_error and self.rng.random() < self.faults.read_error:
            raise self.failure(errno.EIO, "input/output error")

    def failure(self, number: int, what: str) -> OSError:
        """Count an error of the disk and return it."""
        self.errors += 1
        return OSError(number, f"simulated: {what}")

    # ---- what is on the platter

    def durable_files(self, path: Path) -> "dict[str, Platter]":
        """Return what a power loss would leave of a directory's files at worst, by name and in order."""
        node: _Node | None = self._root
        for name in path.parts[1:]:
            node = node.durable.get(name) if isinstance(node, _Directory) else None
        if not isinstance(node, _Directory):
            return {}
        return {
            name: Platter(file)
            for name, file in sorted(node.durable.items())
            if isinstance(file, _Inode)
        }

    # ---- damage, for tests

    def peek(self, path: Path) -> bytes:
        """Return the bytes of a file."""
        node = self._file(path)
        return node.read(0, node.live_length)

    def poke(self, path: Path, data: bytes) -> None:
        """Replace the bytes of a file, on the platter as well."""
        node = self._file(path)
        node.live, node.durable = bytearray(data), bytearray(data)
        node.live_length = node.durable_length = len(data)
        node.pending = []

    # ---- the Files protocol

    def create(self, path: Path) -> SimulatedFile:
        self.step(f"create {path}")
        node = _Inode()
        self._directory(path.parent).change(_link(path.name, node))
        return SimulatedFile(self, node, path, writable=True)

    def open(self, path: Path, *, writable: bool = False) -> SimulatedFile:
        return SimulatedFile(self, self._file(path), path, writable)

    def exists(self, path: Path) -> bool:
        return self._find(path) is not None

    def names(self, path: Path) -> list[str]:
        return sorted(self._directory(path).live)

    def make_directory(self, path: Path) -> None:
        if self._find(path) is not None:
            return
        if path.parent != path:
            self.make_directory(path.parent)
        self.step(f"make directory {path}")
        self._directory(path.parent).change(_link(path.name, _Directory()))

    def rename(self, source: Path, target: Path) -> None:
        assert source.parent == target.parent, "a rename across directories is not atomic here"
        self.step(f"rename {source} to {target.name}")
        node = self._existing(source)
        self._directory(source.parent).change(_move(source.name, target.name, node))

    def remove(self, path: Path) -> None:
        self.step(f"remove {path}")
        self._file(path)
        self._directory(path.parent).change(_unlink(path.name))

    def remove_directory(self, path: Path) -> None:
        self.step(f"remove directory {path}")
        if self._directory(path).live:
            raise OSError(errno.ENOTEMPTY, f"simulated: {path} is not empty")
        self._directory(path.parent).change(_unlink(path.name))

    def sync_directory(self, path: Path) -> None:
        self.step(f"sync directory {path}")
        self.names_version += 1
        self._directory(path).sync()

    def free_bytes(self, path: Path) -> int:
        return max(0, self.capacity - self.used())

    def lock(self, path: Path) -> SimulatedLock:
        if path in self._locks:
            raise DirectoryInUse(f"{path.parent} is in use by another process")
        self._locks.add(path)
        return SimulatedLock(self._locks, path)

    def random32(self) -> int:
        return self.rng.getrandbits(32)

    # ---- finding names

    def _find(self, path: Path) -> _Node | None:
        node: _Node = self._root
        for name in path.parts[1:] if path.is_absolute() else path.parts:
            if not isinstance(node, _Directory) or name not in node.live:
                return None
            node = node.live[name]
        return node

    def _existing(self, path: Path) -> _Node:
        node = self._find(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "simulated: no such file or directory", str(path))
        return node

    def _file(self, path: Path) -> _Inode:
        node = self._existing(path)
        assert isinstance(node, _Inode), f"{path} is a directory"
        return node

    def _directory(self, path: Path) -> _Directory:
        node = self._existing(path)
        assert isinstance(node, _Directory), f"{path} is a file"
        return node
