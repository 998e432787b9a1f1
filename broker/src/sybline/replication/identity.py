"""Whose data directory this is: written once, compared at each start."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sybline.replication.files import Files
from sybline.replication.small_files import load_fields, save_fields
from sybline.replication.storage_errors import CorruptData


@dataclass(frozen=True, slots=True)
class Identity:
    """The one member of one Raft group that may use a data directory."""

    cluster_id: str
    member: int
    group: int = 0

    @property
    def cluster_hash(self) -> bytes:
        """Return the 16 bytes that stand for the cluster in files and handshakes."""
        return hashlib.sha256(self.cluster_id.encode()).digest()[:16]


def save_identity(files: Files, path: Path, identity: Identity) -> None:
    """Write the file durably; done once, when a directory is initialised."""
    save_fields(files, path, {"cluster": identity.cluster_id, "member": identity.member})


def check_identity(files: Files, path: Path, expected: Identity) -> None:
    """Compare the file with the member that wants to start.

    Raises:
        CorruptData: another cluster or member, or damaged.
    """
    fields = load_fields(files, path)
    found = (fields.get("cluster"), fields.get("member"))
    if found != (expected.cluster_id, expected.member):
        raise CorruptData(
            path, 0,
            f"the directory belongs to member {found[1]} of cluster {found[0]!r}, not to member "
            f"{expected.member} of cluster {expected.cluster_id!r}",
            "Give this member its own data directory, or correct its id or cluster id.",
        )  # fmt: skip
