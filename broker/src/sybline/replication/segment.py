"""One file of the log: its header, and what is known of it in memory.

A segment holds no term and no vote of a member, so its bytes can be copied to another member of the same cluster.
"""

import struct
from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path
from zlib import crc32

from sybline.replication.files import File
from sybline.replication.storage_errors import CorruptData

MAGIC = b"SYBLLOG\n"
FORMAT_VERSION = 1
_HEADER = struct.Struct("<8sH16sIQQQQQI")  # the fields of SegmentHeader in their order
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size
PREFIX = "log-"


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The first bytes of a segment, written once."""

    cluster: bytes  # 16 bytes, hash of the cluster id
    group: int
    sequence: int  # rises by one from segment to segment, never reused in a generation
    first: int  # index that the next entry had when the segment began
    term_before: int  # term of the entry before `first`
    length_before: int  # valid bytes of the segment before; 0 for the first
    allocated: (
        int  # file length made durable at creation; 0: nothing was reserved behind its records
    )
    seed: int  # of the checksums of its records

    def encode(self) -> bytes:
        """Return the bytes of the header."""
        data = _HEADER.pack(
            MAGIC, FORMAT_VERSION, self.cluster, self.group, self.sequence, self.first,
            self.term_before, self.length_before, self.allocated, self.seed,
        )  # fmt: skip
        return data + _CRC.pack(crc32(data))


@dataclass(slots=True)
class Segment:
    """A segment as the journal knows it."""

    path: Path
    header: SegmentHeader
    length: int  # valid bytes, those of a write in flight included
    base: int  # index of its first live entry, or of the next one while it has none
    offsets: "array[int]" = field(default_factory=lambda: array("I"))  # of its live entries

    @property
    def next_index(self) -> int:
        """Return the index after its last live entry."""
        return self.base + len(self.offsets)

    @property
    def seed(self) -> int:
        """Return the seed of the checksums of its records."""
        return self.header.seed

    def at(self, index: int) -> int | None:
        """Return the number of the record of a live entry; None: it is not here."""
        number = index - self.base
        return number if 0 <= number < len(self.offsets) else None

    def truncate_from(self, index: int) -> None:
        """Forget the entries from `index` on; their bytes stay until the segment goes."""
        del self.offsets[max(0, index - self.base) :]
        self.base = min(self.base, index)


def segment_name(sequence: int) -> str:
    """Return the file name of a segment."""
    return f"{PREFIX}{sequence:010d}"


def parse_segment_name(name: str) -> int | None:
    """Return the sequence number in a file name, or None when it is not the name of a segment."""
    digits = name.removeprefix(PREFIX)
    if digits == name or not digits.isdecimal() or segment_name(int(digits)) != name:
        return None
    return int(digits)


def load_header(file: File, path: Path, *, cluster: bytes, group: int) -> SegmentHeader:
    """Read and check the header of a segment.

    Raises:
        CorruptData: damaged, of a newer format, or not of this cluster and group.
    """
    data = file.read_at(0, HEADER_BYTES)
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptData(path, 0, "not a log segment")
    if len(data) < HEADER_BYTES:
        raise CorruptData(path, len(data), "the header of the segment is cut off")
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if crc32(data[: _HEADER.size]) != crc:
        raise CorruptData(path, 0, "the header of the segment fails its checksum")
    _, version, *fields = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION:
        raise CorruptData(
            path, len(MAGIC), f"format version {version}, this program knows {FORMAT_VERSION}",
            "Start it with the version of Sybline that wrote it, or a newer one.",
        )  # fmt: skip
    header = SegmentHeader(*fields)
    if (header.cluster, header.group) != (cluster, group):
        raise CorruptData(path, len(MAGIC), "the segment belongs to another cluster or group")
    return header


def with_allocation(header: SegmentHeader, allocated: int) -> SegmentHeader:
    """Return the header for a copy of the segment with another reserved length."""
    return replace(header, allocated=allocated)
