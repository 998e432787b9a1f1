"""Channels to members, in plain text or over TLS."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc


@dataclass(frozen=True)
class Trust:
    """What a client over TLS has: CAs, and perhaps a certificate; all PEM."""

    ca: bytes
    certificate: bytes | None = None
    key: bytes | None = None
    host: str = ""  # the name expected in the member's certificate, when it is dialled by another

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """Return it for gRPC."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)

    @property
    def http_context(self) -> ssl.SSLContext:
        """Return it for HTTP, without the certificate."""
        return ssl.create_default_context(cadata=self.ca.decode())


def open_channel(
    address: str, options: Sequence[tuple[str, Any]], trust: Trust | None
) -> grpc.aio.Channel:
    """Return a channel; without `trust`, in plain text."""
    if trust is None:
        return grpc.aio.insecure_channel(address, options=options)
    if trust.host:
        options = [*options, ("grpc.ssl_target_name_override", trust.host)]
    return grpc.aio.secure_channel(address, trust.credentials, options=options)
