"""The few file operations that storage needs, as a protocol, and the real ones.

Everything under a data directory goes through here, so that the simulator can put a disk with power losses, torn
writes and failing syncs below the real journal. No operation retries: what fails is an `OSError` for the caller.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sybline.replication.storage_errors import DirectoryInUse

BUFFERS_PER_WRITE = 1024  # IOV_MAX of Linux
NO_SPACE = frozenset(
    {errno.ENOSPC, errno.EDQUOT}
)  # a full disk, the one error that is not final by itself
DISK_ERRORS = NO_SPACE | {errno.EIO, errno.EROFS}


class File(Protocol):
    """An open file; offsets and sizes in bytes."""

    def size(self) -> int:
        """Return the length of the file."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes; fewer only at the end of the file."""

    def write_at(self, offset: int, parts: Sequence[bytes]) -> None:
        """Write all parts one after another; they are not durable before `sync`."""

    def allocate(self, size: int) -> None:
        """Reserve disk space so that writes below `size` cannot find the disk full; new bytes read as zero."""

    def sync(self) -> None:
        """Make contents and length durable (fdatasync)."""

    def close(self) -> None:
        """Release the file."""


class Lock(Protocol):
    """An exclusive lock, held until it is closed or the process ends."""

    def close(self) -> None:
        """Release the lock."""


class Files(Protocol):
    """One file system. Names become durable with `sync_directory` of their parent."""

    def create(self, path: Path) -> File:
        """Create an empty file, or empty an existing one, and open it for reading and writing."""

    def open(self, path: Path, *, writable: bool = False) -> File:
        """Open an existing file."""

    def exists(self, path: Path) -> bool:
        """Return whether a file or directory has this name."""

    def names(self, path: Path) -> list[str]:
        """Return the sorted names in a directory."""

    def make_directory(self, path: Path) -> None:
        """Create a directory unless it is there, with the parents it needs."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or directory another name in the same directory, replacing a file of that name."""

    def remove(self, path: Path) -> None:
        """Remove a file; open handles go on reading it."""

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""

    def free_bytes(self, path: Path) -> int:
        """Return the space a normal user may still take."""

    def lock(self, path: Path) -> Lock:
        """Take an exclusive lock on a file, creating it.

        Raises:
            DirectoryInUse: another process holds it.
        """

    def random32(self) -> int:
        """Return 32 random bits: seeds of checksums and numbers of images."""


class RealFile:
    """A file of the operating system; its errors carry the name that it has then."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self._descriptor, size, offset)
            if len(data) == size or not data:
                return data
            parts = [data]  # a short read is legal anywhere, so only an empty one means the end
            while data and (missing := size - sum(map(len, parts))) > 0:
                data = os.pread(self._descriptor, missing, offset + size - missing)
                parts.append(data)
        except OSError as error:
            raise self._named(error) from error
        return b"".join(parts)

    def write_at(self, offset: int, parts: Sequence[bytes]) -> None:
        try:
            self._write_all(offset, parts)
        except OSError as error:
            raise self._named(error) from error

    def _write_all(self, offset: int, parts: Sequence[bytes]) -> None:
        for start in range(0, len(parts), BUFFERS_PER_WRITE):
            group = parts[start : start + BUFFERS_PER_WRITE]
            total = sum(map(len, group))
            written = os.pwritev(self._descriptor, group, offset)
            if written < total:
                self._write_rest(offset + written, memoryview(b"".join(group))[written:])
            offset += total

    def _write_rest(self, offset: int, rest: memoryview) -> None:
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            if written == 0:
                raise OSError(errno.EIO, "a write made no progress")
            offset += written
            rest = rest[written:]

    def allocate(self, size: int) -> None:
        try:
            os.posix_fallocate(self._descriptor, 0, size)
        except OSError as error:
            raise self._named(error) from error

    def sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise self._named(error) from error

    def close(self) -> None:
        os.close(self._descriptor)

    def _named(self, error: OSError) -> OSError:
        """Return the error with the file's name: the system tells only the number of an open file."""
        try:
            name = str(Path(f"/proc/self/fd/{self._descriptor}").readlink())
        except OSError:
            return error
        return OSError(error.errno, error.strerror, name)


class RealFiles:
    """The file system of the operating system."""

    def create(self, path: Path) -> RealFile:
        return RealFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))

    def open(self, path: Path, *, writable: bool = False) -> RealFile:
        mode = os.O_RDWR if writable else os.O_RDONLY
        return RealFile(os.open(path, mode | os.O_CLOEXEC))

    def exists(self, path: Path) -> bool:
        return path.exists()

    def names(self, path: Path) -> list[str]:
        return sorted(child.name for child in path.iterdir())

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def remove(self, path: Path) -> None:
        path.unlink()

    def remove_directory(self, path: Path) -> None:
        path.rmdir()

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, path: Path) -> int:
        space = os.statvfs(path)
        return space.f_bavail * space.f_frsize

    def lock(self, path: Path) -> RealFile:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DirectoryInUse(f"{path.parent} is in use by another process") from None
        return RealFile(descriptor)

    def random32(self) -> int:
        return int.from_bytes(os.urandom(4), "little")


def replace_file(files: Files, path: Path, parts: Sequence[bytes]) -> None:
    """Write a whole file durably under its name: after a crash the old one or the new one is there, complete."""
    temporary = path.with_name(path.name + ".tmp")
    with contextlib.closing(files.create(temporary)) as file:
        file.write_at(0, parts)
        file.sync()
    files.rename(temporary, path)
    files.sync_directory(path.parent)


def remove_tree(files: Files, path: Path) -> None:
    """Remove a directory of files, which may hold no directories of its own but one level of them."""
    for name in files.names(path):
        child = path / name
        if name.startswith("gen-"):
            remove_tree(files, child)
        else:
            files.remove(child)
    files.remove_directory(path)
