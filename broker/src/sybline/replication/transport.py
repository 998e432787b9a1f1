"""Who is connected to whom: the listener, the dialling, and one live connection per peer.

Of two members one dials, and the other only after it has missed it for a while; of several connections of a peer the
newest counts, for two at once would break the order of messages. Whom to dial follows the membership (`set_links`);
whoever proves to be of the cluster may come. Owns the time-outs and bounds of connections. Knows no message: a frame is
a kind and a body. Nothing from the network is unpickled; a frame's length is checked before its bytes are waited for.

Frame: u32 length of the rest (little endian), u8 kind, body. Kind 0 with an empty body keeps a quiet connection alive.
"""

import asyncio
import random
import secrets
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from sybline import limits
from sybline.errors import Unreachable
from sybline.replication.acceptor import Acceptor, listen
from sybline.replication.admission import Refusal, Standing
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.handshake import (
    NONCE_BYTES,
    Handshake,
    HandshakeRefused,
    Side,
    ToldRefused,
)
from sybline.replication.identity import Identity
from sybline.replication.measures import Counters
from sybline.replication.peer_connection import KEEPALIVE_KIND, PeerConnection
from sybline.replication.peer_security import PeerSecurity
from sybline.replication.probe import Probe

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 2.0  # resolving the name included
HANDSHAKE_TIMEOUT_S = 5.0
TLS_TIMEOUT_S = 3.0  # of these: so there is a connection to close when they are over
CLOSE_TIMEOUT_S = 1.0  # for what is queued when this member stops
CHECK_INTERVAL_S = 1.0  # keepalives leave this often, and silence is counted in it
SILENT_CHECKS_MAX = 4  # a peer that was silent for so many checks in a row is cut off
REDIAL_S_FIRST = 0.1
REDIAL_S_MAX = 1.0
REDIAL_FACTOR = 1.6
STAND_IN_S = 3.0  # without a connection for so long, the side that is dialled dials, too
OPENINGS_MAX = 64  # connections that have not proved who they are yet
REFUSAL_LOG_INTERVAL_S = 10.0  # the same refusal is logged at most this often …
REFUSAL_LOG_ENTRIES_MAX = 256  # … for so many different ones


class Receiver(Protocol):
    """Who gets what arrives; called on the loop, never from inside `send` or `flush`."""

    def connected(self, peer: int) -> None: ...

    def disconnected(self, peer: int) -> None: ...

    def frame(self, peer: int, kind: int, body: memoryview) -> None:
        """Take a frame, which lasts for this call; raises BadFrame, which closes the connection."""


class Gate(Protocol):
    """Who says how this member stands, and judges others (`admission.py`); called on the loop."""

    def standing(self) -> Standing: ...

    def judge(self, peer: Standing) -> Refusal | None: ...

    def told(self, member: int, refusal: Refusal) -> None:
        """A proved member refused this one."""


