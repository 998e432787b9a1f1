"""Records of the log on disk: how one is encoded, how a file of them is walked, how a torn tail is told from damage.

offset  bytes
0       4       CRC-32 of everything after it, started with the seed of the file
4       4       payload bytes
8       1       record kind: ENTRY, TRUNC, BATCH, or PACKED: an ENTRY whose payload is compressed, in cold files only
9       1       entry kind: command, no-op, configuration
10      8       ENTRY: log index; TRUNC: first index removed; BATCH: file length known durable when it was written
18      8       ENTRY: term; TRUNC: term of the entry before
26      …       payload

The seed makes records inside a client's payload, and bytes from another life of the same blocks, invalid.
"""

import struct
from collections.abc import Callable
from zlib import crc32

import msgspec

from sybline.replication.files import File
from sybline.replication.packing import unpack

COMMAND, NO_OP, CONFIGURATION = 0, 1, 2
ENTRY, TRUNC, BATCH, PACKED = 1, 2, 3, 4
RECORD = struct.Struct("<IIBBQQ")
RECORD_BYTES = RECORD.size
SCAN_BYTES = 4 * 1024 * 1024
JOIN_BYTES = 32 * 1024  # a smaller part is cheaper to copy than to hand to the kernel by itself
_SUMMED = struct.Struct("<IBBQQ")
_CRC = struct.Struct("<I")
_BATCH_SIGN = bytes([0, 0, 0, 0, BATCH, 0])  # bytes 4 to 9 of every BATCH record


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log."""

    index: int
    term: int
    kind: int  # COMMAND, NO_OP or CONFIGURATION
    payload: bytes


class Truncation(msgspec.Struct, frozen=True, gc=False):
    """The entries from `index` on are removed."""

    index: int
    term_before: int


Record = Entry | Truncation
Visit = Callable[[int, int, int, int, int], None]  # record kind, entry kind, index, term, offset


def record_bytes(record: Record) -> int:
    """Return the size of a record on disk."""
    return RECORD_BYTES + (len(record.payload) if isinstance(record, Entry) else 0)


def encode_batch_mark(seed: int, durable: int) -> bytes:
    """Return the record that begins each write and names the file length known durable."""
    return _encode_head(seed, BATCH, 0, durable, 0, b"")


def encode_records(seed: int, durable: int, records: list[Record]) -> list[bytes]:
    """Return one write as parts: small ones joined, large payloads by reference."""
    parts: list[bytes] = []
    small = [encode_batch_mark(seed, durable)]
    for record in records:
        if isinstance(record, Truncation):
            small.append(_encode_head(seed, TRUNC, 0, record.index, record.term_before, b""))
            continue
        payload = record.payload
        small.append(_encode_head(seed, ENTRY, record.kind, record.index, record.term, payload))
        if len(payload) < JOIN_BYTES:
            small.append(payload)
        else:
            parts += (b"".join(small), payload)
            small = []
    if small:
        parts.append(b"".join(small))
    return parts


def encode_entry(seed: int, entry: Entry, packed: bytes | None = None) -> list[bytes]:
    """Return one entry as the parts of its record; `packed`: its payload, compressed, to be stored instead."""
    kind, payload = (ENTRY, entry.payload) if packed is None else (PACKED, packed)
    return [_encode_head(seed, kind, entry.kind, entry.index, entry.term, payload), payload]


def _encode_head(
    seed: int, kind: int, entry_kind: int, index: int, term: int, payload: bytes
) -> bytes:
    rest = _SUMMED.pack(len(payload), kind, entry_kind, index, term)
    return _CRC.pack(crc32(payload, crc32(rest, seed))) + rest


def decode_entry(data: bytes, at: int, seed: int) -> Entry | None:
    """Return the entry whose record begins at `at`, or None when it is not a whole, sound record of one."""
    if at + RECORD_BYTES > len(data):
        return None
    crc, size, kind, entry_kind, index, term = RECORD.unpack_from(data, at)
    end = at + RECORD_BYTES + size
    if end > len(data) or crc32(memoryview(data)[at + 4 : end], seed) != crc:
        return None
    payload: bytes | None = data[at + RECORD_BYTES : end]
    if kind == PACKED:
        payload = unpack(payload or b"")
    if kind not in (ENTRY, PACKED) or payload is None:
        return None
    return Entry(index, term, entry_kind, payload)


def payload_bytes_at(data: bytes, at: int) -> int:
    """Return the payload size that the record at `at` claims; not verified."""
    return int(RECORD.unpack_from(data, at)[1])


def scan_records(file: File, *, seed: int, start: int, end: int, visit: Visit) -> int:
    """Visit the records between two offsets and return where the sound ones end.

    Memory: one window of 4 MiB, or one record if that is larger. Nothing is kept of the payloads.
    """
    position = base = start
    window = memoryview(b"")
    while position + RECORD_BYTES <= end:
        at = position - base
        if at + RECORD_BYTES > len(window):
            window, base, at = _load(file, position, end, SCAN_BYTES), position, 0
            if len(window) < RECORD_BYTES:
                break
        crc, size, kind, entry_kind, index, term = RECORD.unpack_from(window, at)
        stop = at + RECORD_BYTES + size
        if stop > len(window):
            window, base, at = _load(file, position, end, max(SCAN_BYTES, stop - at)), position, 0
            stop = RECORD_BYTES + size
            if len(window) < stop:
                break
        if kind == 0 or crc32(window[at + 4 : stop], seed) != crc:
            break
        visit(kind, entry_kind, index, term, position)
        position += RECORD_BYTES + size
    return position


def _load(file: File, position: int, end: int, size: int) -> memoryview:
    return memoryview(file.read_at(position, min(size, end - position)))


def find_later_promise(file: File, *, seed: int, position: int, end: int) -> int | None:
    """Return the length named durable by a BATCH record after `position`, if it reaches beyond; else None.

    A bad record at `position` with such a promise is damage; without one it is the tail of an unfinished write.
    """
    bad = position
    while position + RECORD_BYTES <= end:
        window = file.read_at(position, min(SCAN_BYTES, end - position))
        sign = window.find(_BATCH_SIGN, 4)
        while sign >= 0:
            at = sign - 4
            if at + RECORD_BYTES <= len(window):
                crc, _, _, _, durable, _ = RECORD.unpack_from(window, at)
                sound = crc32(window[at + 4 : at + RECORD_BYTES], seed) == crc
                if sound and durable > bad:
                    return int(durable)
            sign = window.find(_BATCH_SIGN, sign + 1)
        if len(window) <= RECORD_BYTES:
            break
        position += len(window) - RECORD_BYTES
    return None
