"""The messages between members and their bytes on the wire.

Owns encoding and strict decoding: every length and number is checked, the indexes of entries are implied by `prev`,
so a frame cannot hold a gap. Rules stand elsewhere. All numbers are little endian; member ids do not travel, for a
connection knows who is at its other end. Nothing is unpickled.
"""

import struct
from typing import Final, TypeAlias
from zlib import crc32

from msgspec import Struct

from sybline import limits
from sybline.replication.records import COMMAND, CONFIGURATION, NO_OP, Entry


class BadFrame(Exception):
    """The bytes are not a message of this version; the connection must be closed."""


class PreVote(Struct, frozen=True):
    """Would you vote for me in `term`? Changes nothing at the receiver (thesis 9.6)."""

    term: int  # the term asked about, one above the sender's
    last: int
    last_term: int


class PreVoteReply(Struct, frozen=True):
    term: int  # of the question
    granted: bool
    current: int  # the term the answering member is in


class RequestVote(Struct, frozen=True):
    term: int
    last: int
    last_term: int
    transfer: bool  # told to by the leader: exempt from stickiness


class Vote(Struct, frozen=True):
    term: int
    granted: bool


class Append(Struct, frozen=True):
    term: int
    prev: int
    prev_term: int
    commit: int
    round: int  # heartbeat round, for read index
    entries: tuple[Entry, ...]
    is_silent: bool = False  # news of the commit index alone: only a refusal is answered


class AppendReply(Struct, frozen=True):
    term: int
    ok: bool
    prev: int  # of the message that is answered
    match: int  # ok: what that message verified, durable here
    hint: int  # not ok: where to probe next
    round: int


class SnapshotChunk(Struct, frozen=True):
    term: int
    index: int
    index_term: int
    image_id: int
    total: int
    offset: int
    round: int
    data: bytes


class SnapshotReply(Struct, frozen=True):
    term: int
    index: int
    image_id: int
    offset: int  # next byte wanted
    match: int  # above 0: the receiver's log agrees with the leader's up to here
    round: int
    pause_ms: int = 0  # above 0: the receiver has no room for the image now


class TimeoutNow(Struct, frozen=True):
    """Leadership transfer: campaign at once."""

    term: int


class Propose(Struct, frozen=True):
    """A command of the sender's callers, to be appended by the leader."""

    payload: bytes


class ProposeRefused(Struct, frozen=True):
    """It was definitely not appended."""

    origin: int
    sequence: int
    overloaded: bool


class ReadIndexRequest(Struct, frozen=True):
    request: int
    note: bytes


class LeaderCall(Struct, frozen=True):
    """A question about the membership, for the leader (`leader_calls.py`)."""

    request: int
    body: bytes


class LeaderAnswer(Struct, frozen=True):
    request: int
    body: bytes


class ReadIndexReply(Struct, frozen=True):
    request: int
    index: int  # 0: not confirmed as leader
    answer: bytes


class ShortageReport(Struct, frozen=True):
    """What the sender is short of (Z-5)."""

    disk: bool
    memory: bool


RaftMessage: TypeAlias = (
    PreVote
    | PreVoteReply
    | RequestVote
    | Vote
    | Append
    | AppendReply
    | SnapshotChunk
    | SnapshotReply
    | TimeoutNow
)
ClientMessage: TypeAlias = (
    Propose
    | ProposeRefused
    | ReadIndexRequest
    | ReadIndexReply
    | ShortageReport
    | LeaderCall
    | LeaderAnswer
)
Message: TypeAlias = RaftMessage | ClientMessage

NOTE_BYTES_MAX: Final = 4 * limits.KIB
_APPEND = struct.Struct("<QQQQQI?")
_ENTRY = struct.Struct("<IBQ")  # payload length, kind, term
_CRC = struct.Struct(
    "<I"
)  # of the rest of a chunk: a damaged one is asked for again, not the whole image
_CHUNK = struct.Struct("<QQQQQQQ")
_READ = struct.Struct("<Q")
_READ_REPLY = struct.Struct("<QQ")
_ENTRY_KINDS: Final = frozenset((COMMAND, NO_OP, CONFIGURATION))

# Messages of fixed size: kind, layout, type; fields in the order of the class.
_FIXED: Final[tuple[tuple[int, struct.Struct, type[Struct]], ...]] = (
    (16, struct.Struct("<QQQ"), PreVote),
    (17, struct.Struct("<Q?Q"), PreVoteReply),
    (18, struct.Struct("<QQQ?"), RequestVote),
    (19, struct.Struct("<Q?"), Vote),
    (21, struct.Struct("<Q?QQQQ"), AppendReply),
    (23, struct.Struct("<QQQQQQI"), SnapshotReply),
    (24, struct.Struct("<Q"), TimeoutNow),
    (33, struct.Struct("<QQ?"), ProposeRefused),
    (36, struct.Struct("<??"), ShortageReport),
)
_APPEND_KIND: Final = 20
_CHUNK_KIND: Final = 22
_PROPOSE_KIND: Final = 32
_READ_KIND: Final = 34
_READ_REPLY_KIND: Final = 35
_LEADER_KINDS: Final[dict[int, type[LeaderCall] | type[LeaderAnswer]]] = {
    37: LeaderCall,
    38: LeaderAnswer,
}
_KIND_OF_LEADER: Final = {cls: kind for kind, cls in _LEADER_KINDS.items()}
_BY_TYPE: Final = {cls: (kind, layout) for kind, layout, cls in _FIXED}
_BY_KIND: Final = {kind: (layout, cls) for kind, layout, cls in _FIXED}


