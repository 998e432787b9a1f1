"""The cold files of one generation, in the order of their segments, and what the newest checkpoint needs of them.

A checkpoint names the segments that its state needs, as ranges of sequence numbers; the last range is the log itself
and has no end. What no range names may be there or not: names may come back after a power loss, in any combination.

"""

import contextlib
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.cold_file import (
    ColdFile,
    ColdName,
    load_cold_header,
    load_sidecar,
    scan_rewritten,
)
from sybline.replication.files import Files
from sybline.replication.segment import load_header
from sybline.replication.storage_errors import CorruptData

NO_END: Final = (1 << 64) - 1
Needed = tuple[tuple[int, int], ...]
Rebuild = Callable[[int], ColdFile]  # verify a segment as it was written, and find its records


def needed_ranges(names: Iterable[ColdName], first_of_log: int) -> Needed:
    """Return what a checkpoint says it needs: these cold files, and the log from a segment on."""
    ranges: list[tuple[int, int]] = []
    for name in names:
        if ranges and ranges[-1][1] + 1 == name.first:
            ranges[-1] = (ranges[-1][0], name.last)
        else:
            ranges.append((name.first, name.last))
    return (*ranges, (first_of_log, NO_END))


def choose_cold(path: Path, names: Iterable[ColdName], needed: Needed) -> list[ColdName]:
    """Return the files that stand for the needed segments, each as wide as there is; the others are leftovers.

    A wider file was made of the narrower ones, and the newest of several for the same segments of the others.

    Raises:
        CorruptData: a needed segment is in none of them.
    """
    ordered = sorted(names, key=lambda name: (name.first, -name.last, -name.number))
    chosen: list[ColdName] = []
    for first, last in needed[:-1]:
        missing = first
        for name in ordered:
            if name.first <= missing <= name.last:
                missing = name.last + 1
                if name not in chosen:
                    chosen.append(name)
        if missing <= last:
            raise CorruptData(
                path, 0, f"segment {missing} is missing, the state needs bodies in it"
            )
    return chosen


def open_cold(
    files: Files, path: Path, owner: CheckpointOwner, name: ColdName, rebuild: Rebuild
) -> ColdFile:
    """Return a cold file by its sidecar, or, if there is no sound one, by reading all of it.

    Raises:
        CorruptData: the file itself is damaged or not what its name says.
    """
    place = path / str(name)
    with contextlib.closing(files.open(place)) as file:
        if name.number:
            seed = load_cold_header(file, place, owner, name)
        else:
            header = load_header(file, place, cluster=owner.cluster, group=owner.group)
            if header.sequence != name.first:
                raise CorruptData(place, 0, f"the file holds segment {header.sequence}")
            seed = header.seed
        found = load_sidecar(files, place, owner, name, seed=seed, size=file.size())
        if found is None and name.number:
            found = scan_rewritten(file, place, name, seed)
    return found or rebuild(name.first)


def cut_replaced(cold: Sequence[ColdFile], first_of_log: int) -> None:
    """Forget entries that a later file holds anew: one that was read alone does not know what was cut off since."""
    following = first_of_log
    for file in reversed(cold):
        if file.next_index > following:
            file.cut_at(following)
        if file.offsets:
            following = file.base


class ColdTier:
    """Cold files by rising segment; their entries rise too."""

    def __init__(self, files: Iterable[ColdFile] = ()) -> None:
        self.files = list(files)

    def __iter__(self) -> Iterator[ColdFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def total_bytes(self) -> int:
        """Return the bytes the files take."""
        return sum(file.allocated for file in self.files)

    def find(self, index: int) -> ColdFile | None:
        """Return the file that holds an entry; None: there is none, its bodies are not needed."""
        at = bisect_right(self.files, index, key=lambda file: file.base) - 1
        if at < 0 or self.files[at].at(index) is None:
            return None
        return self.files[at]

    def add(self, file: ColdFile) -> None:
        """Add what was the first segment of the log."""
        self.files.append(file)

    def remove(self, files: Iterable[ColdFile]) -> None:
        """Remove those of the files that are here."""
        gone = set(files)
        self.files = [file for file in self.files if file not in gone]

    def replace(self, group: Sequence[ColdFile], by: ColdFile) -> None:
        """Put one file where several neighbours were, of which some may be gone already."""
        self.remove(group)
        insort(self.files, by, key=lambda file: file.name.first)
