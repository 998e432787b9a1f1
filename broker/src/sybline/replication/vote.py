"""Term, vote and cluster on disk: two slots with a checksum and a rising number, written one after the other.

At any moment one slot is whole and durable, and after `save` returned both say the same, so any single damaged slot
leaves the truth. The file never grows, so a full disk does not stop a member from voting.
"""

import contextlib
import struct
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from sybline.replication.files import File, Files, replace_file
from sybline.replication.identity import Identity
from sybline.replication.storage_errors import CorruptData

MAGIC = b"SYBLVOTE"
FORMAT_VERSION = 1
SLOT_BYTES = 4096  # its own disk block: a torn write harms one slot only
_SLOT = struct.Struct("<8sH16sIQQQQQ")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Vote:
    """What a member has promised, and the cluster it has become part of."""

    term: int
    voted_for: int | None
    cluster_uid: int = 0  # as it was committed; 0: it knows of none yet


class VoteFile:
    """The open vote file of one member and group."""

    def __init__(self, file: File, path: Path, identity: Identity, number: int, vote: Vote) -> None:
        self._file = file
        self._path = path
        self._identity = identity
        self._number = number
        self.vote = vote

    @staticmethod
    def create(files: Files, path: Path, identity: Identity, cluster_uid: int = 0) -> None:
        """Write the file of a member that has never voted."""
        slot = _encode(identity, 0, Vote(0, None, cluster_uid)).ljust(SLOT_BYTES, b"\0")
        replace_file(files, path, [slot, slot])

    @classmethod
    def open(cls, files: Files, path: Path, identity: Identity) -> "VoteFile":
        """Read the newest sound slot, and write both anew: the page cache may hide an earlier failed sync.

        Raises:
            CorruptData: no sound slot, or it belongs to another member.
        """
        file = files.open(path, writable=True)
        with contextlib.ExitStack() as undo:
            undo.callback(file.close)
            slots = [_load_slot(file, path, identity, number) for number in (0, 1)]
            number, vote = _newest(slots, path)
            opened = cls(file, path, identity, number, vote)
            # A damaged slot first: then the other one is durable. Else the newest first: after a failed sync it may be
            # in the page cache only, and the older one, which is durable, must stay until it is not.
            first = slots.index(None) if None in slots else slots.index((number, vote))
            opened._write(first)
            opened._write(1 - first)
            undo.pop_all()
        return opened

    def save(self, vote: Vote) -> None:
        """Make a new term, vote or cluster durable.

        Raises:
            OSError: not known to be durable; the member must stop.
        """
        self._number += 1
        self.vote = vote
        self._write(0)
        self._write(1)

    def _write(self, slot: int) -> None:
        data = _encode(self._identity, self._number, self.vote)
        self._file.write_at(slot * SLOT_BYTES, [data])
        self._file.sync()

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def load_vote(files: Files, path: Path, identity: Identity) -> Vote:
    """Return what the file of a member that does not run says; nothing is written.

    Raises:
        CorruptData: as `VoteFile.open`.
    """
    with contextlib.closing(files.open(path)) as file:
        slots = [_load_slot(file, path, identity, number) for number in (0, 1)]
    return _newest(slots, path)[1]


def _newest(slots: list[tuple[int, Vote] | None], path: Path) -> tuple[int, Vote]:
    sound = [slot for slot in slots if slot is not None]
    if not sound:
        raise CorruptData(path, 0, "both slots of term and vote are damaged")
    number, vote = max(sound, key=lambda slot: slot[0])
    if any(slot[0] == number and slot[1] != vote for slot in sound):
        raise CorruptData(path, 0, "the slots of term and vote contradict each other")
    return number, vote


def _encode(identity: Identity, number: int, vote: Vote) -> bytes:
    data = _SLOT.pack(
        MAGIC, FORMAT_VERSION, identity.cluster_hash, identity.group, identity.member,
        number, vote.term, vote.voted_for or 0, vote.cluster_uid,
    )  # fmt: skip
    return data + _CRC.pack(crc32(data))


def _load_slot(file: File, path: Path, identity: Identity, slot: int) -> tuple[int, Vote] | None:
    """Return the number and the vote of a slot, or None when it is damaged."""
    offset = slot * SLOT_BYTES
    data = file.read_at(offset, _SLOT.size + _CRC.size)
    if len(data) < _SLOT.size + _CRC.size:
        return None
    magic, version, cluster, group, member, number, term, vote, uid = _SLOT.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _SLOT.size)
    if magic != MAGIC or crc32(data[: _SLOT.size]) != crc:
        return None
    if version != FORMAT_VERSION:
        raise CorruptData(
            path, offset, f"format version {version}, this program knows {FORMAT_VERSION}",
            "Start it with the version of Sybline that wrote it, or a newer one.",
        )  # fmt: skip
    if (cluster, group, member) != (identity.cluster_hash, identity.group, identity.member):
        raise CorruptData(path, offset, f"the file belongs to member {member} of another directory")
    return number, Vote(term, vote or None, uid)
