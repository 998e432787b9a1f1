"""How two members get to know each other before a single message passes: sans I/O.

Owns the frames of the opening: HELLO both ways, then a PROOF both ways, the dialer's first, then both judge each other:
WELCOME, or REFUSED with a reason. With a cluster secret a proof is an HMAC-SHA256 over both hellos, which carry a fresh
nonce each and say who speaks and how he stands; without one it is empty. The side that was dialled proves nothing to
somebody who has not proved himself, and nobody believes a reason before the proof.

    dialer                          acceptor
    HELLO                  ->
                           <-       HELLO, or REFUSED
    PROOF, or REFUSED      ->
                           <-       PROOF and WELCOME or REFUSED; or REFUSED
    WELCOME, or REFUSED    ->

A probe only wants to know who is there: it ends with the acceptor's proof.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from sybline import limits
from sybline.replication.admission import Doubt, Refusal, Standing
from sybline.replication.identity import Identity

MAGIC = 0x53594252
PROTOCOL_VERSION = 1
NONCE_BYTES = 32
HANDSHAKE_FRAME_BYTES_MAX = 1_024
REASON_BYTES_MAX = 300
# magic, protocol, flags, cluster, group, member, cluster uid, configuration version, nonce; then the name
_HELLO = struct.Struct(f"<IHB16sIQQQ{NONCE_BYTES}s")
_HAS_SECRET, _IS_BLANK, _IS_PROBE = 1, 2, 4
_PROOF_CONTEXT = b"sybline peer 1 "

Judge = Callable[[Standing], Refusal | None]
Frames = list[tuple["HandshakeKind", bytes]]


class HandshakeKind(IntEnum):
    """Frame kinds before the messages begin."""

    HELLO = 1
    PROOF = 2
    REFUSED = 3
    WELCOME = 4


class HandshakeRefused(Exception):
    """The other side is not one we talk to, or does not talk to us. `frames`: what it still gets to read."""

    def __init__(self, reason: str, frames: Frames | None = None) -> None:
        super().__init__(reason)
        self.frames: Frames = [] if frames is None else frames


class ToldRefused(HandshakeRefused):
    """The other side, proved to be a member, refused this one."""

    def __init__(self, member: int, refusal: Refusal) -> None:
        super().__init__(f"refused by member {member}: {refusal.text}")
        self.member = member
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of an opening brings along."""

    identity: Identity
    standing: Standing
    secret: bytes  # empty: none
    judge: Judge
    nonce: bytes


