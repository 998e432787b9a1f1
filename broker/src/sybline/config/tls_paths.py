"""Which file each usage of TLS takes: a key's, else the one for clients, else the usual name in `tls.directory`."""

from sybline.config.settings import TlsSection
from sybline.tls.files import CA_NAME, CERTIFICATE_NAME, KEY_NAME, TlsFiles


def client_files(tls: TlsSection) -> TlsFiles:
    """Return the files of the client and HTTP listeners."""
    ca = tls.ca_file or tls.directory / CA_NAME
    return TlsFiles(
        certificate=tls.cert_file or tls.directory / CERTIFICATE_NAME,
        key=tls.key_file or tls.directory / KEY_NAME,
        ca=ca,
        trusted=tls.client_ca_file or ca,
    )


def peer_files(tls: TlsSection) -> TlsFiles:
    """Return the files of the connections between members."""
    clients = client_files(tls)
    ca = tls.peer_ca_file or clients.ca
    return TlsFiles(
        certificate=tls.peer_cert_file or clients.certificate,
        key=tls.peer_key_file or clients.key,
        ca=ca,
        trusted=ca,
    )
