"""The HTTP listener: uvicorn's protocol inside the running loop, with every bound set.

uvicorn keeps its hands off signals and logs: its `serve` would take SIGTERM, so the steps of it are called here. It
does not get the listening socket either: it would use one TLS context for ever.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from sybline import limits
from sybline.replication.acceptor import Acceptor
from sybline.replication.fail_stop import Die, end_process
from sybline.supervise import supervise

log = structlog.get_logger(__name__)

_BACKLOG: Final = 128
PROVED: Final = "client_certificate"  # in a request's state: whether a valid one was shown


class _Connection(H11Protocol):
    """A connection that tells its requests whether a client certificate was verified; one too many is cut off."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > limits.HTTP_OPEN_MAX:
            transport.abort()
        self.app_state[PROVED] = bool(transport.get_extra_info("peercert"))


class HttpServer:
    """Serves one application on one port."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        die: Die = end_process,
    ) -> None:
        """`port` 0 lets the system choose; `port` tells, once started.

        `tls` returns the context for the next connection; without it, plain text.
        """
        self._die = die
        self._host = host
        self.port = port
        self._tls = tls
        self._config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            limit_concurrency=limits.HTTP_CONNECTIONS_MAX,
            timeout_keep_alive=limits.HTTP_KEEP_ALIVE_S,
            timeout_graceful_shutdown=limits.HTTP_STOP_S,
        )
        self._server = uvicorn.Server(self._config)
        self._acceptor: Acceptor | None = None
        self._openings: set[asyncio.Task[None]] = set()
        self._housekeeping: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Return once requests are answered.

        Raises:
            OSError: the port cannot be used; names it.
        """
        listener = _listen(self._host, self.port)
        self.port = listener.getsockname()[1]
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup([])  # without a socket
        self._acceptor = Acceptor(listener, accepted=self._accepted, failed=self._accept_failed)
        self._housekeeping = [
            supervise(self._server.main_loop(), name="http clock", die=self._die),
            supervise(self._close_stuck(), name="http housekeeping", die=self._die),
        ]

    async def stop(self) -> None:
        """Close the listener, let answers under way end within HTTP_STOP_S, and close the connections."""
        if self._acceptor is None:
            return
        self._acceptor.close()
        self._acceptor = None
        await self._end_openings()
        for task in self._housekeeping:
            task.cancel()
        self._housekeeping = []
        await self._server.shutdown()

    async def _end_openings(self) -> None:
        """Let what was accepted become connections, which the server closes with the others; cut off who is too slow.

        Only those: uvloop tells no protocol of a connection that is cut off while it opens, and the server would wait.
        """
        if not self._openings:
            return
        _, slow = await asyncio.wait(self._openings, timeout=limits.HTTP_STOP_S)
        for opening in slow:
            opening.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    # --- connections ---
    def _accepted(self, accepted: socket.socket) -> None:
        if len(self._openings) >= limits.HTTP_CONNECTIONS_MAX:
            accepted.close()
            return
        opening = asyncio.create_task(self._open(accepted))
        self._openings.add(opening)
        opening.add_done_callback(partial(self._opened_or_not, accepted))

    async def _open(self, accepted: socket.socket) -> None:
        """Make a connection of what was accepted; over TLS, once hands are shaken."""
        tls = self._tls
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Connection(self._config, self._server.server_state, {}),
                accepted,
                ssl=None if tls is None else tls(),
                ssl_handshake_timeout=None if tls is None else limits.HTTP_TLS_S,
            )
        except OSError as error:  # gone again, or no TLS
            log.debug("http_connection_failed", error=repr(error))
            accepted.close()

    def _opened_or_not(self, accepted: socket.socket, opening: asyncio.Task[None]) -> None:
        self._openings.discard(opening)
        if opening.cancelled():  # perhaps before its first step
            accepted.close()

    def _accept_failed(self, error: OSError) -> None:
        log.warning("http_accept_failed", error=str(error))

    async def _close_stuck(self) -> None:
        """Close connections that ended no request for long: uvicorn waits for ever for one, and for its reader.

        They would use up HTTP_CONNECTIONS_MAX, and probes would fail.
        """
        seen: Mapping[H11Protocol, object] = {}
        while True:
            await asyncio.sleep(limits.HTTP_KEEP_ALIVE_S)
            connections = {
                each: each.cycle
                for each in self._server.server_state.connections
                if isinstance(each, H11Protocol)
            }
            for connection, request in connections.items():
                if connection in seen and seen[connection] is request:
                    connection.transport.abort()
            seen = connections


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        text = f"cannot listen for HTTP on {host} port {port}: {error.strerror}"
        raise OSError(error.errno, text) from error
    listener.setblocking(False)
    return listener
