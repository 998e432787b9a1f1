"""The data directory of a member: its layout, its lock, its initialisation, and the file that names the generation.

    <dir>/IDENTITY              whose it is; written once
    <dir>/LOCK                  held while a process uses it
    <dir>/group-0/VOTE          term, vote and cluster
    <dir>/group-0/MEMBERS       the first configuration; written once
    <dir>/group-0/CURRENT       names the generation in use and its newest segment; replaced by rename
    <dir>/group-0/NEXT          what CURRENT will be once the reserve has become a segment
    <dir>/group-0/gen-0000000001/   log segments and checkpoint

A directory is initialised only when it holds neither IDENTITY nor a group; anything in between refuses to start.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sybline.replication.configuration import Configuration
from sybline.replication.files import Files, Lock, remove_tree
from sybline.replication.identity import (
    Claim,
    Identity,
    draw_member,
    load_identity,
    read_identity,
    save_identity,
)
from sybline.replication.segment import Segment, SegmentHeader, segment_name
from sybline.replication.segment_writer import create_segment
from sybline.replication.small_files import load_fields, save_fields
from sybline.replication.storage_errors import CorruptData
from sybline.replication.vote import VoteFile

GENERATION_PREFIX = "gen-"


@dataclass(frozen=True, slots=True)
class Current:
    """Which generation is in use, and the newest segment known to exist in it."""

    generation: int
    last_segment: int


def generation_name(generation: int) -> str:
    """Return the directory name of a generation."""
    return f"{GENERATION_PREFIX}{generation:010d}"


class DataDirectory:
    """A locked data directory that belongs to this member."""

    def __init__(self, files: Files, root: Path, identity: Identity, lock: Lock) -> None:
        self.files = files
        self.root = root
        self.identity = identity
        self._lock = lock

    @classmethod
    def open(cls, files: Files, root: Path, claim: Claim, segment_bytes: int) -> "DataDirectory":
        """Lock the directory, check whose it is, and initialise it for the claim when it is new.

        Raises:
            DirectoryInUse: another process has it open.
            CorruptData: another member's, damaged, or something is missing.
        """
        _make_durably(files, root)
        with contextlib.ExitStack() as undo:
            lock = files.lock(root / "LOCK")
            undo.callback(lock.close)
            identity = _identify(files, root, claim)
            directory = cls(files, root, identity, lock)
            directory._prepare(claim.first, segment_bytes)
            undo.pop_all()
        return directory

    @classmethod
    def look(cls, files: Files, root: Path) -> "DataDirectory":
        """Lock the directory of a member that does not run, to read it: nothing is begun or mended.

        Raises:
            DirectoryInUse: the member runs.
            CorruptData: no member's, or it cannot be told whose.
        """
        path = root / "IDENTITY"
        if not files.exists(path):
            raise CorruptData(path, 0, "the file is missing: no member has used this directory")
        with contextlib.ExitStack() as undo:
            lock = files.lock(root / "LOCK")
            undo.callback(lock.close)
            directory = cls(files, root, read_identity(files, path), lock)
            undo.pop_all()
        return directory

    @property
    def group(self) -> Path:
        """Return the directory of the Raft group."""
        return self.root / f"group-{self.identity.group}"

    @property
    def vote_path(self) -> Path:
        """Return the vote file."""
        return self.group / "VOTE"

    def generation(self, number: int) -> Path:
        """Return the directory of a generation."""
        return self.group / generation_name(number)

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def load_first_configuration(self) -> Configuration:
        """Read the configuration that counts while neither log nor checkpoint has one.

        Raises:
            CorruptData: damaged.
        """
        path = self.group / "MEMBERS"
        text = load_fields(self.files, path).get("configuration")
        try:
            return msgspec.json.decode(str(text), type=Configuration)
        except msgspec.DecodeError as error:
            raise CorruptData(path, 0, f"not a configuration ({error})") from error

    def load_current(self) -> Current:
        """Read which generation is in use, and remove the leftovers of others.

        Raises:
            CorruptData: as `read_current`.
        """
        current = self.read_current()
        self._remove_leftovers(current.generation)
        return current

    def read_current(self) -> Current:
        """Return which generation is in use.

        Raises:
            CorruptData: damaged, or it names what is not there.
        """
        path = self.group / "CURRENT"
        fields = load_fields(self.files, path)
        generation, last_segment = fields.get("generation"), fields.get("last_segment")
        if not isinstance(generation, int) or not isinstance(last_segment, int):
            raise CorruptData(path, 0, "it names no generation or no segment")
        if not self.files.exists(self.generation(generation)):
            raise CorruptData(self.generation(generation), 0, "the generation in use is missing")
        return Current(generation, last_segment)

    def save_current(self, current: Current) -> None:
        """Name the generation in use durably: the moment at which a received image counts."""
        _save_current(self.files, self.group / "CURRENT", current)

    def prepare_current(self, current: Current) -> None:
        """Write what `commit_current` will put in place, so that it takes no space then."""
        _save_current(self.files, self.group / "NEXT", current)

    def commit_current(self) -> None:
        """Do what `save_current` would with what was prepared."""
        self.files.rename(self.group / "NEXT", self.group / "CURRENT")
        self.files.sync_directory(self.group)

    def _remove_leftovers(self, generation: int) -> None:
        for name in self.files.names(self.group):
            if name.startswith(GENERATION_PREFIX) and name != generation_name(generation):
                remove_tree(self.files, self.group / name)
            elif name == "NEXT" or name.endswith(".tmp"):
                self.files.remove(self.group / name)

    def _prepare(self, first: Configuration, segment_bytes: int) -> None:
        identity_path = self.root / "IDENTITY"
        unfinished = self.group.with_name(self.group.name + ".new")
        if not self.files.exists(identity_path):
            if self.files.exists(self.group):
                raise CorruptData(identity_path, 0, "the file is missing, but the log is there")
            self._initialise(unfinished, first, segment_bytes)
            save_identity(self.files, identity_path, self.identity)
        if not self.files.exists(self.group):
            if not self.files.exists(unfinished):
                raise CorruptData(self.group, 0, "the log is missing, but the identity is there")
            self.files.rename(unfinished, self.group)
        # A process that was killed may have left names that are seen but not durable.
        self.files.sync_directory(self.root)
        self.files.sync_directory(self.group)
        for name in ("VOTE", "MEMBERS", "CURRENT"):
            if not self.files.exists(self.group / name):
                raise CorruptData(self.group / name, 0, "the file is missing")

    def _initialise(self, group: Path, first: Configuration, segment_bytes: int) -> None:
        """Build the group of a member that knows nothing, under a name that does not count yet."""
        if self.files.exists(group):
            remove_tree(self.files, group)
        with contextlib.suppress(PermissionError):  # then it is not we who made the directory there
            self.files.sync_directory(self.root.parent)
        generation = group / generation_name(1)
        self.files.make_directory(generation)
        header = SegmentHeader(
            cluster=self.identity.cluster_hash, group=self.identity.group, sequence=1, first=1,
            term_before=0, length_before=0, allocated=0, seed=self.files.random32(),
        )  # fmt: skip
        segment = Segment(generation / segment_name(1), header, 0, 1)
        create_segment(self.files, segment, segment_bytes).close()
        self.files.sync_directory(generation)
        VoteFile.create(self.files, group / "VOTE", self.identity, first.cluster_uid)
        members = msgspec.json.encode(first).decode()  # readable by people
        save_fields(self.files, group / "MEMBERS", {"configuration": members})
        _save_current(self.files, group / "CURRENT", Current(1, 1))
        self.files.sync_directory(self.root)


def is_initialised(root: Path) -> bool:
    """Return whether a directory belongs to a member already; only a look, `DataDirectory.open` decides."""
    return (root / "IDENTITY").exists()


def _identify(files: Files, root: Path, claim: Claim) -> Identity:
    """Return who uses the directory: whoever it belongs to, or, in a new one, the claimed or a new member."""
    path = root / "IDENTITY"
    if files.exists(path):
        return load_identity(files, path, claim)
    member = draw_member(files) if claim.member is None else claim.member
    return Identity(claim.cluster_id, member)


def _make_durably(files: Files, path: Path) -> None:
    """Create a directory and its parents so that their names stay."""
    if not files.exists(path):
        _make_durably(files, path.parent)
        files.make_directory(path)
        files.sync_directory(path.parent)


def _save_current(files: Files, path: Path, current: Current) -> None:
    fields = {"generation": current.generation, "last_segment": current.last_segment}
    save_fields(files, path, fields)
