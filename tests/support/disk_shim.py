"""Runs a process on a disk that can forget and fail: `disk_shim.c`, compiled here and preloaded into it.

The process itself is unchanged. What it did to files below its root is recorded beside them, for `power_loss.py`;
faults are switched on and off while it runs.
"""

import ctypes
import functools
import mmap
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("disk_shim.c")
COMPILERS = ("cc", "gcc", "clang")
SIDE_SUFFIX = ".undo"


@functools.cache
def library() -> Path:
    """Compile the shim once for this run of the tests, and return the library."""
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    assert compiler, f"these tests need a C compiler ({', '.join(COMPILERS)}) on the PATH"
    target = Path(tempfile.mkdtemp(prefix="sybline-disk-shim-")) / "disk_shim.so"
    command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(target), str(SOURCE)]
    done = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return target


class Control(ctypes.Structure):
    """The page that the shim looks at before each operation; an error of 0 is no fault. As `struct control`."""

    _fields_ = [
        ("only", ctypes.c_char * 256),
        ("open_error", ctypes.c_int32),
        ("read_error", ctypes.c_int32),
        ("write_error", ctypes.c_int32),
        ("sync_error", ctypes.c_int32),
        ("name_error", ctypes.c_int32),
        ("lose_syncs", ctypes.c_int32),
        ("wall_clock_s", ctypes.c_int64),
        ("syncs", ctypes.c_int64),
        ("faults", ctypes.c_int64),
    ]


class DiskShim:
    """The shim below one process, over all its lives. `root`: the directory whose operations it sees."""

    def __init__(self, root: Path, *, is_recording: bool = True) -> None:
        """`is_recording`: keep what a power loss needs; faults alone do without."""
        self.root = root.absolute()
        self.root.mkdir(parents=True, exist_ok=True)  # its own name is not ours to lose
        self.side = self.root.with_name(self.root.name + SIDE_SUFFIX)
        self._is_recording = is_recording
        if is_recording:
            self.side.mkdir(exist_ok=True)
        page = self.root.with_name(self.root.name + ".control")
        page.write_bytes(bytes(mmap.PAGESIZE))
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.control = Control.from_buffer(self._page)
        self._page_path = page

    def environment(self) -> dict[str, str]:
        """Return the variables that put the shim below a process."""
        variables = {
            "LD_PRELOAD": str(library()),
            "SHIM_ROOT": str(self.root),
            "SHIM_CONTROL": str(self._page_path),
        }
        if self._is_recording:
            variables["SHIM_SIDE"] = str(self.side)
        return variables

    def fail(self, *, only: str = "", **errors: int) -> None:
        """Let operations on paths that contain `only` fail from now on: `sync_error=errno.EIO` and the like."""
        self.control.only = os.fsencode(only)
        for name, number in errors.items():
            setattr(self.control, name, number)

    def heal(self) -> None:
        """Let nothing fail any more."""
        for name in ("open_error", "read_error", "write_error", "sync_error", "name_error"):
            setattr(self.control, name, 0)
        self.control.lose_syncs = 0
        self.control.only = b""
