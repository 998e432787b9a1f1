"""Receiving an image: into a new generation beside the one in use, verified whole before anything is switched.

Until the journal names the new generation, a crash leaves the old one untouched and the new one is removed at start.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sybline.replication.checkpoint import CheckpointOwner
from sybline.replication.checkpoint_store import load_saved
from sybline.replication.cold_file import verify_records
from sybline.replication.files import File, Files, remove_tree
from sybline.replication.image import FIXED_BYTES, ImageHeader, decode_header, header_bytes
from sybline.replication.recovery import Recovered, is_kept_name, recover_generation
from sybline.replication.segment_writer import adopt_tail
from sybline.replication.state_dump import SavedState
from sybline.replication.storage_errors import BadImage, CorruptData, LogRangeError


@dataclass(frozen=True, slots=True)
class Announced:
    """What the sender said the image is."""

    index: int
    term: int
    total_bytes: int
    image_id: int


class Verified:
    """A received generation that is whole, durable and ready to be written to."""

    def __init__(self, recovered: Recovered, tail: File, state: SavedState) -> None:
        self.recovered = recovered
        self.tail = tail
        self.state = state


class Adopt(Protocol):
    """What the journal does with a verified generation."""

    def __call__(self, installation: "Installation", verified: Verified) -> bool:
        """Switch to it, or return False when it is not needed."""


class Installation:
    """One image being received."""

    def __init__(
        self,
        files: Files,
        path: Path,
        owner: CheckpointOwner,
        announced: Announced,
        *,
        adopt: Adopt,
        ended: Callable[["Installation"], None],
    ) -> None:
        self.index = announced.index
        self.term = announced.term
        self.total_bytes = announced.total_bytes
        self.image_id = announced.image_id
        self.received = 0
        self.path = path
        self._files = files
        self._owner = owner
        self._adopt = adopt
        self._ended = ended
        self._head = b""
        self._pieces: list[
            tuple[Path, int]
        ] = []  # paths and sizes not yet begun, the next one last
        self._written: list[Path] = []
        self._file: File | None = None
        self._at = 0  # in the piece being written
        self._left = 0
        self._verified: Verified | None = None
        self._is_open = True
        if files.exists(path):
            remove_tree(files, path)
        files.make_directory(path)

    def write(self, offset: int, data: bytes) -> None:
        """Take the next bytes of the stream; not durable before `finish`.

        Raises:
            LogRangeError: the offset is not `received`, or more bytes than announced.
            BadImage: the stream is not the image that was announced.
            OSError: the disk; nothing is switched, so it may be abandoned.
        """
        if offset != self.received or offset + len(data) > self.total_bytes or not self._is_open:
            raise LogRangeError(f"{len(data)} bytes at {offset}, received are {self.received}")
        self.received += len(data)
        rest = data
        if not self._written and self._file is None:
            rest = self._take_header(data)
        while rest:
            rest = self._take_piece(rest)

    def _take_header(self, data: bytes) -> bytes:
        """Collect the header, and return what comes behind it."""
        self._head += data
        if len(self._head) < FIXED_BYTES:
            return b""
        size = header_bytes(self._head[:FIXED_BYTES], self._owner)
        if size > self.total_bytes:
            raise BadImage("the header is longer than the image")
        if len(self._head) < size:
            return b""
        header, rest = decode_header(self._head[:size]), self._head[size:]
        self._head = b""
        if (header.index, header.term) != (self.index, self.term):
            raise BadImage(f"the image is of index {header.index}, term {header.term}")
        if size + header.content_bytes != self.total_bytes:
            raise BadImage("the sizes in the image do not add up")
        self._plan(header)
        return rest

    def _plan(self, header: ImageHeader) -> None:
        foreign = [name for name, _ in header.files if not is_kept_name(name)]
        if foreign:
            raise BadImage(f"the image has a foreign file, {foreign[0]!r}")
        self._pieces = [(self.path / name, size) for name, size in reversed(header.files)]
        self._next_piece()

    def _next_piece(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._pieces:
            path, self._left = self._pieces.pop()
            self._file, self._at = self._files.create(path), 0
            self._written.append(path)

    def _take_piece(self, data: bytes) -> bytes:
        """Write to the current file, and return what belongs to the next."""
        while self._left == 0 and self._file is not None:
            self._next_piece()
        if self._file is None:
            raise BadImage("bytes behind the end of the image")
        part = data[: self._left]
        self._file.write_at(self._at, [part])
        self._at += len(part)
        self._left -= len(part)
        return data[len(part) :]

    def run_verify(self) -> None:
        """Make the files durable and verify all of them, as at start. May run in a thread, before `finish`.

        Raises:
            BadImage: abandoned, nothing changed.
            OSError: the disk.
        """
        if self.received != self.total_bytes or self._left or self._pieces:
            raise BadImage(f"{self.received} of {self.total_bytes} bytes were received")
        if self._file is not None:
            self._file.close()
            self._file = None
        try:
            self._verified = self._verify()
        except CorruptData as error:
            raise BadImage(str(error)) from error

    def _verify(self) -> Verified:
        for path in self._written:
            with contextlib.closing(self._files.open(path, writable=True)) as file:
                file.sync()
        self._files.sync_directory(self.path)
        self._files.sync_directory(self.path.parent)
        recovered = recover_generation(
            self._files, self.path, self._owner, last_segment=1, complete=True
        )
        found = recovered.checkpoint
        if (found.index, found.term, recovered.terms.last) != (self.index, self.term, self.index):
            raise BadImage(
                f"checkpoint at {found.index} of term {found.term}, log until {recovered.terms.last}"
            )
        for cold in recovered.cold:
            verify_records(self._files, cold, cold.first_record, cold.length)
        with contextlib.ExitStack() as undo:
            state = load_saved(self._files, self.path, self._owner, self.index)
            undo.callback(state.close)
            tail = adopt_tail(self._files, recovered.index.tail)
            undo.pop_all()
        return Verified(recovered, tail, state)

    def finish(self, restore: Callable[[SavedState], None]) -> None:
        """Verify, switch to the new generation durably, and have the state restored.

        When the log already holds the last entry of the image, its files are left alone: it knows at least as much.

        Raises:
            BadImage: nothing has changed; it is abandoned.
            OSError: the member must stop.
        """
        try:
            if self._verified is None:
                self.run_verify()
        except BadImage:
            self.abandon()
            raise
        verified = self._verified
        assert verified is not None
        if self._adopt(self, verified):
            self._is_open = False
            restore(verified.state)
            verified.state.close()
            self._ended(self)
        else:
            verified.state.is_kept = False
            restore(verified.state)
            self.abandon()

    def abandon(self) -> None:
        """Throw away what was received; may be called again."""
        if not self._is_open:
            return
        self._is_open = False
        if self._file is not None:
            self._file.close()
        if self._verified is not None:
            self._verified.tail.close()
            self._verified.state.close()
        remove_tree(self._files, self.path)
        self._ended(self)
