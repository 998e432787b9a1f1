"""What the data directory of a member that does not run says, read under its lock and changed in nothing."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.configuration import (
    Configuration,
    UnknownConfiguration,
    decode_configuration,
)
from sybline.replication.data_directory import DataDirectory
from sybline.replication.files import Files
from sybline.replication.identity import Identity
from sybline.replication.recovery import Recovered, recover_generation
from sybline.replication.segment_reader import SegmentReader
from sybline.replication.storage_errors import CorruptData
from sybline.replication.vote import load_vote


@dataclass(frozen=True, slots=True)
class Survey:
    """One member at rest."""

    directory: Path
    identity: Identity
    cluster_uid: int  # 0: its cluster had not formed yet
    term: int
    last_index: int
    last_term: int
    checkpoint_index: int  # up to here everything is certainly committed; 0: there is no checkpoint
    configuration: Configuration  # the latest in its log, committed or not

    @property
    def member(self) -> int:
        """Return whose directory it is."""
        return self.identity.member

    @property
    def position(self) -> tuple[int, int]:
        """Return what decides which of two logs has more of what was committed (paper 5.4.1)."""
        return self.last_term, self.last_index


def survey(files: Files, directory: Path) -> Survey:
    """Verify a data directory as a start would, and return what it says.

    Raises:
        DirectoryInUse: its member runs.
        CorruptData: no member's, damaged or incomplete.
        OSError: the disk.
    """
    with contextlib.closing(DataDirectory.look(files, directory)) as place:
        identity = place.identity
        vote = load_vote(files, place.vote_path, identity)
        current = place.read_current()
        path = place.generation(current.generation)
        owner = CheckpointOwner(identity.cluster_hash, identity.group)
        recovered = recover_generation(files, path, owner, last_segment=current.last_segment)
        configuration = _find_configuration(files, recovered, path)
        if configuration is None:
            configuration = place.load_first_configuration()
    return Survey(
        directory=directory,
        identity=identity,
        cluster_uid=vote.cluster_uid,
        term=vote.term,
        last_index=recovered.terms.last,
        last_term=recovered.terms.term(recovered.terms.last),
        checkpoint_index=recovered.checkpoint.index,
        configuration=configuration,
    )


def _find_configuration(files: Files, recovered: Recovered, path: Path) -> Configuration | None:
    """Return the latest configuration in log or checkpoint; None: neither has one."""
    checkpoint = recovered.checkpoint
    behind = [index for index in recovered.configurations if index > checkpoint.index]
    data = checkpoint.configuration
    if behind:
        with contextlib.closing(SegmentReader(files)) as reader:
            data = reader.entry(recovered.index.locate(behind[-1]), behind[-1]).payload
    if not data:
        return None
    try:
        return decode_configuration(data)
    except UnknownConfiguration as error:
        raise CorruptData(path, 0, f"the configuration of the members: {error}") from error
