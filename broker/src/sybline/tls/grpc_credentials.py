"""TLS of the client port: gRPC asks for the material at every new connection."""

import grpc

from sybline.tls.material import Material
from sybline.tls.store import TlsStore


class _Fetcher:
    """Answers gRPC, on its own threads, one at a time."""

    def __init__(self, store: TlsStore) -> None:
        self._store = store
        self._given = store.material

    def first(self) -> grpc.ServerCertificateConfiguration:
        return _configuration(self._given)

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what changed since the last connection; None: nothing."""
        material = self._store.material
        if material is self._given:
            return None
        self._given = material
        return _configuration(material)


def server_credentials(
    store: TlsStore, *, require_client_certificate: bool
) -> grpc.ServerCredentials:
    """Return credentials that follow the store. TLS 1.2 is the least that gRPC speaks.

    gRPC for Python either requires client certificates or does not ask for them.
    """
    fetcher = _Fetcher(store)
    return grpc.dynamic_ssl_server_credentials(
        fetcher.first(),
        fetcher,  # type: ignore[arg-type]  # None means "unchanged", which the stubs do not know
        require_client_authentication=require_client_certificate,
    )


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    pem = material.pem
    return grpc.ssl_server_certificate_configuration(
        [(pem.key, pem.certificate)], root_certificates=pem.trusted
    )
