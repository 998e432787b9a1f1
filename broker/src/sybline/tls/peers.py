"""What makes a certificate that of a member: the CA, and the identity of the cluster in it (wire contract §13).

A CA may also sign clients, and other clusters. So every member's certificate carries a URI, `sybline://<cluster>/peer`,
and both sides of a connection look for it before they say a word. It names the cluster, not the member: ids are drawn
when a member joins, after its certificate was made.
"""

import ssl
from collections.abc import Mapping
from typing import Any

from sybline.tls.store import TlsStore


def peer_identity(cluster_id: str) -> str:
    """Return the URI that certificates of a cluster's members carry."""
    return f"sybline://{cluster_id}/peer"


class PeerTls:
    """TLS between members; the transport's `PeerSecurity`."""

    def __init__(self, store: TlsStore, identity: str) -> None:
        self._store = store
        self._identity = identity

    def for_listening(self) -> ssl.SSLContext:
        """Return the context for the next connection that is accepted."""
        return self._store.material.listening

    def for_dialling(self) -> ssl.SSLContext:
        """Return the context for the next connection that is dialled."""
        return self._store.material.dialling

    def refusal(self, certificate: Mapping[str, Any] | None) -> str:
        """Return why the other side's certificate is not one of a member; "": it is.

        `certificate` is what `ssl` makes of a certificate that it has verified.
        """
        names = (certificate or {}).get("subjectAltName", ())
        if ("URI", self._identity) in names:
            return ""
        return f"the certificate of the other side lacks the name URI:{self._identity}"
