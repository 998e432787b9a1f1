"""What a power loss leaves on a disk: some of what was not synced is put back as it was before.

Reads what `disk_shim.c` recorded of a process that was killed. Nothing that was synced is touched. Of the rest, for
each file by itself, chance keeps all, nothing, the first operations, or any blocks: a page cache writes back in any
order. Names stay or go in the order in which they changed, as far as renames connect them, else each by itself.
"""

import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.disk_shim import DiskShim

WRITE, LENGTH, CREATE, REMOVE, RENAME, SYNC_BEGIN, SYNC_END = range(1, 8)
_RECORD = struct.Struct("<IIIIQQQQqqq")  # as `struct record`
ALL, NOTHING, FIRST, BLOCKS, SECTORS = "all", "nothing", "first", "blocks", "sectors"
KEPT = (ALL, NOTHING, FIRST, BLOCKS, SECTORS)
UNIT_BYTES = {BLOCKS: 4096, SECTORS: 512}


@dataclass(frozen=True)
class Operation:
    """One record of the shim."""

    kind: int
    inode: int
    directory: int
    second_directory: int
    replaced: int
    offset: int
    size: int
    name: str
    second: str
    saved: bytes


@dataclass
class Loss:
    """What one power loss did, for the report."""

    files: Counter[str] = field(
        default_factory=Counter
    )  # by what was kept of their unsynced writes
    names: int = 0  # changes of names undone
    names_kept: int = 0

    def __str__(self) -> str:
        kept = " ".join(f"{kind}:{self.files[kind]}" for kind in KEPT if self.files[kind])
        return f"files kept {kept or 'none unsynced'}, names undone {self.names} kept {self.names_kept}"


def lose_power(shim: DiskShim, rng: random.Random, *, kept: tuple[str, ...] = KEPT) -> Loss:
    """Put back a random part of what the process, which must be dead, had not synced.

    `kept`: what chance may choose for a file, and with NOTHING alone all changes of names go, too.
    """
    contents, names = _unsynced(_load(shim.side))
    loss = Loss()
    paths = _paths_by_inode(shim)
    for inode, operations in contents.items():
        choice = rng.choice(kept)
        loss.files[choice] += 1
        _put_back(paths[inode], operations, choice, rng)
    undone = _choose_names(names, rng, is_nothing_kept=kept == (NOTHING,))
    loss.names, loss.names_kept = len(undone), len(names) - len(undone)
    _rebuild(shim, undone, paths)
    return loss


def _load(side: Path) -> list[Operation]:
    operations = []
    for path in sorted(side.glob("undo-*")):
        operations += _parse(path.read_bytes())
    return operations


def _parse(data: bytes) -> Iterator[Operation]:
    at = 0
    while at + _RECORD.size <= len(data):
        kind, name_bytes, second_bytes, _, *numbers, saved = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        end = at + name_bytes + second_bytes + saved
        if end > len(data):
            return  # killed while it was written: what it announces was not done
        name = os.fsdecode(data[at : at + name_bytes])
        second = os.fsdecode(data[at + name_bytes : at + name_bytes + second_bytes])
        yield Operation(kind, *numbers, name, second, data[end - saved : end])
        at = end


def _unsynced(
    operations: list[Operation],
) -> tuple[dict[int, list[Operation]], list[Operation]]:
    """Return what no ended sync covers: writes by file, and changes of names."""
    contents: dict[int, list[tuple[int, Operation]]] = {}
    names: list[tuple[int, Operation]] = []
    begun: dict[tuple[int, int], int] = {}
    for at, each in enumerate(operations):
        if each.kind in (WRITE, LENGTH):
            contents.setdefault(each.inode, []).append((at, each))
        elif each.kind == SYNC_BEGIN:
            begun[each.inode, each.size] = at
        elif each.kind == SYNC_END:
            began = begun.pop((each.inode, each.size))
            left = [row for row in contents.pop(each.inode, []) if row[0] > began]
            if left:
                contents[each.inode] = left
            names = [row for row in names if row[0] > began or row[1].directory != each.inode]
        else:
            names.append((at, each))
    return (
        {inode: [each for _, each in rows] for inode, rows in contents.items()},
        [each for _, each in names],
    )


