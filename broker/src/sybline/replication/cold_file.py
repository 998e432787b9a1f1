"""Files of the cold tier: what a member keeps of its log only for bodies that queues still need.

A cold file is a segment as it was written, or a rewritten one, `cold-<first>-<last>-<number>`, that holds the needed
records of segments `first` to `last`. Beside each stands a sidecar with the places of its records, so that a start does
not read the bodies. A sidecar is never needed: it can be made anew from its file.
"""

import contextlib
import struct
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.files import File, Files, replace_file
from sybline.replication.records import ENTRY, PACKED, scan_records
from sybline.replication.segment import HEADER_BYTES, Segment, parse_segment_name
from sybline.replication.storage_errors import CorruptData
from sybline.state_machine.columns import KEYS, NUMBERS, column_bytes, column_from

MAGIC: Final = b"SYBLCOLD"
SIDECAR_MAGIC: Final = b"SYBLINDX"
FORMAT_VERSION: Final = 1
PREFIX: Final = "cold-"
SIDECAR_SUFFIX: Final = ".index"
_HEADER = struct.Struct("<8sH16sIQQI")  # magic, version, cluster, group, first, last sequence, seed
_CRC = struct.Struct("<I")
COLD_HEADER_BYTES: Final = _HEADER.size + _CRC.size
# magic, version, cluster, group, first and last sequence, seed, file bytes, weight, first index, entries, consecutive
_SIDECAR = struct.Struct("<8sH16sIQQIQQQI?")


@dataclass(frozen=True, slots=True)
class ColdName:
    """What a file name says: the segments it stands for. `number` tells apart files for the same ones."""

    first: int
    last: int
    number: int = 0  # 0: a segment as it was written

    def __str__(self) -> str:
        if not self.number:
            return f"log-{self.first:010d}"
        return f"{PREFIX}{self.first:010d}-{self.last:010d}-{self.number:010d}"


def parse_cold_name(name: str) -> ColdName | None:
    """Return what the name of a rewritten file says, or None when it is not one."""
    parts = name.removeprefix(PREFIX).split("-")
    if not name.startswith(PREFIX) or len(parts) != 3 or not all(p.isdecimal() for p in parts):
        return None
    found = ColdName(*map(int, parts))
    return found if str(found) == name and 0 < found.first <= found.last and found.number else None


def parse_sidecar_name(name: str) -> ColdName | None:
    """Return the file that a sidecar belongs to, or None when it is no name of a sidecar."""
    base = name.removesuffix(SIDECAR_SUFFIX)
    if base == name:
        return None
    sequence = parse_segment_name(base)
    return ColdName(sequence, sequence) if sequence is not None else parse_cold_name(base)


@dataclass(frozen=True, slots=True)
class Needs:
    """Which messages of a cold file the state needed as of an entry; it may need fewer since, never others."""

    as_of: int  # index of the entry that was applied last
    positions: "array[int]"  # of runs of messages, rising; empty when `is_counted_only`
    counts: "array[int]"
    record_bytes: int  # about what their records take when nothing else is in them
    is_counted_only: bool = False  # the runs were not kept: too many for a rewrite

    @property
    def is_dead(self) -> bool:
        """Return whether nothing was needed."""
        return not self.positions and not self.is_counted_only


@dataclass(slots=True, eq=False)
class ColdFile:
    """One file of the cold tier and the places of its records."""

    path: Path
    name: ColdName
    seed: int
    length: int  # valid bytes
    base: int  # index of its first entry
    offsets: "array[int]"
    indexes: "array[int] | None"  # of its entries, from `base` on; None: they are consecutive
    has_sidecar: bool
    allocated: int  # bytes on disk
    weight: int  # `record_bytes` of what it was written for; its size, if it was not rewritten
    needs: Needs | None = None  # as found last

    @property
    def sidecar_path(self) -> Path:
        """Return where the sidecar is."""
        return self.path.with_name(self.path.name + SIDECAR_SUFFIX)

    @property
    def sidecar_bytes(self) -> int:
        """Return the size of the sidecar."""
        columns = 1 if self.indexes is None else 2
        return _SIDECAR.size + columns * len(self.offsets) * self.offsets.itemsize + _CRC.size

    @property
    def next_index(self) -> int:
        """Return the index after its last entry; `base` when it has none."""
        if not self.offsets:
            return self.base
        return self.base + (self.indexes[-1] + 1 if self.indexes is not None else len(self.offsets))

    @property
    def first_record(self) -> int:
        """Return the offset behind the header."""
        return COLD_HEADER_BYTES if self.name.number else HEADER_BYTES

    def record_after(self, offset: int) -> int:
        """Return where the first record at or behind an offset begins; the end of the file if there is none."""
        at = bisect_left(self.offsets, offset)
        return self.offsets[at] if at < len(self.offsets) else self.length

    def at(self, index: int) -> int | None:
        """Return the number of the record of an entry; None: it is not here."""
        number = index - self.base
        if self.indexes is not None:
            number = bisect_left(self.indexes, index - self.base) if index >= self.base else -1
            if not 0 <= number < len(self.indexes) or self.indexes[number] != index - self.base:
                return None
        return number if 0 <= number < len(self.offsets) else None

    def cut_at(self, index: int) -> None:
        """Forget the entries from `index` on: later files hold what replaced them."""
        keep = max(0, index - self.base)
        if self.indexes is not None:
            keep = bisect_left(self.indexes, keep)
            del self.indexes[keep:]
        del self.offsets[keep:]

    @classmethod
    def of_segment(cls, segment: Segment) -> "ColdFile":
        """Return a segment of the log as a cold file."""
        sequence = segment.header.sequence
        size = max(segment.length, segment.header.allocated)
        return cls(
            segment.path, ColdName(sequence, sequence), segment.header.seed, segment.length,
            segment.base, segment.offsets, None, has_sidecar=False, allocated=size, weight=size,
        )  # fmt: skip


