"""One TCP connection to a peer: bytes to frames, frames to bytes, and who is at the other end.

Owns the receive buffer, the frames queued for the next write, and the opening of this connection. What a frame means,
and which of several connections of a peer counts, is the transport's.
"""

import asyncio
import struct
from typing import Protocol, cast

from sybline import limits
from sybline.replication.handshake import (
    HANDSHAKE_FRAME_BYTES_MAX,
    Handshake,
    HandshakeKind,
    HandshakeRefused,
)
from sybline.replication.messages import BadFrame
from sybline.replication.peer_security import PeerSecurity

KEEPALIVE_KIND = 0
RECEIVE_BUFFER_BYTES = limits.APPEND_BYTES_MAX + 64 * limits.KIB  # a full append and its framing
FREE_BYTES_MIN = 16 * limits.KIB  # a read is offered at least this much room
_LENGTH = struct.Struct("<I")
_HEADER = struct.Struct("<IB")


class Owner(Protocol):
    """What a connection tells the transport."""

    def opened(self, connection: "PeerConnection") -> None:
        """The other side proved to be `connection.peer`."""

    def refused(self, connection: "PeerConnection", error: HandshakeRefused) -> None:
        """The opening failed; the connection closes itself."""

    def frame(self, connection: "PeerConnection", kind: int, body: memoryview) -> None:
        """A frame arrived after the opening; the view lasts for this call. Raises BadFrame."""

    def broken(self, connection: "PeerConnection", reason: str) -> None:
        """A frame could not be read; the connection closes itself."""

    def lost(self, connection: "PeerConnection") -> None:
        """The connection is gone."""


class PeerConnection(asyncio.BufferedProtocol):
    """One connection, dialled or accepted."""

    def __init__(
        self, owner: Owner, handshake: Handshake, security: PeerSecurity | None = None
    ) -> None:
        """With `security`, who does not have a member's certificate does not get to say a word."""
        self._owner = owner
        self.handshake = handshake
        self._security = security
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(limits.KIB * 4)  # grows once the peer has proved who it is
        self._view = memoryview(self._buffer)
        self._start = 0  # of the first byte not yet consumed
        self._end = 0  # of what was received
        self._frame_bytes_max = HANDSHAKE_FRAME_BYTES_MAX
        self._queued: list[bytes] = []
        self._queued_bytes = 0
        self.peer: int | None = None  # once the opening is done
        self.closed = asyncio.Event()
        self._received_something = True  # since the owner last counted
        self._silent_checks = 0

    @property
    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        """Return what waits to be taken by the other side, in bytes."""
        written = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return self._queued_bytes + written

    @property
    def remote_address(self) -> str:
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unknown"

    def queue(self, kind: int, body: bytes) -> None:
        """Queue a frame for the next `flush`."""
        self._queued.append(_HEADER.pack(len(body) + 1, kind))
        self._queued.append(body)
        self._queued_bytes += len(body) + _HEADER.size

    def flush(self) -> None:
        """Write what is queued, joined: over TLS each part would become a record of its own."""
        parts, self._queued, self._queued_bytes = self._queued, [], 0
        if parts and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def count_silence(self) -> int:
        """Return how many calls in a row found that nothing had arrived since the call before."""
        self._silent_checks = 0 if self._received_something else self._silent_checks + 1
        self._received_something = False
        return self._silent_checks

    def close(self) -> None:
        """Close once what was written has left."""
        if self._transport is not None:
            self._transport.close()
        else:
            self.closed.set()

    def abort(self) -> None:
        """Close at once; what is unsent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.BufferedProtocol ---
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        try:
            self._check_certificate(self._transport)
        except HandshakeRefused as error:
            self._refuse(error)
        else:
            self._send_opening(self.handshake.first_frames())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._queued = []
        self.closed.set()
        self._owner.lost(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        if len(self._buffer) - self._end < FREE_BYTES_MIN and self._start:
            self._compact(len(self._buffer))
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        self._received_something = True
        try:
            self._take_frames()
        except BadFrame as error:
            self._owner.broken(self, str(error))
            self.abort()
        except HandshakeRefused as error:
            self._refuse(error)

    # --- reading ---
    def _take_frames(self) -> None:
        while not self.is_closing:
            held = self._end - self._start
            if held < _LENGTH.size:
                break
            (length,) = _LENGTH.unpack_from(self._buffer, self._start)
            if not 1 <= length <= self._frame_bytes_max:
                raise BadFrame(f"a frame of {length} bytes")
            if held < _LENGTH.size + length:
                self._make_room(_LENGTH.size + length)
                return
            at = self._start + _LENGTH.size
            self._start = at + length
            self._take(self._buffer[at], self._view[at + 1 : self._start])
        if self._start == self._end:
            self._reset_buffer()

    def _take(self, kind: int, body: memoryview) -> None:
        if self.peer is not None:
            if kind != KEEPALIVE_KIND:
                self._owner.frame(self, kind, body)
            return
        self._send_opening(self.handshake.received(kind, bytes(body)))
        if self.handshake.is_done:
            self.peer = self.handshake.peer
            self._frame_bytes_max = limits.FRAME_BYTES_MAX
            self._owner.opened(self)

    def _reset_buffer(self) -> None:
        """Everything is consumed: begin at the front, with a buffer of the usual size."""
        self._start = self._end = 0
        if self.peer is not None and len(self._buffer) != RECEIVE_BUFFER_BYTES:
            self._replace(RECEIVE_BUFFER_BYTES)

    def _make_room(self, frame_bytes: int) -> None:
        if self._start + frame_bytes > len(self._buffer):
            self._compact(max(frame_bytes, len(self._buffer)))

    def _compact(self, capacity: int) -> None:
        """Move what is not consumed to the front of a buffer of `capacity` bytes."""
        held = self._end - self._start
        if capacity == len(self._buffer):
            self._view[:held] = self._view[self._start : self._end]
        else:
            self._replace(capacity)
        self._start, self._end = 0, held

    def _replace(self, capacity: int) -> None:
        """Take a new buffer: one that is lent to the loop cannot change its size."""
        buffer = bytearray(capacity)
        view = memoryview(buffer)
        view[: self._end - self._start] = self._view[self._start : self._end]
        self._buffer, self._view = buffer, view

    # --- the opening ---
    def _check_certificate(self, transport: asyncio.Transport) -> None:
        if self._security is None:
            return
        reason = self._security.refusal(transport.get_extra_info("peercert"))
        if reason:
            raise HandshakeRefused(reason)

    def _send_opening(self, frames: list[tuple[HandshakeKind, bytes]]) -> None:
        for kind, body in frames:
            self.queue(kind, body)
        self.flush()

    def _refuse(self, error: HandshakeRefused) -> None:
        self._send_opening(error.frames)
        self._owner.refused(self, error)
        self.close()