def _paths_by_inode(shim: DiskShim) -> dict[int, Path]:
    """Return one path for each file and directory, the removed ones that the shim kept included."""
    found: dict[int, Path] = {}
    for top in (shim.side, shim.root):
        for directory, _, files in os.walk(top):
            found[Path(directory).stat().st_ino] = Path(directory)
            found |= {
                (Path(directory) / name).lstat().st_ino: Path(directory) / name for name in files
            }
    return found


def _put_back(path: Path, operations: list[Operation], choice: str, rng: random.Random) -> None:
    """Undo the chosen part of a file's unsynced writes, the latest first."""
    if choice == ALL:
        return
    total = len(operations)
    first_kept = {NOTHING: 0, FIRST: rng.randrange(total + 1)}.get(choice, total)
    unit_bytes = UNIT_BYTES.get(choice)
    kept: dict[int | None, int] = {}  # by unit, None: the length: how many operations it keeps

    def keeps(unit: int | None) -> int:
        if unit_bytes is None:
            return first_kept
        return kept.setdefault(unit, rng.randrange(total + 1))

    with path.open("r+b") as file:
        length = os.fstat(file.fileno()).st_size
        for number, each in reversed(list(enumerate(operations))):
            if each.kind == LENGTH:
                length = each.offset if number >= keeps(None) else length
                continue
            old = each.saved + bytes(each.size - len(each.saved))
            for unit, begin, end in _pieces(each.offset, each.size, unit_bytes):
                if number >= keeps(unit):
                    file.seek(begin)
                    file.write(old[begin - each.offset : end - each.offset])
        file.truncate(length)


def _pieces(offset: int, size: int, unit_bytes: int | None) -> Iterator[tuple[int, int, int]]:
    """Yield unit, begin and end of the parts of a range that lie in one unit each; without units, the range."""
    at, end = offset, offset + size
    while at < end:
        unit = at // unit_bytes if unit_bytes else 0
        until = min(end, (unit + 1) * unit_bytes) if unit_bytes else end
        yield unit, at, until
        at = until


def _choose_names(
    names: list[Operation], rng: random.Random, *, is_nothing_kept: bool
) -> list[Operation]:
    """Return the changes of names that are lost: of names that renames connect, the last ones."""
    groups: dict[tuple[int, str], list[int]] = {}
    for number, each in enumerate(names):
        keys = [(each.directory, each.name)]
        if each.kind == RENAME:
            keys.append((each.second_directory, each.second))
        merged = sorted({n for key in keys for n in groups.get(key, [])} | {number})
        members = [key for key, group in groups.items() if set(group) & set(merged)]
        groups |= dict.fromkeys([*members, *keys], merged)
    undone: set[int] = set()
    for group in {tuple(group) for group in groups.values()}:
        kept = 0 if is_nothing_kept else rng.randrange(len(group) + 1)
        undone |= set(group[kept:])
    return [names[number] for number in sorted(undone)]


def _rebuild(shim: DiskShim, undone: list[Operation], paths: dict[int, Path]) -> None:
    """Build the tree with the names that are left, give it the root's place, and forget what was recorded."""
    entries = _entries(shim.root)
    for each in reversed(undone):
        here = entries.setdefault(each.directory, {})
        if each.kind == CREATE:
            here.pop(each.name, None)
        elif each.kind == REMOVE:
            here[each.name] = each.inode
        else:
            there = entries.setdefault(each.second_directory, {})
            there.pop(each.second, None)
            if each.replaced:
                there[each.second] = each.replaced
            here[each.name] = each.inode
    built = shim.root.with_name(shim.root.name + ".built")
    built.mkdir(mode=0o700)
    _build(built, shim.root.stat().st_ino, entries, paths)
    shutil.rmtree(shim.root)
    shutil.rmtree(shim.side)
    built.rename(shim.root)
    shim.side.mkdir()


def _entries(root: Path) -> dict[int, dict[str, int]]:
    """Return the names in each directory, by inode."""
    return {
        Path(directory).stat().st_ino: {
            name: (Path(directory) / name).lstat().st_ino for name in [*directories, *files]
        }
        for directory, directories, files in os.walk(root)
    }


def _build(
    target: Path, inode: int, entries: dict[int, dict[str, int]], paths: dict[int, Path]
) -> None:
    for name, child in entries.get(inode, {}).items():
        if paths[child].is_dir():
            (target / name).mkdir(mode=0o700)
            _build(target / name, child, entries, paths)
        else:
            os.link(paths[child], target / name)
