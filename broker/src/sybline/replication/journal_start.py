"""How a journal begins: the generation in use is verified, leftovers are removed, the tail is made ready for writing.

What is damaged or incomplete stops the start; nothing here makes up what is missing.
"""

from dataclasses import dataclass

from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.checkpoint_store import stale_files
from sybline.replication.configuration import Configuration
from sybline.replication.data_directory import Current, DataDirectory
from sybline.replication.files import File
from sybline.replication.identity import Identity
from sybline.replication.recovery import Recovered, list_generation, recover_generation
from sybline.replication.segment_writer import mend_tail
from sybline.replication.storage_errors import CorruptData
from sybline.replication.vote import VoteFile


@dataclass(frozen=True, slots=True)
class JournalStart:
    """What opening a data directory found."""

    directory: DataDirectory
    vote: VoteFile
    current: Current
    recovered: Recovered
    tail: File
    first: Configuration


def owner_of(identity: Identity) -> CheckpointOwner:
    """Return what the files of a member are marked with."""
    return CheckpointOwner(identity.cluster_hash, identity.group)


def recover_journal(place: DataDirectory, vote: VoteFile) -> JournalStart:
    """Verify the generation in use, remove leftovers, and make its tail ready for writing.

    Raises:
        CorruptData: something is damaged, missing, or older than the rest.
        OSError: the disk.
    """
    current = place.load_current()
    path = place.generation(current.generation)
    recovered = recover_generation(
        place.files, path, owner_of(place.identity), last_segment=current.last_segment
    )
    last_term = recovered.terms.term(recovered.terms.last)
    if last_term > vote.vote.term:
        raise CorruptData(
            place.vote_path, 0, f"term {vote.vote.term} is older than the log's last, {last_term}"
        )
    names = list_generation(place.files, path)
    stale = stale_files(recovered.checkpoint, names.checkpoints)
    for name in (*names.leftovers, *recovered.stale, *stale):
        place.files.remove(path / name)
    # A process that was killed may have left names that are seen but not durable.
    place.files.sync_directory(path)
    segment = recovered.index.tail
    if segment.header.sequence != current.last_segment:
        place.save_current(Current(current.generation, segment.header.sequence))
    tail = mend_tail(place.files, segment, recovered.tail_durable)
    return JournalStart(place, vote, current, recovered, tail, place.load_first_configuration())
