"""The HTTP listener: uvicorn's protocol inside the running loop, with every bound set.

uvicorn keeps its hands off signals and logs: its `serve` would take SIGTERM, so the steps of it are called here.
"""

import asyncio
import socket
from collections.abc import Mapping
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from sybline import limits
from sybline.replication.fail_stop import Die, end_process
from sybline.supervise import supervise

_BACKLOG: Final = 128


class HttpServer:
    """Serves one application on one port."""

    def __init__(self, app: ASGIApp, host: str, port: int, *, die: Die = end_process) -> None:
        """`port` 0 lets the system choose; `port` tells, once started."""
        self._die = die
        self._host = host
        self.port = port
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
        await self._server.startup([listener])
        self._housekeeping = [
            supervise(self._server.main_loop(), name="http clock", die=self._die),
            supervise(self._close_stuck(), name="http housekeeping", die=self._die),
        ]

    async def stop(self) -> None:
        """Close the listener, let answers under way end within HTTP_STOP_S, and close the connections."""
        if not self._housekeeping:
            return
        for task in self._housekeeping:
            task.cancel()
        self._housekeeping = []
        await self._server.shutdown()

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
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        text = f"cannot listen for HTTP on {host} port {port}: {error.strerror}"
        raise OSError(error.errno, text) from error
