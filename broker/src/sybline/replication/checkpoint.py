"""Checkpoints: the state at a log index, in a file that gets its name only when it is whole, durable and read back."""

import contextlib
import struct
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from sybline.replication.files import File, Files
from sybline.replication.storage_errors import CorruptData

MAGIC = b"SYBLCHKP"
FORMAT_VERSION = 1
PREFIX = "checkpoint-"
READ_BYTES = 1024 * 1024
_HEADER = struct.Struct(
    "<8sIH16sIQQQ"
)  # magic, crc of the rest, version, cluster, group, index, term, state bytes
_SUMMED_FROM = 12


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What a checkpoint file says of itself."""

    index: int
    term: int
    total_bytes: int  # of the file


def checkpoint_name(index: int) -> str:
    """Return the file name of the checkpoint at an index."""
    return f"{PREFIX}{index:020d}"


def parse_checkpoint_name(name: str) -> int | None:
    """Return the index in a file name, or None when it is not the name of a checkpoint."""
    digits = name.removeprefix(PREFIX)
    if digits == name or not digits.isdecimal() or checkpoint_name(int(digits)) != name:
        return None
    return int(digits)


@dataclass(frozen=True, slots=True)
class CheckpointOwner:
    """The group a checkpoint belongs to."""

    cluster: bytes
    group: int


def write_checkpoint(
    files: Files, path: Path, owner: CheckpointOwner, *, index: int, term: int, state: bytes
) -> CheckpointFacts:
    """Write, sync and read back; only then give it its name. The checkpoint before is not touched.

    Raises:
        OSError, CorruptData: the name was not given.
    """
    rest = _HEADER.pack(
        MAGIC, 0, FORMAT_VERSION, owner.cluster, owner.group, index, term, len(state)
    )[_SUMMED_FROM:]
    head = MAGIC + struct.pack("<I", crc32(state, crc32(rest))) + rest
    temporary = path.with_name(path.name + ".tmp")
    with contextlib.closing(files.create(temporary)) as file:
        file.write_at(0, [head, state])
        file.sync()
    facts = check_checkpoint(files, temporary, owner)
    files.rename(temporary, path)
    files.sync_directory(path.parent)
    return facts


def check_checkpoint(files: Files, path: Path, owner: CheckpointOwner) -> CheckpointFacts:
    """Verify the whole file, without keeping the state.

    Raises:
        CorruptData: damaged, of a newer format, or of another group.
    """
    with contextlib.closing(files.open(path)) as file:
        facts, expected = _load_header(file, path, owner)
        crc = crc32(file.read_at(_SUMMED_FROM, _HEADER.size - _SUMMED_FROM))
        for offset in range(_HEADER.size, facts.total_bytes, READ_BYTES):
            size = min(READ_BYTES, facts.total_bytes - offset)
            crc = crc32(file.read_at(offset, size), crc)
    if crc != expected:
        raise CorruptData(path, 0, "the checkpoint fails its checksum")
    return facts


def load_state(files: Files, path: Path, owner: CheckpointOwner) -> bytes:
    """Return the state in a checkpoint, verified.

    Raises:
        CorruptData: as `check_checkpoint`.
    """
    with contextlib.closing(files.open(path)) as file:
        facts, expected = _load_header(file, path, owner)
        rest = file.read_at(_SUMMED_FROM, _HEADER.size - _SUMMED_FROM)
        state = file.read_at(_HEADER.size, facts.total_bytes - _HEADER.size)
    if crc32(state, crc32(rest)) != expected:
        raise CorruptData(path, 0, "the checkpoint fails its checksum")
    return state


def _load_header(file: File, path: Path, owner: CheckpointOwner) -> tuple[CheckpointFacts, int]:
    """Return what the header says, not yet verified, and the expected checksum."""
    data = file.read_at(0, _HEADER.size)
    if len(data) < _HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise CorruptData(path, 0, "not a checkpoint")
    _, crc, version, cluster, group, index, term, state_bytes = _HEADER.unpack(data)
    if version != FORMAT_VERSION:
        raise CorruptData(
            path, _SUMMED_FROM, f"format version {version}, this program knows {FORMAT_VERSION}",
            "Start it with the version of Sybline that wrote it, or a newer one.",
        )  # fmt: skip
    if (cluster, group) != (owner.cluster, owner.group):
        raise CorruptData(path, _SUMMED_FROM, "the checkpoint belongs to another cluster or group")
    total = _HEADER.size + state_bytes
    if file.size() != total:
        raise CorruptData(
            path, min(total, file.size()), f"{file.size()} bytes, the header says {total}"
        )
    return CheckpointFacts(index, term, total), crc
