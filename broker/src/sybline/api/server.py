"""The client port: listener, services on it, and how it closes (wire contract §1, C-6).

Every option of gRPC that matters is said here; nothing is left to a default that a new version may change.
"""

import errno
from typing import Final

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sybline import limits
from sybline.api.admin_service import ADMIN_SERVICE_NAME, build_admin_service
from sybline.api.gate import Gate
from sybline.api.handlers import Edge
from sybline.api.health import Health
from sybline.api.parts import ApiParts
from sybline.api.service import SERVICE_NAME, build_mq_service
from sybline.process_files import open_files_max

_HEALTH_NAME: Final = "grpc.health.v1.Health"
OPTIONS: Final = (
    # One raised body may be larger than an answer, also one that another member took.
    ("grpc.max_send_message_length", limits.BODY_BYTES_MAX + limits.MESSAGE_OVERHEAD_BYTES),
    ("grpc.max_metadata_size", limits.METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", limits.METADATA_BYTES_MAX),
    ("grpc.max_concurrent_streams", limits.CALLS_PER_CONNECTION_MAX),
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a second listener
    ("grpc.keepalive_time_ms", 60_000),  # finds clients that are gone without a word
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # what clients may do
    ("grpc.http2.max_ping_strikes", 2),
)


def _request_limit(body_bytes_max: int) -> tuple[str, int]:
    """Return the option that bounds a request: a batch of the usual size, or one message with the largest body."""
    largest = max(limits.MESSAGE_BYTES_MAX, body_bytes_max + limits.MESSAGE_OVERHEAD_BYTES)
    return "grpc.max_receive_message_length", largest


def _connections_limit() -> tuple[str, int]:
    """Return the option that bounds connections: they must not take the open files that storage and members need."""
    left = open_files_max() - limits.OWN_OPEN_FILES_MAX
    return "grpc.max_allowed_incoming_connections", min(limits.CLIENT_CONNECTIONS_MAX, left)


class ApiServer:
    """Serves MQ.MQEndpoints, sybline.v1.Admin, health, and reflection if wanted, on one port."""

    def __init__(
        self,
        parts: ApiParts,
        *,
        host: str,
        port: int,
        reflection: bool,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """`host`: "" means all interfaces; `port`: 0 takes a free one; without `credentials`, plain text."""
        self._parts = parts
        self._host = host
        self._reflection = reflection
        self._credentials = credentials
        self.port = port  # the one it listens on, once started
        self._health = Health(SERVICE_NAME, ADMIN_SERVICE_NAME)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen and take calls.

        Raises:
            OSError: the port cannot be had; names it.
        """
        server = grpc.aio.server(
            options=(*OPTIONS, _request_limit(self._parts.body_bytes_max), _connections_limit()),
            compression=grpc.Compression.NoCompression,  # old clients cannot decompress (wire §3)
            maximum_concurrent_rpcs=limits.CALLS_AT_ONCE_MAX,
        )
        gate = Gate(self._parts)
        edge = Edge(self._parts, gate)
        server.add_generic_rpc_handlers(
            (
                build_mq_service(self._parts, gate, edge),
                build_admin_service(self._parts, gate, edge),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._reflection:
            names = (SERVICE_NAME, ADMIN_SERVICE_NAME, _HEALTH_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        self.port = self._listen(server)
        await server.start()
        self._server = server

    def set_serving(self, serving: bool) -> None:
        """Answer health checks so from now on. Calls are served either way."""
        self._health.set_serving(serving)

    async def drain(self, grace_s: float) -> None:
        """Stop: no new connections or calls; calls in flight have `grace_s` seconds to finish."""
        self._health.end()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_s)

    def _listen(self, server: grpc.aio.Server) -> int:
        host = f"[{self._host}]" if ":" in self._host else self._host or "[::]"
        address = f"{host}:{self.port}"
        try:
            if self._credentials is not None:
                return server.add_secure_port(address, self._credentials)
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(
                errno.EADDRINUSE, f"cannot listen for gRPC on {address}: in use or not allowed"
            ) from error