@dataclass(frozen=True, slots=True)
class Link:
    """How to reach a peer."""

    addresses: tuple[str, ...]  # "host:port"; tried in turn
    dials: bool  # this side dials


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Where to listen, and as whom."""

    identity: Identity
    listen_host: str
    listen_port: int  # 0: any free one
    secret: bytes = b""
    tls: PeerSecurity | None = None  # None: plain TCP


class PeerTransport:
    """The connections of this member to its peers."""

    def __init__(
        self,
        settings: TransportSettings,
        *,
        rng: random.Random,
        counters: Counters,
        edge: FailStopEdge,
    ) -> None:
        """Listening and dialling run inside `edge`: an error there that nobody expected ends the member."""
        self._settings = settings
        self._receiver: Receiver  # both set by `start`: nothing arrives before
        self._gate: Gate
        self._edge = edge
        self._rng = rng
        self._counters = counters
        self._links: dict[int, Link] = {}
        self._dialling: dict[int, asyncio.Task[None]] = {}
        self._live: dict[int, PeerConnection] = {}
        self._openings: dict[PeerConnection, asyncio.TimerHandle] = {}
        self._unflushed: set[PeerConnection] = set()
        self._flush_handle: asyncio.Handle | None = None
        self._acceptor: Acceptor | None = None
        self._accepting: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._refusals_logged: dict[str, float] = {}
        self._is_stopping = False

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        assert self._acceptor is not None
        return self._acceptor.port

    def is_connected(self, peer: int) -> bool:
        connection = self._live.get(peer)
        return connection is not None and not connection.is_closing

    def unsent_bytes(self, peer: int) -> int:
        """Return what waits to be taken by a peer, in bytes."""
        connection = self._live.get(peer)
        return 0 if connection is None else connection.unsent_bytes

    async def start(self, receiver: Receiver, gate: Gate) -> None:
        """Listen; dial whom `set_links` names.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._receiver, self._gate = receiver, gate
        loop = asyncio.get_running_loop()
        listener = await loop.run_in_executor(
            None, listen, self._settings.listen_host, self._settings.listen_port
        )
        self._acceptor = Acceptor(listener, accepted=self._accepted, failed=self._accept_failed)
        self._tasks.append(self._edge.spawn(self._check_all()))

    def set_links(self, links: Mapping[int, Link]) -> None:
        """Know these peers from now on; the connections of those that are no longer among them close."""
        gone = self._links.keys() - links.keys()
        self._links = dict(links)
        for peer in gone:
            self._dialling.pop(peer).cancel()
            if peer in self._live:
                self._live[peer].flush()
                self._live[peer].close()
        for peer in sorted(links.keys() - self._dialling.keys()):
            self._dialling[peer] = self._edge.spawn(self._dial(peer))

    async def identify(self, address: str) -> Standing:
        """Return who listens at "host:port"; the caller limits the time.

        Raises:
            Unreachable: nobody, or a stranger.
        """
        probe = Probe()
        handshake = Handshake(self._side(), dials=True, is_probe=True)
        connection = PeerConnection(probe, handshake, self._settings.tls)
        try:
            await self._open_connection(address, connection)
            return await probe.answer()
        except (OSError, ValueError) as error:
            raise Unreachable(str(error)) from error
        finally:
            connection.abort()

    async def stop(self) -> None:
        """Send what is queued, close everything."""
        self._is_stopping = True
        self.flush()
        if self._acceptor is not None:
            self._acceptor.close()
        tasks = [*self._tasks, *self._dialling.values(), *self._accepting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closing = [*self._live.values(), *self._openings]
        for connection in closing:
            connection.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for connection in closing:
                    await connection.closed.wait()
        except TimeoutError:
            for connection in closing:
                connection.abort()

    def send(self, peer: int, kind: int, body: bytes) -> bool:
        """Queue a frame for a peer and return whether there is a connection to take it.

        A peer that leaves too much unread is cut off: it must not hold this member's memory.
        """
        connection = self._live.get(peer)
        if connection is None or connection.is_closing:
            return False
        if connection.unsent_bytes + len(body) > limits.PEER_WRITE_BUFFER_BYTES_MAX:
            self._counters.peer_stalled += 1
            log.warning("peer_stalled", peer=peer, unsent_bytes=connection.unsent_bytes)
            connection.abort()
            return False
        connection.queue(kind, body)
        self._unflushed.add(connection)
        if self._flush_handle is None:
            self._flush_handle = asyncio.get_running_loop().call_soon(self.flush)
        return True

    def flush(self) -> None:
        """Write what was queued; happens by itself at the end of the loop's turn."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        unflushed, self._unflushed = self._unflushed, set()
        for connection in unflushed:
            connection.flush()

    # --- what connections tell (peer_connection.Owner) ---
    def opened(self, connection: PeerConnection) -> None:
        """Make this the connection of its peer, in place of an older one."""
        self._close_opening(connection)
        peer = connection.peer
        assert peer is not None
        older = self._live.pop(peer, None)
        if older is not None:
            log.info("peer_reconnected", peer=peer)
            older.abort()
            self._receiver.disconnected(peer)
        self._live[peer] = connection
        log.info("peer_connected", peer=peer, address=connection.remote_address)
        self._receiver.connected(peer)

    def refused(self, connection: PeerConnection, error: HandshakeRefused) -> None:
        """Count and log an opening that failed; what a member says of this one may matter."""
        self._note_refusal(connection.remote_address, str(error))
        if isinstance(error, ToldRefused):
            self._gate.told(error.member, error.refusal)

    def _note_refusal(self, address: str, reason: str) -> None:
        """Count a refusal, and log it without letting a stranger fill the log."""
        self._counters.handshakes_refused += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - self._refusals_logged.get(reason, float("-inf")) < REFUSAL_LOG_INTERVAL_S:
            return
        if len(self._refusals_logged) >= REFUSAL_LOG_ENTRIES_MAX:
            self._refusals_logged.clear()
        self._refusals_logged[reason] = now_s
        log.warning("peer_refused", address=address, reason=reason)

    def frame(self, connection: PeerConnection, kind: int, body: memoryview) -> None:
        """Pass a frame on if it came over the connection that counts."""
        peer = connection.peer
        if peer is not None and self._live.get(peer) is connection:
            self._receiver.frame(peer, kind, body)

    def broken(self, connection: PeerConnection, reason: str) -> None:
        """Count and log a frame that could not be read."""
        self._counters.peer_frames_refused += 1
        address = connection.remote_address
        log.warning("peer_frame_refused", peer=connection.peer, address=address, reason=reason)

    def lost(self, connection: PeerConnection) -> None:
        """Forget a connection that is gone."""
        self._close_opening(connection)
        self._unflushed.discard(connection)
        peer = connection.peer
        if peer is None or self._live.get(peer) is not connection:
            return
        del self._live[peer]
        self._counters.peer_connections_lost += 1
        if not self._is_stopping:
            log.info("peer_disconnected", peer=peer)
            self._receiver.disconnected(peer)

    # --- listening ---
    def _accepted(self, accepted: socket.socket) -> None:
        if len(self._openings) >= OPENINGS_MAX:
            accepted.close()
            return
        task = self._edge.spawn(self._open(accepted))
        self._accepting.add(task)
        task.add_done_callback(partial(self._opened_or_not, accepted))

    async def _open(self, accepted: socket.socket) -> None:
        tls = self._settings.tls
        connection = self._new_connection(Handshake(self._side(), dials=False))
        address = _remote_address(accepted)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=None if tls is None else tls.for_listening(),
                ssl_handshake_timeout=None if tls is None else TLS_TIMEOUT_S,
            )
        except OSError as error:
            accepted.close()
            self._note_tls_failure(address, error)
        finally:
            self._forget_unopened(connection)

    def _opened_or_not(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._accepting.discard(task)
        if task.cancelled():  # perhaps before its first step
            accepted.close()

    def _accept_failed(self, error: OSError) -> None:
        self._counters.peer_accept_errors += 1
        log.warning("peer_accept_failed", error=str(error))

    # --- dialling ---
    async def _dial(self, peer: int) -> None:
        """Keep a connection to the peer for as long as it is one."""
        delay_s, attempts = REDIAL_S_FIRST, 0
        while True:
            live = self._live.get(peer)
            if live is not None:
                await live.closed.wait()
                delay_s = REDIAL_S_FIRST
            elif self._links[peer].dials or await self._is_missed(peer):
                connection = await self._connect(peer, attempts)
                if connection is not None:
                    await connection.closed.wait()
                if connection is None or connection.peer is None:
                    attempts += 1
                else:
                    delay_s = REDIAL_S_FIRST
            await asyncio.sleep(delay_s * self._rng.uniform(0.5, 1.5))
            delay_s = min(delay_s * REDIAL_FACTOR, REDIAL_S_MAX)

    async def _is_missed(self, peer: int) -> bool:
        """Return whether the peer, who should dial, did not for a while: it may not know of this member."""
        await asyncio.sleep(STAND_IN_S * self._rng.uniform(0.7, 1.3))
        return peer not in self._live

    async def _connect(self, peer: int, attempt: int) -> PeerConnection | None:
        """Try one of the peer's addresses, in turn."""
        addresses = self._links[peer].addresses
        if not addresses:
            return None
        address = addresses[attempt % len(addresses)]
        connection = self._new_connection(Handshake(self._side(), dials=True, expected=peer))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._open_connection(address, connection)
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            log.debug("peer_unreachable", peer=peer, address=address, error=repr(error))
            self._note_tls_failure(address, error)
            return None
        finally:
            self._forget_unopened(connection)
        return connection

    async def _open_connection(self, address: str, connection: PeerConnection) -> None:
        """Connect to an address, the name resolved afresh and off the loop.

        Raises:
            OSError: nobody listens, or TLS fails.
            ValueError: it is no address.
        """
        host, port = split_address(address)
        tls = self._settings.tls
        await asyncio.get_running_loop().create_connection(
            lambda: connection,
            host,
            port,
            ssl=None if tls is None else tls.for_dialling(),
            server_hostname=None if tls is None else host.removesuffix("."),
        )

    # --- connections ---
    def _side(self) -> Side:
        return Side(
            self._settings.identity, self._gate.standing(), self._settings.secret,
            self._gate.judge, secrets.token_bytes(NONCE_BYTES),
        )  # fmt: skip

    def _new_connection(self, handshake: Handshake) -> PeerConnection:
        connection = PeerConnection(self, handshake, self._settings.tls)
        loop = asyncio.get_running_loop()
        self._openings[connection] = loop.call_later(HANDSHAKE_TIMEOUT_S, connection.abort)
        return connection

    def _note_tls_failure(self, address: str, error: Exception) -> None:
        """Count and log an error if TLS is what failed; any other is a connection that went away."""
        if isinstance(error, ssl.SSLError):
            self._note_refusal(address, f"TLS: {error.args[-1]}")

    def _forget_unopened(self, connection: PeerConnection) -> None:
        """Forget a connection that did not come about: nobody else would, and openings are few."""
        if connection.is_closing:
            self._close_opening(connection)

    def _close_opening(self, connection: PeerConnection) -> None:
        timer = self._openings.pop(connection, None)
        if timer is not None:
            timer.cancel()

    async def _check_all(self) -> None:
        """Say that this member lives; cut off who does not.

        Silence is counted in checks, not in time: after a pause of this process what the peers sent is still unread.
        """
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            for peer, connection in list(self._live.items()):
                self.send(peer, KEEPALIVE_KIND, b"")
                if connection.count_silence() > SILENT_CHECKS_MAX:
                    log.warning("peer_silent", peer=peer, checks=SILENT_CHECKS_MAX)
                    connection.abort()


def _remote_address(accepted: socket.socket) -> str:
    try:
        host, port, *_ = accepted.getpeername()
    except OSError:  # gone already
        return "unknown"
    return f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port"; an IPv6 host may stand in brackets.

    Raises:
        ValueError: no port, or not a number.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
