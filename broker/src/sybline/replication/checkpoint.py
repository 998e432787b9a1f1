"""The root file of a checkpoint: which entry it is of, what else it needs, and the root of the state.

Everything of it is under one checksum. The pages that the root leads to are in page files (`page_files.py`), which it
names with sizes and checksums. Members and segments are opaque here.
"""

import contextlib
import struct
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from sybline.replication.files import Files
from sybline.replication.page_files import PageFileFacts, page_file_name
from sybline.replication.storage_errors import CorruptData

MAGIC = b"SYBLCHKP"
FORMAT_VERSION = 1
PREFIX = "checkpoint-"
# magic, crc of the rest, version, cluster, group, index, term, next page, bytes of the configuration, rows of
# needed segments, rows of page files, bytes of the state's root
_HEADER = struct.Struct("<8sIH16sIQQQIIIQ")
_SUMMED_FROM = 12
_NEEDED = struct.Struct("<QQ")  # first and last sequence
_FILE = struct.Struct("<QQI")  # number, bytes, checksum


@dataclass(frozen=True, slots=True)
class CheckpointOwner:
    """The group a checkpoint belongs to."""

    cluster: bytes
    group: int


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What a root file says; index 0: there is no checkpoint."""

    index: int
    term: int
    root_bytes: int  # of the root file
    configuration: bytes = b""  # of the members, as of the index
    needed: tuple[
        tuple[int, int], ...
    ] = ()  # first and last sequence of segments that must be there
    files: tuple[PageFileFacts, ...] = ()
    next_page: int = 1  # no page has this number or a larger one

    @property
    def total_bytes(self) -> int:
        """Return the size of the root file and of all page files."""
        return self.root_bytes + sum(file.total_bytes for file in self.files)

    def names(self) -> list[tuple[str, int]]:
        """Return the names of all files of the checkpoint with their sizes, the root first."""
        if not self.index:
            return []
        pages = [(page_file_name(file.number), file.total_bytes) for file in self.files]
        return [(checkpoint_name(self.index), self.root_bytes), *pages]


NO_CHECKPOINT = CheckpointFacts(0, 0, 0)


def checkpoint_name(index: int) -> str:
    """Return the name of the root file of the checkpoint at an index."""
    return f"{PREFIX}{index:020d}"


def parse_checkpoint_name(name: str) -> int | None:
    """Return the index in a file name, or None when it is not the name of a root file."""
    digits = name.removeprefix(PREFIX)
    if digits == name or not digits.isdecimal() or checkpoint_name(int(digits)) != name:
        return None
    return int(digits)


def write_root(
    files: Files, path: Path, owner: CheckpointOwner, facts: CheckpointFacts, state: bytes
) -> CheckpointFacts:
    """Write, sync and read back; only then give it its name, durably. Return the facts with the size.

    The page files must have their names, and durably: names may reach the disk in any order.

    Raises:
        OSError, CorruptData: the name was not given.
    """
    rest = _HEADER.pack(
        MAGIC, 0, FORMAT_VERSION, owner.cluster, owner.group, facts.index, facts.term,
        facts.next_page, len(facts.configuration), len(facts.needed), len(facts.files), len(state),
    )[_SUMMED_FROM:]  # fmt: skip
    rest += facts.configuration
    rest += b"".join(_NEEDED.pack(*row) for row in facts.needed)
    rest += b"".join(_FILE.pack(f.number, f.total_bytes, f.checksum) for f in facts.files)
    head = MAGIC + struct.pack("<I", crc32(state, crc32(rest))) + rest
    temporary = path.with_name(path.name + ".tmp")
    with contextlib.closing(files.create(temporary)) as file:
        file.write_at(0, [head, state])
        file.sync()
    found, _ = load_root(files, temporary, owner)
    files.rename(temporary, path)
    files.sync_directory(path.parent)
    return found


def load_root(files: Files, path: Path, owner: CheckpointOwner) -> tuple[CheckpointFacts, bytes]:
    """Return what the root file says, and the root of the state; verified.

    Raises:
        CorruptData: damaged, of a newer format, or of another group.
    """
    with contextlib.closing(files.open(path)) as file:
        data = file.read_at(0, file.size())
    if len(data) < _HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise CorruptData(path, 0, "not a checkpoint")
    _, crc, version, cluster, group, *numbers = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION:
        raise CorruptData(
            path, _SUMMED_FROM, f"format version {version}, this program knows {FORMAT_VERSION}",
            "Start it with the version of Sybline that wrote it, or a newer one.",
        )  # fmt: skip
    if (cluster, group) != (owner.cluster, owner.group):
        raise CorruptData(path, _SUMMED_FROM, "the checkpoint belongs to another cluster or group")
    index, term, next_page, configuration_bytes, needed_rows, file_rows, state_bytes = numbers
    needed_at = _HEADER.size + configuration_bytes
    files_at = needed_at + needed_rows * _NEEDED.size
    state_at = files_at + file_rows * _FILE.size
    total = state_at + state_bytes
    if len(data) != total:
        raise CorruptData(
            path, min(total, len(data)), f"{len(data)} bytes, the header says {total}"
        )
    if crc32(memoryview(data)[_SUMMED_FROM:]) != crc:
        raise CorruptData(path, 0, "the checkpoint fails its checksum")
    facts = CheckpointFacts(
        index, term, total,
        data[_HEADER.size : needed_at],
        tuple(_NEEDED.iter_unpack(data[needed_at:files_at])),
        tuple(PageFileFacts(*row) for row in _FILE.iter_unpack(data[files_at:state_at])),
        next_page,
    )  # fmt: skip
    return facts, data[state_at:]
