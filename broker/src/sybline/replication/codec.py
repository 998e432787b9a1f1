"""Command bytes of the log: a fixed header and a msgpack command. The header is what replication itself needs.

offset  bytes
0       1       format version
1       8       log time in milliseconds, stamped by the leader when it appends
9       8       origin: random number of the proposing process
17      8       sequence: of that process, rising
25      8       answered_below: that process waits for no reply to a smaller sequence
33      …       msgpack array [tag, fields…], see state_machine/commands.py
"""

import struct
from dataclasses import dataclass

import msgspec

from sybline.state_machine.commands import AnyCommand

FORMAT_VERSION = 1
_HEADER = struct.Struct("<BQQQQ")
_STAMP = struct.Struct("<BQ")
_encoder = msgspec.msgpack.Encoder()
_decoder: "msgspec.msgpack.Decoder[AnyCommand]" = msgspec.msgpack.Decoder(AnyCommand)


class UnknownFormat(Exception):
    """The bytes are not a command this version knows; applying must stop the member."""


@dataclass(frozen=True, slots=True)
class Header:
    """The part of an entry that replication reads."""

    now_ms: int
    origin: int
    sequence: int
    answered_below: int


def encode_request(origin: int, sequence: int, answered_below: int, command: AnyCommand) -> bytes:
    """Return an entry payload whose log time is still zero."""
    header = _HEADER.pack(FORMAT_VERSION, 0, origin, sequence, answered_below)
    return header + _encoder.encode(command)


def stamp(payload: bytes, now_ms: int) -> bytes:
    """Return the payload with the leader's log time."""
    return b"".join((_STAMP.pack(FORMAT_VERSION, now_ms), memoryview(payload)[_STAMP.size :]))


def decode_header(payload: bytes) -> Header:
    """Return the header.

    Raises:
        UnknownFormat: too short or of another version.
    """
    if len(payload) < _HEADER.size or payload[0] != FORMAT_VERSION:
        raise UnknownFormat(f"entry of {len(payload)} bytes, first {payload[:1].hex()}")
    _, now_ms, origin, sequence, answered_below = _HEADER.unpack_from(payload)
    return Header(now_ms, origin, sequence, answered_below)


def decode_command(payload: bytes) -> AnyCommand:
    """Return the command; its message bodies are a view of the payload.

    Raises:
        UnknownFormat: not a command this version knows.
    """
    try:
        return _decoder.decode(memoryview(payload)[_HEADER.size :])
    except msgspec.DecodeError as error:
        raise UnknownFormat(str(error)) from error
