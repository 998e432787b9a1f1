"""TLS of one member put together: material for clients and for peers, and the watch over their files."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Literal

import grpc

from sybline.clock import Clock
from sybline.replication.fail_stop import Die
from sybline.supervise import supervise
from sybline.tls.files import TlsFiles
from sybline.tls.grpc_credentials import server_credentials
from sybline.tls.material import Usage
from sybline.tls.peers import PeerTls
from sybline.tls.store import TlsStore

ClientAuth = Literal["required", "optional", "none"]


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """What the settings say."""

    clients: TlsFiles
    peers: TlsFiles
    client_auth: ClientAuth
    metrics_need_certificate: bool
    identity: str  # the URI in every member's certificate
    check_s: float  # between looks at the files


class MemberTls:
    """See the module. Loaded when it is built."""

    def __init__(self, plan: TlsPlan, clock: Clock) -> None:
        """Load the material.

        Raises:
            BadMaterial: it cannot be used.
        """
        self._plan = plan
        asks = plan.client_auth != "none" or plan.metrics_need_certificate
        verify = ssl.CERT_OPTIONAL if asks else ssl.CERT_NONE
        clients = Usage("clients", ssl.TLSVersion.TLSv1_2, verify)
        peers = Usage("peers", ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED, plan.identity)
        self._clients = TlsStore(plan.clients, clients, clock)
        self._peers = TlsStore(plan.peers, peers, clock)
        for store in self.stores:
            store.load()
        self.peers = PeerTls(self._peers, plan.identity)
        self._watch: asyncio.Task[None] | None = None

    @property
    def stores(self) -> tuple[TlsStore, TlsStore]:
        """Return both, for metrics."""
        return self._clients, self._peers

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return what the client port needs."""
        return server_credentials(
            self._clients, require_client_certificate=self._plan.client_auth == "required"
        )

    def http_context(self) -> ssl.SSLContext:
        """Return the context for the next HTTP connection; probes have no certificate, so it requires none."""
        return self._clients.material.listening

    def start(self, die: Die) -> None:
        """Watch the files from now on."""
        self._watch = supervise(self._keep_fresh(), name="tls files", die=die)

    def stop(self) -> None:
        """Watch no longer; may be called without a start."""
        if self._watch is not None:
            self._watch.cancel()

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._plan.check_s)
            for store in self.stores:
                await asyncio.to_thread(store.check)
