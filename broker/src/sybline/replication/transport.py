"""Who is connected to whom: the listener, the dialling, and one live connection per peer.

Of two members the one with the greater id dials; of several connections of a peer the newest counts, for two at once
would break the order of messages. Owns the time-outs and bounds of connections. Knows no message: a frame is a kind and
a body. Nothing from the network is unpickled; a frame's length is checked before its bytes are waited for.

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
from sybline.replication.acceptor import Acceptor, listen
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.handshake import NONCE_BYTES, Handshake
from sybline.replication.identity import Identity
from sybline.replication.measures import Counters
from sybline.replication.peer_connection import KEEPALIVE_KIND, PeerConnection

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 2.0  # resolving the name included
HANDSHAKE_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0  # for what is queued when this member stops
CHECK_INTERVAL_S = 1.0  # keepalives leave this often, and silence is counted in it
SILENT_CHECKS_MAX = 4  # a peer that was silent for so many checks in a row is cut off
REDIAL_S_FIRST = 0.1
REDIAL_S_MAX = 1.0
REDIAL_FACTOR = 1.6
OPENINGS_MAX = 64  # connections that have not proved who they are yet
REFUSAL_LOG_INTERVAL_S = 10.0  # the same refusal is logged at most this often …
REFUSAL_LOG_ENTRIES_MAX = 256  # … for so many different ones


class Receiver(Protocol):
    """Who gets what arrives; called on the loop, never from inside `send` or `flush`."""

    def connected(self, peer: int) -> None: ...

    def disconnected(self, peer: int) -> None: ...

    def frame(self, peer: int, kind: int, body: memoryview) -> None:
        """Take a frame, which lasts for this call; raises BadFrame, which closes the connection."""


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Where to listen, whom to know. Addresses are "host:port"; ssl contexts are for later, None: plain TCP."""

    identity: Identity
    peers: Mapping[int, str]
    listen_host: str
    listen_port: int  # 0: any free one
    secret: bytes = b""
    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None


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
        self._receiver: Receiver  # set by `start`: nothing arrives before
        self._edge = edge
        self._rng = rng
        self._counters = counters
        self._peers = frozenset(settings.peers)
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

    async def start(self, receiver: Receiver) -> None:
        """Listen and begin to dial.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._receiver = receiver
        loop = asyncio.get_running_loop()
        listener = await loop.run_in_executor(
            None, listen, self._settings.listen_host, self._settings.listen_port
        )
        self._acceptor = Acceptor(listener, accepted=self._accepted, failed=self._accept_failed)
        self._tasks.append(self._edge.spawn(self._check_all()))
        for peer in sorted(p for p in self._peers if p < self._settings.identity.member):
            self._tasks.append(self._edge.spawn(self._dial(peer)))

    async def stop(self) -> None:
        """Send what is queued, close everything."""
        self._is_stopping = True
        self.flush()
        if self._acceptor is not None:
            self._acceptor.close()
        tasks = [*self._tasks, *self._accepting]
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

    def refused(self, connection: PeerConnection, reason: str) -> None:
        """Count and log an opening that failed, without letting a stranger fill the log."""
        self._counters.handshakes_refused += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - self._refusals_logged.get(reason, float("-inf")) < REFUSAL_LOG_INTERVAL_S:
            return
        if len(self._refusals_logged) >= REFUSAL_LOG_ENTRIES_MAX:
            self._refusals_logged.clear()
        self._refusals_logged[reason] = now_s
        log.warning("peer_refused", address=connection.remote_address, reason=reason)

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
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._new_connection(None), accepted, ssl=self._settings.server_tls
            )
        except OSError:  # gone again, or no TLS
            accepted.close()

    def _opened_or_not(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._accepting.discard(task)
        if task.cancelled():  # perhaps before its first step
            accepted.close()

    def _accept_failed(self, error: OSError) -> None:
        self._counters.peer_accept_errors += 1
        log.warning("peer_accept_failed", error=str(error))

    # --- dialling ---
    async def _dial(self, peer: int) -> None:
        """Keep a connection to the peer, for ever."""
        delay_s = REDIAL_S_FIRST
        while True:
            connection = await self._connect(peer)
            if connection is not None:
                await connection.closed.wait()
                if connection.peer is not None:
                    delay_s = REDIAL_S_FIRST
            await asyncio.sleep(delay_s * self._rng.uniform(0.5, 1.5))
            delay_s = min(delay_s * REDIAL_FACTOR, REDIAL_S_MAX)

    async def _connect(self, peer: int) -> PeerConnection | None:
        """Try once, the name resolved afresh and off the loop."""
        host, port = split_address(self._settings.peers[peer])
        tls = self._settings.client_tls
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: self._new_connection(peer),
                    host,
                    port,
                    ssl=tls,
                    server_hostname=host if tls is not None else None,
                )
        except (OSError, TimeoutError) as error:
            log.debug("peer_unreachable", peer=peer, error=repr(error))
            return None
        return connection

    # --- connections ---
    def _new_connection(self, dialled: int | None) -> PeerConnection:
        handshake = Handshake(
            self._settings.identity,
            secret=self._settings.secret,
            peers=self._peers,
            nonce=secrets.token_bytes(NONCE_BYTES),
            expected=dialled,
        )
        connection = PeerConnection(self, handshake)
        loop = asyncio.get_running_loop()
        self._openings[connection] = loop.call_later(HANDSHAKE_TIMEOUT_S, connection.abort)
        return connection

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


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port"; an IPv6 host may stand in brackets.

    Raises:
        ValueError: no port, or not a number.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
