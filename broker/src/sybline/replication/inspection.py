"""Looking at the data directory of a member that does not run: what is in it, and whether all of it is sound.

Everything is read under the directory's lock and nothing is changed.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.cold_file import ColdFile, ColdName
from sybline.replication.configuration import MemberInfo, decode_configuration
from sybline.replication.data_directory import DataDirectory
from sybline.replication.files import Files
from sybline.replication.recovery import (
    Recovered,
    list_generation,
    recover_generation,
    verify_alone,
)
from sybline.replication.segment import Segment
from sybline.replication.storage_errors import CorruptData
from sybline.replication.vote import Vote, load_vote


class FileFacts(Struct, frozen=True):
    """One file with records; indexes are 0 when it has none."""

    name: str
    kind: str  # "log" or "cold"
    first_segment: int
    last_segment: int
    first_index: int
    last_index: int
    entries: int
    bytes: int


class MemberFacts(Struct, frozen=True):
    """One member of the configuration in the checkpoint."""

    id: int
    name: str
    address: str
    voter: bool


class DirectoryFacts(Struct, frozen=True):
    """What a data directory says."""

    directory: str
    cluster: str
    member: int
    cluster_uid: int  # 0: its cluster had not formed yet
    term: int
    voted_for: int  # 0: for nobody in this term
    generation: int
    checkpoint_index: int  # 0: there is none
    checkpoint_term: int
    checkpoint_bytes: int
    checkpoint_members: tuple[MemberFacts, ...]
    first_index: int  # of the log
    last_index: int
    last_term: int
    files: tuple[FileFacts, ...]


class Finding(Struct, frozen=True):
    """Something that is wrong."""

    path: str
    offset: int
    reason: str
    advice: str

    @classmethod
    def of(cls, error: CorruptData) -> "Finding":
        return cls(str(error.path), error.offset, error.reason, error.advice)


def inspect(files: Files, root: Path) -> DirectoryFacts:
    """Return what a data directory says. Bodies in cold files are not read, all else is verified.

    Raises:
        DirectoryInUse: its member runs.
        CorruptData: a member would not start with it.
        OSError: the disk.
    """
    with contextlib.closing(DataDirectory.look(files, root)) as place:
        vote = load_vote(files, place.vote_path, place.identity)
        recovered = _recover(files, place)
        return _facts(place, vote, recovered)


def _recover(files: Files, place: DataDirectory) -> Recovered:
    current = place.read_current()
    path = place.generation(current.generation)
    return recover_generation(files, path, _owner(place), last_segment=current.last_segment)


def _owner(place: DataDirectory) -> CheckpointOwner:
    return CheckpointOwner(place.identity.cluster_hash, place.identity.group)


def _facts(place: DataDirectory, vote: Vote, recovered: Recovered) -> DirectoryFacts:
    checkpoint, last = recovered.checkpoint, recovered.terms.last
    members: tuple[MemberInfo, ...] = ()
    if checkpoint.configuration:
        members = decode_configuration(checkpoint.configuration).members
    return DirectoryFacts(
        directory=str(place.root),
        cluster=place.identity.cluster_id,
        member=place.identity.member,
        cluster_uid=vote.cluster_uid,
        term=vote.term,
        voted_for=vote.voted_for or 0,
        generation=place.read_current().generation,
        checkpoint_index=checkpoint.index,
        checkpoint_term=checkpoint.term,
        checkpoint_bytes=checkpoint.total_bytes,
        checkpoint_members=tuple(MemberFacts(m.id, m.name, m.address, m.voter) for m in members),
        first_index=recovered.index.first,
        last_index=last,
        last_term=recovered.terms.term(last),
        files=(*map(_cold_facts, recovered.cold), *map(_segment_facts, recovered.index.segments)),
    )


def _cold_facts(cold: ColdFile) -> FileFacts:
    entries = len(cold.offsets)
    first, last = (cold.base, cold.next_index - 1) if entries else (0, 0)
    name = cold.name
    return FileFacts(
        cold.path.name, "cold", name.first, name.last, first, last, entries, cold.allocated
    )


def _segment_facts(segment: Segment) -> FileFacts:
    entries, sequence = len(segment.offsets), segment.header.sequence
    first, last = (segment.base, segment.next_index - 1) if entries else (0, 0)
    size = max(segment.length, segment.header.allocated)
    return FileFacts(segment.path.name, "log", sequence, sequence, first, last, entries, size)


def verify(files: Files, root: Path) -> list[Finding]:
    """Read and verify everything in a data directory and return all that is wrong with it.

    Raises:
        DirectoryInUse: its member runs.
        OSError: the disk.
    """
    try:
        place = DataDirectory.look(files, root)
    except CorruptData as error:
        return [Finding.of(error)]
    with contextlib.closing(place):
        checks = (*_whole(files, place), *_each_file(files, place))
        found = [finding for check in checks if (finding := _run(check)) is not None]
    return list(dict.fromkeys(found))  # a file's fault may come up twice


_Check = Callable[[], Any]


def _run(check: _Check) -> Finding | None:
    try:
        check()
    except CorruptData as error:
        return Finding.of(error)
    return None


def _whole(files: Files, place: DataDirectory) -> Iterator[_Check]:
    """Yield the checks of how everything fits together: what a start does."""
    yield lambda: load_vote(files, place.vote_path, place.identity)
    yield place.load_first_configuration
    yield lambda: _recover(files, place)
    yield lambda: _check_term(files, place)


def _check_term(files: Files, place: DataDirectory) -> None:
    vote = load_vote(files, place.vote_path, place.identity)
    terms = _recover(files, place).terms
    if terms.term(terms.last) > vote.term:
        raise CorruptData(
            place.vote_path, 0,
            f"term {vote.term} is older than the log's last, {terms.term(terms.last)}",
        )  # fmt: skip


def _each_file(files: Files, place: DataDirectory) -> Iterator[_Check]:
    """Yield a check of every file with records, each by itself."""
    path = place.generation(place.read_current().generation)
    names = list_generation(files, path)
    whole = [ColdName(number, number) for number in names.segments]
    for name in (*whole, *names.cold):
        yield partial(verify_alone, files, path, _owner(place), name)
