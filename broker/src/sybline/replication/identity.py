"""Whose data directory this is: written at the first start, never again, and compared at each later one.

A member is its disk: what it promised, its votes above all, is there. Who starts with another disk is another member.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sybline import limits
from sybline.replication.configuration import NO_MEMBERS, Configuration
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


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants to use a data directory, and what a new one begins with."""

    cluster_id: str
    member: int | None  # None: whoever the directory says, or a new number
    first: Configuration = NO_MEMBERS  # with `member` among its voters, or nobody: a joiner


def draw_member(files: Files) -> int:
    """Return a number that no member has or had, but for chance: about 1 in 10**14 for each that ever joined."""
    drawn = files.random32() << 32 | files.random32()
    numbers = limits.DRAWN_MEMBER_ID_END - limits.DRAWN_MEMBER_ID_MIN
    return limits.DRAWN_MEMBER_ID_MIN + drawn % numbers


def save_identity(files: Files, path: Path, identity: Identity) -> None:
    """Write the file durably; done once, when a directory is initialised."""
    save_fields(files, path, {"cluster": identity.cluster_id, "member": identity.member})


def load_identity(files: Files, path: Path, claim: Claim) -> Identity:
    """Return whose directory it is. A drawn number stands, whatever number the settings have.

    Raises:
        CorruptData: another cluster or member than the claim's, or damaged.
    """
    found = read_identity(files, path)
    cluster, member = found.cluster_id, found.member
    is_drawn = member >= limits.DRAWN_MEMBER_ID_MIN
    if cluster != claim.cluster_id or (claim.member not in (None, member) and not is_drawn):
        wanted = "a new member" if claim.member is None else f"member {claim.member}"
        raise CorruptData(
            path, 0,
            f"the directory belongs to member {member} of cluster {cluster!r}, not to {wanted} "
            f"of cluster {claim.cluster_id!r}",
            "Give this member its own data directory, or correct its id or cluster id.",
        )  # fmt: skip
    return found


def read_identity(files: Files, path: Path) -> Identity:
    """Return whose directory it is, whoever wants to know.

    Raises:
        CorruptData: damaged.
    """
    fields = load_fields(files, path)
    cluster, member = fields.get("cluster"), fields.get("member")
    if not isinstance(cluster, str) or not isinstance(member, int):
        raise CorruptData(path, 0, "it names no cluster or no member")
    return Identity(cluster, member)
