"""Writing neighbouring cold files anew as one, with the records that the state needs and nothing else.

Runs in a thread. What it reads does not change meanwhile, and nothing is removed here: until the new file has its name
durably, a crash leaves the old ones as they were.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from sybline import limits
from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.cold_file import (
    COLD_HEADER_BYTES,
    ColdFile,
    ColdName,
    encode_cold_header,
    scan_rewritten,
    write_sidecar,
)
from sybline.replication.files import NO_SPACE, File, Files
from sybline.replication.packing import Packer
from sybline.replication.records import Entry, encode_entry
from sybline.replication.segment_reader import SegmentReader
from sybline.replication.storage_errors import CorruptData

WRITE_BYTES: Final = 1 * limits.MIB  # collected before they are written
_Runs = Iterable[tuple[int, int]]
Thin = Callable[[bytes, _Runs], bytes | None]  # payload, numbers and counts of the messages to keep


@dataclass(slots=True)
class Rewrite:
    """One rewrite; `result` is set when the new file is durable, and stays None when the disk was full."""

    name: ColdName
    seed: int
    sources: list[ColdFile]
    thin: Thin
    compress: bool
    result: ColdFile | None = None

    def run(self, files: Files, path: Path, owner: CheckpointOwner) -> None:
        """Write, sync and read back the new file, name it, and write its sidecar. `path` is the directory.

        Raises:
            CorruptData: a source is damaged; the member must stop.
            OSError: the disk, unless it is full: then nothing has changed.
        """
        target = path / str(self.name)
        temporary = path / f"{self.name}.tmp"
        try:
            written = self._write(files, temporary, owner)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            if files.exists(temporary):
                files.remove(temporary)
            return
        files.rename(temporary, target)
        files.sync_directory(path)
        written.path = target
        written.weight = sum(needs.record_bytes for s in self.sources if (needs := s.needs))
        write_sidecar_if_room(files, owner, written)
        self.result = written

    def _write(self, files: Files, temporary: Path, owner: CheckpointOwner) -> ColdFile:
        packer = Packer() if self.compress else None
        with contextlib.closing(files.create(temporary)) as file:
            file.write_at(0, [encode_cold_header(owner, self.name, self.seed)])
            parts: list[bytes] = []
            at = size = COLD_HEADER_BYTES
            for entry in self._entries(files):
                packed = packer.pack(entry.payload) if packer is not None else None
                record = encode_entry(self.seed, entry, packed)
                parts += record
                size += sum(map(len, record))
                if size - at >= WRITE_BYTES:
                    at = _flush(file, at, parts)
            _flush(file, at, parts)
            file.sync()
            return scan_rewritten(file, temporary, self.name, self.seed)

    def _entries(self, files: Files) -> Iterator[Entry]:
        """Yield what is kept: the needed entries with their needed bodies."""
        with contextlib.closing(SegmentReader(files)) as reader:
            for source in self.sources:
                for index, runs in _by_entry(source):
                    if source.at(index) is None:
                        raise CorruptData(
                            source.path, 0, f"entry {index} is missing, a queue needs it"
                        )
                    entry = reader.entry(source, index)
                    payload = self.thin(entry.payload, runs)
                    if payload is None:
                        raise CorruptData(
                            source.path, 0, f"entry {index} has no messages, but a queue needs them"
                        )
                    yield Entry(index, entry.term, entry.kind, payload)


def _by_entry(source: ColdFile) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield the indexes of needed entries, and for each the numbers and counts of its needed messages."""
    assert source.needs is not None
    runs = zip(source.needs.positions, source.needs.counts, strict=True)
    for index, group in groupby(runs, lambda run: run[0] // limits.BATCH_MESSAGES_MAX):
        yield index, [(position % limits.BATCH_MESSAGES_MAX, count) for position, count in group]


def _flush(file: File, at: int, parts: list[bytes]) -> int:
    """Write what was collected and return the offset behind it."""
    file.write_at(at, parts)
    at += sum(map(len, parts))
    parts.clear()
    return at


def write_sidecar_if_room(files: Files, owner: CheckpointOwner, cold: ColdFile) -> None:
    """Write a sidecar; on a full disk there is none, and the next start reads the whole file.

    Raises:
        OSError: the disk, unless it is full.
    """
    try:
        write_sidecar(files, owner, cold)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        temporary = cold.sidecar_path.with_name(cold.sidecar_path.name + ".tmp")
        if files.exists(temporary):
            files.remove(temporary)
        return
    cold.has_sidecar = True
