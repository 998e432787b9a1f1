"""What members need of TLS: a context for each new connection, and a look at the other side's certificate."""

import ssl
from collections.abc import Mapping
from typing import Any, Protocol


class PeerSecurity(Protocol):
    """Asked at every connection, so that new certificates count from the next one on."""

    def for_listening(self) -> ssl.SSLContext:
        """Return the context for a connection that was accepted; it requires a certificate."""

    def for_dialling(self) -> ssl.SSLContext:
        """Return the context for a connection to a member; it checks the host name."""

    def refusal(self, certificate: Mapping[str, Any] | None) -> str:
        """Return why a verified certificate is not one of a member; "": it is."""