# ---------------------------------------------------------------------- rewritten files


def encode_cold_header(owner: CheckpointOwner, name: ColdName, seed: int) -> bytes:
    """Return the first bytes of a rewritten file."""
    data = _HEADER.pack(
        MAGIC, FORMAT_VERSION, owner.cluster, owner.group, name.first, name.last, seed
    )
    return data + _CRC.pack(crc32(data))


def load_cold_header(file: File, path: Path, owner: CheckpointOwner, name: ColdName) -> int:
    """Check the header of a rewritten file and return its seed.

    Raises:
        CorruptData: damaged, of a newer format, or not the file that its name says.
    """
    data = file.read_at(0, COLD_HEADER_BYTES)
    if len(data) < COLD_HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
        raise CorruptData(path, 0, "not a cold file of the log")
    if _CRC.unpack_from(data, _HEADER.size)[0] != crc32(data[: _HEADER.size]):
        raise CorruptData(path, 0, "the header of the file fails its checksum")
    _, version, cluster, group, first, last, seed = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION:
        raise CorruptData(
            path, len(MAGIC), f"format version {version}, this program knows {FORMAT_VERSION}",
            "Start it with the version of Sybline that wrote it, or a newer one.",
        )  # fmt: skip
    if (cluster, group) != (owner.cluster, owner.group):
        raise CorruptData(path, len(MAGIC), "the file belongs to another cluster or group")
    if (first, last) != (name.first, name.last):
        raise CorruptData(path, len(MAGIC), f"the file holds segments {first} to {last}")
    return int(seed)


def scan_rewritten(file: File, path: Path, name: ColdName, seed: int) -> ColdFile:
    """Verify every record of a rewritten file and return where they are.

    Raises:
        CorruptData: a bad record, or one where it does not belong.
    """
    offsets, indexes = array(NUMBERS), array(KEYS)
    size = file.size()

    def visit(kind: int, _entry_kind: int, index: int, _term: int, offset: int) -> None:
        if kind not in (ENTRY, PACKED) or (indexes and index <= indexes[-1]):
            raise CorruptData(path, offset, "a record that makes no sense")
        offsets.append(offset)
        indexes.append(index)

    end = scan_records(file, seed=seed, start=COLD_HEADER_BYTES, end=size, visit=visit)
    if end != size:
        raise CorruptData(path, end, "a bad record")
    base = indexes[0] if indexes else 0
    relative = array(NUMBERS, (index - base for index in indexes))
    return ColdFile(
        path, name, seed, size, base, offsets, relative,
        has_sidecar=False, allocated=size, weight=size,
    )  # fmt: skip


# ---------------------------------------------------------------------- sidecars


def write_sidecar(files: Files, owner: CheckpointOwner, cold: ColdFile) -> None:
    """Write the sidecar durably; one that is there is replaced.

    Raises:
        OSError: the disk; what was there stays.
    """
    indexes = cold.indexes
    head = _SIDECAR.pack(
        SIDECAR_MAGIC, FORMAT_VERSION, owner.cluster, owner.group, cold.name.first, cold.name.last,
        cold.seed, cold.length, cold.weight, cold.base, len(cold.offsets), indexes is None,
    )  # fmt: skip
    data = head + column_bytes(cold.offsets)
    if indexes is not None:
        data += column_bytes(indexes)
    replace_file(files, cold.sidecar_path, [data, _CRC.pack(crc32(data))])


def load_sidecar(
    files: Files, path: Path, owner: CheckpointOwner, name: ColdName, *, seed: int, size: int
) -> ColdFile | None:
    """Return the cold file that a sidecar tells of; None: there is none, or not a sound one of this very file.

    `seed` and `size`: of the file at `path`.
    """
    sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
    if not files.exists(sidecar):
        return None
    with contextlib.closing(files.open(sidecar)) as file:
        data = file.read_at(0, file.size())
    end = len(data) - _CRC.size
    if end < _SIDECAR.size or _CRC.unpack_from(data, end)[0] != crc32(memoryview(data)[:end]):
        return None
    magic, version, *whose, first, last, its_seed, length, weight, base, entries, consecutive = (
        _SIDECAR.unpack_from(data)
    )
    row_bytes = array(NUMBERS).itemsize * (1 if consecutive else 2)
    if (
        (magic, version, *whose) != (SIDECAR_MAGIC, FORMAT_VERSION, owner.cluster, owner.group)
        or (first, last, its_seed) != (name.first, name.last, seed)
        or length > size
        or end != _SIDECAR.size + entries * row_bytes
    ):
        return None
    numbers = column_from(NUMBERS, data[_SIDECAR.size : end])
    indexes = None if consecutive else numbers[entries:]
    return ColdFile(
        path, name, seed, length, base, numbers[:entries], indexes,
        has_sidecar=True, allocated=size, weight=weight,
    )  # fmt: skip


# ---------------------------------------------------------------------- verifying


def verify_records(files: Files, cold: ColdFile, start: int, end: int) -> None:
    """Read and verify the records between two offsets at which records begin or the file ends.

    Raises:
        CorruptData: one is damaged; the member must stop.
    """
    with contextlib.closing(files.open(cold.path)) as file:
        sound = scan_records(file, seed=cold.seed, start=start, end=end, visit=lambda *_: None)
    if sound != end:
        raise CorruptData(cold.path, sound, "a record is damaged")
