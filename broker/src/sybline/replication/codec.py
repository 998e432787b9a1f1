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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from sybline.state_machine.commands import AnyCommand, Enqueue, EnqueueRun

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


def thin(payload: bytes, live: Iterable[tuple[int, int]]) -> bytes | None:
    """Return a publish without the bodies that nobody needs; None: it is none, or nothing of it is needed.

    `live`: number of the first message and count, rising and disjoint. Messages keep their numbers: those that are gone
    become runs of empty bodies. What else only applying needs is left out: such a command is read, never applied again.

    Raises:
        UnknownFormat: not a command this version knows.
    """
    command = decode_command(payload)
    if not isinstance(command, Enqueue):
        return None
    runs: list[EnqueueRun] = []
    bodies: list[memoryview] = []
    told = 0  # messages in `runs`
    for number, count, size, offset in _live_parts(command, live):
        if number > told:
            runs.append(EnqueueRun(0, number - told, 0))
        runs.append(EnqueueRun(0, count, size))
        bodies.append(command.bodies[offset : offset + count * size])
        told = number + count
    if not runs:
        return None
    if told == sum(run.count for run in command.runs) and sum(map(len, bodies)) == len(
        command.bodies
    ):
        return payload
    kept = Enqueue(
        command.caller, command.routing_keys[:1], tuple(runs), memoryview(b"".join(bodies))
    )
    return payload[: _HEADER.size] + _encoder.encode(kept)


def _live_parts(
    command: Enqueue, live: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, count, body size and offset of the live messages, cut where the command's runs are."""
    first = offset = 0  # of the run
    runs = iter(command.runs)
    run = next(runs, None)
    for begin, count in live:
        number, end = begin, begin + count
        while run is not None and number < end:
            if number >= first + run.count:
                first, offset = first + run.count, offset + run.count * run.size_bytes
                run = next(runs, None)
                continue
            part = min(end, first + run.count) - number
            yield number, part, run.size_bytes, offset + (number - first) * run.size_bytes
            number += part