class Handshake:
    """One side of one opening."""

    def __init__(
        self, side: Side, *, dials: bool, expected: int | None = None, is_probe: bool = False
    ) -> None:
        """`expected`: the member that was dialled, None: whoever is there. `is_probe`: the dialer only asks."""
        self._side = side
        self._expected = expected
        self._is_probe = is_probe
        self._hello = self._build_hello()
        self._other_hello = b""
        self._other_is_probe = False
        self._is_proven = False  # the other side is
        self._has_judged = False
        self.is_dialer = dials
        self.other: Standing | None = None  # as claimed in its hello
        self.is_done = False

    @property
    def peer(self) -> int | None:
        """Return the member at the other end, as it claims."""
        return None if self.other is None else self.other.member

    def first_frames(self) -> Frames:
        """Return what to send as soon as the connection stands."""
        return [(HandshakeKind.HELLO, self._hello)] if self.is_dialer else []

    def received(self, kind: int, body: bytes) -> Frames:
        """Take a frame and return what to send; afterwards look at `is_done`.

        Raises:
            HandshakeRefused: the connection must be closed.
        """
        if kind == HandshakeKind.REFUSED:
            raise self._told(body)
        if kind == HandshakeKind.HELLO and not self._other_hello:
            self._check_hello(body)
            if self.is_dialer:
                return [(HandshakeKind.PROOF, self._proof(self._hello, body))]
            return [(HandshakeKind.HELLO, self._hello)]
        if kind == HandshakeKind.PROOF and self._other_hello and not self._is_proven:
            return self._check_proof(body)
        if kind == HandshakeKind.WELCOME and self._has_judged and not body:
            self.is_done = True
            return []
        raise HandshakeRefused(
            f"frame {kind} is out of place in the opening", _refused("out of place")
        )

    def _told(self, body: bytes) -> HandshakeRefused:
        doubt, text = body[:1], _printable(body[1:])
        if self._is_proven and self.other is not None and doubt in _DOUBTS:
            return ToldRefused(self.other.member, Refusal(_DOUBTS[doubt], text))
        return HandshakeRefused(f"refused by the other side: {text}")

    # --- hello ---
    def _build_hello(self) -> bytes:
        identity, own = self._side.identity, self._side.standing
        flags = _HAS_SECRET if self._side.secret else 0
        flags |= (_IS_BLANK if own.is_blank else 0) | (_IS_PROBE if self._is_probe else 0)
        return _HELLO.pack(
            MAGIC, PROTOCOL_VERSION, flags, identity.cluster_hash, identity.group, own.member,
            own.cluster_uid, own.version, self._side.nonce,
        ) + own.name.encode()[: limits.HOST_CHARACTERS_MAX]  # fmt: skip

    def _check_hello(self, body: bytes) -> None:
        if len(body) < _HELLO.size:
            raise HandshakeRefused("not a member of a Sybline cluster")
        magic, version, flags, cluster, group, member, uid, configuration, _ = _HELLO.unpack_from(
            body
        )
        if magic != MAGIC:
            raise HandshakeRefused("not a member of a Sybline cluster")
        reason = self._mismatch(version, flags, cluster, group, member)
        if reason:
            raise HandshakeRefused(reason, _refused(reason))
        self._other_hello = body
        self._other_is_probe = bool(flags & _IS_PROBE)
        name = _printable(body[_HELLO.size :])
        self.other = Standing(member, name, uid, configuration, bool(flags & _IS_BLANK))

    def _mismatch(self, version: int, flags: int, cluster: bytes, group: int, member: int) -> str:
        """Return what in a hello does not fit whoever it comes from; "": nothing."""
        own = self._side.identity
        if version != PROTOCOL_VERSION:
            return f"protocol version {version}, here it is {PROTOCOL_VERSION}"
        if cluster != own.cluster_hash:
            return "another cluster id"
        if group != own.group:
            return f"group {group}, here it is {own.group}"
        if member == own.member or not member:
            return f"member {member} cannot talk to member {own.member}"
        if self._expected not in (None, member):
            return f"member {member} answers at the address of {self._expected}"
        if bool(flags & _HAS_SECRET) != bool(self._side.secret):
            return "one side has a cluster secret and the other has none"
        return ""

    # --- proof and judgement ---
    def _check_proof(self, body: bytes) -> Frames:
        if not hmac.compare_digest(body, self._proof(self._other_hello, self._hello)):
            reason = "the cluster secret is not the same"
            raise HandshakeRefused(reason, _refused(reason))
        self._is_proven = True
        own: Frames = []
        if not self.is_dialer:
            own = [(HandshakeKind.PROOF, self._proof(self._hello, self._other_hello))]
        if self._is_probe:
            self.is_done = True
        if self._is_probe or self._other_is_probe:
            return own
        assert self.other is not None
        refusal = self._side.judge(self.other)
        if refusal is not None:
            raise HandshakeRefused(refusal.text, own + _refused(refusal.text, refusal.doubt))
        self._has_judged = True
        return [*own, (HandshakeKind.WELCOME, b"")]

    def _proof(self, speaker: bytes, listener: bytes) -> bytes:
        """Return what the sender of `speaker` shows to the sender of `listener`; both hellos name their member."""
        if not self._side.secret:
            return b""
        context = _PROOF_CONTEXT + speaker + listener
        return hmac.new(self._side.secret, context, hashlib.sha256).digest()


_DOUBTS = {bytes([doubt]): doubt for doubt in Doubt}


def _refused(reason: str, doubt: Doubt = Doubt.OTHER) -> Frames:
    """Return the frame that tells the other side why."""
    return [(HandshakeKind.REFUSED, bytes([doubt]) + reason.encode()[:REASON_BYTES_MAX])]


def _printable(text: bytes) -> str:
    """Return foreign text made harmless for a log line."""
    shown = text[:REASON_BYTES_MAX].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in shown)