def encode(message: Message) -> tuple[int, bytes]:
    """Return the kind and the body of a frame."""
    match message:
        case Append():
            return _APPEND_KIND, _encode_append(message)
        case Propose():
            return _PROPOSE_KIND, message.payload
        case SnapshotChunk():
            head = _CHUNK.pack(
                message.term, message.index, message.index_term, message.image_id,
                message.total, message.offset, message.round,
            )  # fmt: skip
            crc = crc32(message.data, crc32(head))
            return _CHUNK_KIND, b"".join((_CRC.pack(crc), head, message.data))
        case ReadIndexRequest():
            return _READ_KIND, _READ.pack(message.request) + message.note
        case LeaderCall() | LeaderAnswer():
            return _KIND_OF_LEADER[type(message)], _READ.pack(message.request) + message.body
        case ReadIndexReply():
            head = _READ_REPLY.pack(message.request, message.index)
            return _READ_REPLY_KIND, head + message.answer
        case _:
            kind, layout = _BY_TYPE[type(message)]
            fields = (getattr(message, name) for name in message.__struct_fields__)
            return kind, layout.pack(*fields)


def decode(kind: int, body: bytes | memoryview) -> Message:
    """Return the message of a frame, which keeps nothing of a view.

    Raises:
        BadFrame: not a message of this version.
    """
    try:
        if kind == _APPEND_KIND:
            return _decode_append(body)
        if kind == _PROPOSE_KIND:
            return Propose(bytes(body))
        if kind in _BY_KIND:
            layout, cls = _BY_KIND[kind]
            return cls(*layout.unpack(body))  # type: ignore[return-value]  # the table holds messages only
        if kind == _CHUNK_KIND:
            return _decode_chunk(body)
        if kind == _READ_KIND:
            return ReadIndexRequest(_READ.unpack_from(body)[0], _note(body, _READ.size))
        if kind in _LEADER_KINDS:
            if len(body) > limits.LEADER_CALL_BYTES_MAX:
                raise BadFrame(f"a question to the leader, or its answer, of {len(body)} bytes")
            return _LEADER_KINDS[kind](_READ.unpack_from(body)[0], bytes(body[_READ.size :]))
        if kind == _READ_REPLY_KIND:
            request, index = _READ_REPLY.unpack_from(body)
            return ReadIndexReply(request, index, _note(body, _READ_REPLY.size))
    except struct.error as error:
        raise BadFrame(f"a frame of kind {kind} and {len(body)} bytes: {error}") from error
    raise BadFrame(f"a frame of unknown kind {kind}")


def _encode_append(message: Append) -> bytes:
    parts = [
        _APPEND.pack(
            message.term, message.prev, message.prev_term, message.commit, message.round,
            len(message.entries), message.is_silent,
        )
    ]  # fmt: skip
    pack = _ENTRY.pack
    for entry in message.entries:
        payload = entry.payload
        parts.append(pack(len(payload), entry.kind, entry.term))
        parts.append(payload)
    return b"".join(parts)


def _decode_append(body: bytes | memoryview) -> Append:
    term, prev, prev_term, commit, round_, count, is_silent = _APPEND.unpack_from(body)
    at, size, before = _APPEND.size, len(body), prev_term
    entries: list[Entry] = []
    unpack, head = _ENTRY.unpack_from, _ENTRY.size
    for index in range(prev + 1, prev + 1 + count):
        length, kind, entry_term = unpack(body, at)
        at += head
        if at + length > size or kind not in _ENTRY_KINDS or not before <= entry_term <= term:
            raise BadFrame(f"entry {index} of kind {kind} and term {entry_term}, {length} bytes")
        before = entry_term
        entries.append(Entry(index, entry_term, kind, bytes(body[at : at + length])))
        at += length
    if at != size:
        raise BadFrame(f"{size - at} bytes behind the last entry")
    return Append(term, prev, prev_term, commit, round_, tuple(entries), is_silent)


def _decode_chunk(body: bytes | memoryview) -> SnapshotChunk:
    (crc,) = _CRC.unpack_from(body)
    if crc32(memoryview(body)[_CRC.size :]) != crc:
        raise BadFrame(f"a chunk of {len(body)} bytes fails its checksum")
    term, index, index_term, image_id, total, offset, round_ = _CHUNK.unpack_from(body, _CRC.size)
    data = bytes(body[_CRC.size + _CHUNK.size :])
    if index == 0 or index_term > term or offset + len(data) > total:
        raise BadFrame(f"chunk at {offset} of {total} bytes, {len(data)} long, index {index}")
    return SnapshotChunk(term, index, index_term, image_id, total, offset, round_, data)


def _note(body: bytes | memoryview, at: int) -> bytes:
    if len(body) - at > NOTE_BYTES_MAX:
        raise BadFrame(f"a note of {len(body) - at} bytes")
    return bytes(body[at:])
