"""How two members get to know each other before a single message passes: sans I/O.

Owns the three frames of the opening: HELLO both ways, then a PROOF both ways, the dialer's first, or REFUSED with a
reason. With a cluster secret a proof is an HMAC-SHA256 over both hellos, which carry a fresh nonce each and say who
speaks; without one it is empty. The side that was dialled proves nothing to somebody who has not proved himself.

    dialer                      acceptor
    HELLO              ->
                       <-       HELLO, or REFUSED
    PROOF, or REFUSED  ->
                       <-       PROOF, or REFUSED
"""

import hashlib
import hmac
import struct
from enum import IntEnum

from sybline.replication.identity import Identity

MAGIC = 0x53594252
PROTOCOL_VERSION = 1
NONCE_BYTES = 32
HANDSHAKE_FRAME_BYTES_MAX = 1_024
REASON_BYTES_MAX = 300
_HELLO = struct.Struct(f"<IHB16sIQ{NONCE_BYTES}s")
_HAS_SECRET = 1
_PROOF_CONTEXT = b"sybline peer 1 "


class HandshakeKind(IntEnum):
    """Frame kinds before the messages begin."""

    HELLO = 1
    PROOF = 2
    REFUSED = 3


class HandshakeRefused(Exception):
    """The other side is not one we talk to. `tell`: whether it gets to read the reason."""

    def __init__(self, reason: str, *, tell: bool = True) -> None:
        super().__init__(reason)
        self.tell = tell


class Handshake:
    """One side of one opening."""

    def __init__(
        self,
        identity: Identity,
        *,
        secret: bytes,
        peers: frozenset[int],
        nonce: bytes,
        expected: int | None,
    ) -> None:
        """`expected` is the member that was dialled; None: this side was. An empty secret is none."""
        self._identity = identity
        self._secret = secret
        self._peers = peers
        self._expected = expected
        self._hello = self._build_hello(nonce)
        self._other_hello = b""
        self.peer: int | None = None  # as claimed in its hello
        self.is_done = False

    @property
    def is_dialer(self) -> bool:
        return self._expected is not None

    def first_frames(self) -> list[tuple[HandshakeKind, bytes]]:
        """Return what to send as soon as the connection stands."""
        return [(HandshakeKind.HELLO, self._hello)] if self.is_dialer else []

    def received(self, kind: int, body: bytes) -> list[tuple[HandshakeKind, bytes]]:
        """Take a frame and return what to send; afterwards look at `is_done`.

        Raises:
            HandshakeRefused: the connection must be closed.
        """
        if kind == HandshakeKind.REFUSED:
            raise HandshakeRefused(f"refused by the other side: {_printable(body)}", tell=False)
        if kind == HandshakeKind.HELLO and not self._other_hello:
            self._check_hello(body)
            if self.is_dialer:
                return [(HandshakeKind.PROOF, self._proof(self._hello, body))]
            return [(HandshakeKind.HELLO, self._hello)]
        if kind == HandshakeKind.PROOF and self._other_hello:
            return self._check_proof(body)
        raise HandshakeRefused(f"frame {kind} is out of place in the opening")

    def _build_hello(self, nonce: bytes) -> bytes:
        own = self._identity
        flags = _HAS_SECRET if self._secret else 0
        return _HELLO.pack(
            MAGIC, PROTOCOL_VERSION, flags, own.cluster_hash, own.group, own.member, nonce
        )

    def _check_hello(self, body: bytes) -> None:
        own = self._identity
        if len(body) != _HELLO.size:
            raise HandshakeRefused("not a member of a Sybline cluster", tell=False)
        magic, version, flags, cluster_hash, group, member, _ = _HELLO.unpack(body)
        if magic != MAGIC:
            raise HandshakeRefused("not a member of a Sybline cluster", tell=False)
        if version != PROTOCOL_VERSION:
            raise HandshakeRefused(f"protocol version {version}, here it is {PROTOCOL_VERSION}")
        if cluster_hash != own.cluster_hash:
            raise HandshakeRefused("another cluster id")
        if group != own.group:
            raise HandshakeRefused(f"group {group}, here it is {own.group}")
        if member == own.member or member not in self._peers:
            raise HandshakeRefused(f"member {member} is not a configured peer of {own.member}")
        if self._expected is not None and member != self._expected:
            raise HandshakeRefused(f"member {member} answers at the address of {self._expected}")
        if bool(flags & _HAS_SECRET) != bool(self._secret):
            raise HandshakeRefused("one side has a cluster secret and the other has none")
        self._other_hello = body
        self.peer = member

    def _check_proof(self, body: bytes) -> list[tuple[HandshakeKind, bytes]]:
        if not hmac.compare_digest(body, self._proof(self._other_hello, self._hello)):
            raise HandshakeRefused("the cluster secret is not the same")
        self.is_done = True
        if self.is_dialer:
            return []
        return [(HandshakeKind.PROOF, self._proof(self._hello, self._other_hello))]

    def _proof(self, speaker: bytes, listener: bytes) -> bytes:
        """Return what the sender of `speaker` shows to the sender of `listener`; both hellos name their member."""
        if not self._secret:
            return b""
        context = _PROOF_CONTEXT + speaker + listener
        return hmac.new(self._secret, context, hashlib.sha256).digest()


def refusal(reason: str) -> tuple[HandshakeKind, bytes]:
    """Return the frame that tells the other side why."""
    return HandshakeKind.REFUSED, reason.encode()[:REASON_BYTES_MAX]


def _printable(text: bytes) -> str:
    """Return foreign text made harmless for a log line."""
    shown = text[:REASON_BYTES_MAX].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in shown)
