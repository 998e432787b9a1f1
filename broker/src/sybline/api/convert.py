"""Between what travels on the wire and what the log knows: message ids, batches, ranges, answers.

Pure. Costs count here: one pass over a batch, no object per message beyond what protobuf makes.
"""

import hashlib
import struct
import uuid
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from sybline import limits
from sybline.api.error_texts import CallError, Word
from sybline.api.validation import check_batch_keys, check_message, invalid
from sybline.state_machine.commands import EnqueueRun, PositionRange
from sybline.v1 import mq_pb2

_TAG_BYTES: Final = 8
_POSITION = struct.Struct(">Q")
_PER_ENTRY: Final = limits.BATCH_MESSAGES_MAX
_POSITION_END: Final = 1 << 63
_FIRST_POSITION: Final = _PER_ENTRY  # log entries count from 1
_COUNTS = struct.Struct(">II")
_LENGTH = struct.Struct(">H")
_RUN = struct.Struct(">III")
Content: TypeAlias = tuple[
    tuple[str, ...], tuple[EnqueueRun, ...], bytes
]  # keys, runs, joined bodies


# --- message ids ---
class MessageIds:
    """The ids of one cluster: its tag and the position, 16 bytes."""

    def __init__(self, cluster_id: str) -> None:
        self.tag = hashlib.sha256(cluster_id.encode()).digest()[:_TAG_BYTES]

    def encode(self, position: int) -> bytes:
        """Return the id of a position."""
        return self.tag + _POSITION.pack(position)

    def decode(self, message_id: bytes) -> int | None:
        """Return the position of an id; None: no message of this cluster can have it."""
        if message_id[:_TAG_BYTES] != self.tag:
            return None
        (position,) = _POSITION.unpack_from(message_id, _TAG_BYTES)
        return position if _FIRST_POSITION <= position < _POSITION_END else None


class NamedIds:
    """The ids of one call as ranges of positions; ids no message can have take positions of the entry 0.

    No entry has the index 0, so the state machine answers that those messages are unknown, in the same breath as it
    judges queue, permission and the other ids.
    """

    def __init__(self, ids: Iterable[bytes], codec: MessageIds) -> None:
        tag, unpack = codec.tag, _POSITION.unpack_from
        self._codec = codec
        self._foreign: list[bytes] = []
        positions: list[int] = []
        for message_id in dict.fromkeys(ids):
            if message_id[:_TAG_BYTES] == tag:
                (position,) = unpack(message_id, _TAG_BYTES)
                if _FIRST_POSITION <= position < _POSITION_END:
                    positions.append(position)
                    continue
            self._foreign.append(message_id)
        self.count = len(positions) + len(self._foreign)  # distinct (B-1)
        positions.sort()
        self.ranges = self._foreign_ranges() + tuple(merge_positions(positions))

    def _foreign_ranges(self) -> tuple[PositionRange, ...]:
        return (PositionRange(0, len(self._foreign)),) if self._foreign else ()

    def id_at(self, position: int) -> bytes:
        """Return the id that was given for a position of the ranges."""
        if position < _FIRST_POSITION:
            return self._foreign[position]
        return self._codec.encode(position)


def merge_positions(positions: Sequence[int]) -> Iterable[PositionRange]:
    """Yield rising, distinct positions as ranges, none across log entries."""
    start = end = -1
    for position in positions:
        if position != end or not position % _PER_ENTRY:
            if end > start:
                yield PositionRange(start, end - start)
            start = position
        end = position + 1
    if end > start:
        yield PositionRange(start, end - start)


def id_text(message_id: bytes) -> str:
    """Return an id as texts and REST show it."""
    return str(uuid.UUID(bytes=message_id))


# --- publishing ---
def one_message(request: mq_pb2.MessageInfo) -> Content:
    """Return the parts of an Enqueue of one message."""
    body = request.data
    return (request.routingKey,), (EnqueueRun(0, 1, len(body)),), body


def read_batch(
    messages: Iterable[mq_pb2.MessageInfo], *, body_bytes_max: int = limits.BODY_BYTES_DEFAULT
) -> Content:
    """Check a batch and return the parts of its Enqueue.

    Raises:
        CallError: the first message that is malformed, by its number.
    """
    numbers: dict[str, int] = {}
    bodies: list[bytes] = []
    runs: list[EnqueueRun] = []
    last_key = last_size = count = 0
    for message in messages:
        name, body = message.routingKey, message.data
        size = len(body)
        key = numbers.get(name)
        if key is None or not 0 < size <= body_bytes_max:
            _check_numbered(message, len(bodies), body_bytes_max)
            key = numbers.setdefault(name, len(numbers))
            check_batch_keys(len(numbers))
        if size != last_size or key != last_key:
            if count:
                runs.append(EnqueueRun(last_key, count, last_size))
            last_key, last_size, count = key, size, 0
        count += 1
        bodies.append(body)
    if count:
        runs.append(EnqueueRun(last_key, count, last_size))
    return tuple(numbers), tuple(runs), b"".join(bodies)


def _check_numbered(message: mq_pb2.MessageInfo, number: int, body_bytes_max: int) -> None:
    try:
        check_message(message, body_bytes_max)
    except CallError as error:
        field = f"messages[{number}].{error.field}"
        raise invalid(field, "{} in message {}", Word(error.text), number) from error


def content_digest(content: Content) -> bytes:
    """Return what tells two publishes with one idempotency key apart: routing keys, sizes and bodies (P-8)."""
    keys, runs, bodies = content
    digest = hashlib.sha256(_COUNTS.pack(len(keys), len(runs)))
    for key in keys:
        encoded = key.encode()
        digest.update(_LENGTH.pack(len(encoded)) + encoded)
    for run in runs:
        digest.update(_RUN.pack(run.key_number, run.count, run.size_bytes))
    digest.update(bodies)
    return digest.digest()


# --- answers ---
def encode_message_heads(tag: bytes, size_bytes: int) -> tuple[bytes, bytes]:
    """Return what stands before and after the position of every message of a size in a MessageCollection."""
    middle = b"\x12" + _varint(size_bytes) if size_bytes else b""
    inner = 2 + limits.MESSAGE_ID_BYTES + len(middle) + size_bytes
    return b"\x0a" + _varint(inner) + b"\x0a\x10" + tag, middle


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
