"""One gRPC call in raw HTTP/2 frames, to send exactly the headers of an old client and to see the compressed flag.

Headers are sent as HPACK literals without indexing or Huffman coding; received header blocks are skipped, so the
status is not known: only whether messages came, and how.
"""

import asyncio
import struct
from dataclasses import dataclass, field

from tests.support.connections import dialled

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_BYTES = 1 << 30


@dataclass
class RawAnswer:
    """The data frames of an answer, put together."""

    data: bytes = b""
    header_blocks: list[bytes] = field(default_factory=list)

    @property
    def is_compressed(self) -> bool:
        """Return the compressed flag of the first message."""
        return bool(self.data) and self.data[0] == 1

    @property
    def message(self) -> bytes:
        """Return the first message's bytes as they travelled."""
        return self.data[5 : 5 + int.from_bytes(self.data[1:5], "big")]


async def raw_unary(
    address: str,
    method: str,
    request: bytes,
    headers: list[tuple[str, str]],
    *,
    deadline_s: float = 10.0,
) -> RawAnswer:
    """Call `method` (a full path) and return what came until the stream ended."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(deadline_s):
        async with dialled(int(port), host=host) as (reader, writer):
            writer.write(_opening(address, method, request, headers))
            return await _read_answer(reader, writer)


def _opening(address: str, method: str, request: bytes, headers: list[tuple[str, str]]) -> bytes:
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "grpc-go/1.52.0"),
        *headers,
    ]
    block = b"".join(_literal(name, value) for name, value in fields)
    message = b"\0" + len(request).to_bytes(4, "big") + request
    assert len(message) <= 16_384, "one frame is all this can send"
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, struct.pack("!HI", 4, _WINDOW_BYTES))
        + _frame(_WINDOW, 0, 0, struct.pack("!I", _WINDOW_BYTES))
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, message)
    )


async def _read_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> RawAnswer:
    answer = RawAnswer()
    while True:
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream = int.from_bytes(head[5:], "big") & 0x7FFF_FFFF
        payload = await reader.readexactly(length)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            answer.data += payload
        elif kind == _HEADERS:
            answer.header_blocks.append(payload)
        if kind in (_RST, _GOAWAY):
            raise ConnectionError(f"the server ended the call: frame {kind}, {payload!r}")
        if stream == 1 and kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            return answer


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def _literal(name: str, value: str) -> bytes:
    return b"\0" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, tail = len(raw) - 127, b""
    while rest >= 128:
        tail += bytes((rest % 128 + 128,))
        rest //= 128
    return b"\x7f" + tail + bytes((rest,)) + raw
