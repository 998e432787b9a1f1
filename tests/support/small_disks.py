"""Small file systems for members: tmpfs in a mount namespace of its own, which nobody else sees.

A process that reads orders until the end of its input holds the namespace. So the mounts are gone when this one ends,
however it ends. Members and tests reach them through `/proc/<pid>/root`.
"""

import contextlib
import os
import subprocess
from pathlib import Path
from types import TracebackType

MIB = 1024 * 1024
# With room for a segment, its reserve and some more; a disk of this size is low below 5 % of it.
DISK_BYTES = 192 * MIB
FILL_BYTES = (MIB, 4096)  # written until nothing more fits: large pieces, then single pages
_HOLD = """
for place; do mount -t tmpfs -o size=$SIZE,mode=0700 tmpfs "$place"; done
echo mounted
while read -r mode place; do mount -o "remount,$mode" "$place"; echo "$mode"; done
"""


class SmallDisks:
    """File systems by member. Close it after the members, or use it as a context."""

    def __init__(self, directory: Path, members: int, *, disk_bytes: int = DISK_BYTES) -> None:
        """Mount one for each member, or fail with what `mount` says."""
        places = {member: directory / f"disk-{member}" for member in range(1, members + 1)}
        for place in places.values():
            place.mkdir(parents=True)
        as_root = () if os.geteuid() == 0 else ("--map-root-user",)
        self._keeper = subprocess.Popen(
            ["unshare", *as_root, "--mount", "sh", "-ec", _HOLD, "sh", *map(str, places.values())],
            env={**os.environ, "SIZE": str(disk_bytes)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._keeper.stdout is not None
        said = self._keeper.stdout.readline().strip()
        if said != "mounted":
            self.close()
            raise AssertionError(f"these tests need to mount a tmpfs: {said}")
        self._places = places
        root = Path(f"/proc/{self._keeper.pid}/root")
        self._paths = {
            member: root / place.absolute().relative_to("/") for member, place in places.items()
        }

    def __enter__(self) -> "SmallDisks":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def data_dir(self, member: int) -> Path:
        """Return where the member keeps its log; nothing else may be in it."""
        return self._paths[member] / "data"

    def free_bytes(self, member: int) -> int:
        """Return what is left."""
        space = os.statvfs(self._paths[member])
        return space.f_bavail * space.f_frsize

    def fill(self, member: int) -> None:
        """Take what is left, to the last page."""
        with (self._paths[member] / "filler").open("ab", buffering=0) as filler:
            for size in FILL_BYTES:
                with contextlib.suppress(OSError):
                    while filler.write(bytes(size)) == size:
                        pass
        assert self.free_bytes(member) == 0

    def fill_without_reserve(self, member: int) -> None:
        """Take what is left, and what a start of the member, which must be down, would get back for its reserve."""
        for reserve in self._reserves(member):
            reserve.unlink()
        self.fill(member)

    def has_reserve(self, member: int) -> bool:
        """Return whether the member has room for its next segment."""
        return bool(self._reserves(member))

    def free(self, member: int) -> None:
        """Give back what was taken."""
        (self._paths[member] / "filler").unlink()

    def set_read_only(self, member: int, *, read_only: bool) -> None:
        """Let the file system refuse every change, or take them again. No file of it may be open for writing."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        mode = "ro" if read_only else "rw"
        self._keeper.stdin.write(f"{mode} {self._places[member]}\n")
        self._keeper.stdin.flush()
        assert self._keeper.stdout.readline().strip() == mode

    def _reserves(self, member: int) -> list[Path]:
        return list(self.data_dir(member).glob("group-0/gen-*/reserve"))

    def close(self) -> None:
        """End the namespace, and the file systems with it."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.stdout.close()
        self._keeper.wait(10)
