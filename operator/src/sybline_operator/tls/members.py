"""What each member serves and trusts, found out at its own address.

The certificate of the clients' port is seen in a handshake with it, in which it must hold by the given CAs alone. The
rest the member reports over a second verified connection, its metrics: what it shows to other members, and whom it
trusts. A handshake at the peer port would tell no more: the NetworkPolicy keeps the operator away from it, and under
TLS 1.3 a member's verdict on a certificate comes after the handshake, as the end of a connection that may end for other
reasons, too. The metrics are read off the very contexts that the member's next handshakes use.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from sybline.tls.files import BadMaterial
from sybline_operator import limits
from sybline_operator.names import CLIENT_PORT, HTTP_PORT
from sybline_operator.tls.checking import as_files
from sybline_operator.tls.material import Ca, Mark, Material, mark_of
from sybline_operator.tls.replacement import MemberTls

_SHOWN: Final = "sybline_tls_certificate_expiry_timestamp_seconds"
_TRUSTED: Final = "sybline_tls_trusted_ca_expiry_timestamp_seconds"
_CHUNK_BYTES: Final = 64 * 1024


class _Unclear(Exception):
    """It could not be found out; says why."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How members are looked at: by these CAs, under this name, with this pair where one is asked for."""

    context: ssl.SSLContext
    host: str

    def look(self, addresses: Mapping[str, str]) -> dict[str, MemberTls]:
        """Return what each member serves and trusts; `addresses`: name -> IP of its pod, "": it has none."""
        if not addresses:
            return {}
        workers = min(len(addresses), limits.TLS_PROBES_MAX)
        with ThreadPoolExecutor(workers, thread_name_prefix="probe") as threads:
            found = threads.map(self._look_once, addresses.values())
        return dict(zip(addresses, found, strict=True))

    def _look_once(self, address: str) -> MemberTls:
        if not address:
            return MemberTls(trouble="its pod does not run")
        try:
            shown = self._shake_hands(address)
            page = self._read_metrics(address)
            return _understand(page, shown)
        except ssl.SSLCertVerificationError as error:
            return MemberTls(trouble=f"its certificate does not hold: {error.verify_message}")
        except (_Unclear, BadMaterial) as error:
            return MemberTls(trouble=str(error))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return MemberTls(trouble=f"does not answer: {_reason(error)}")

    def _connect(self, address: str, port: int) -> ssl.SSLSocket:
        plain = socket.create_connection((address, port), timeout=limits.CONNECT_TIMEOUT_S)
        try:
            return self.context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    def _shake_hands(self, address: str) -> Mark:
        with self._connect(address, CLIENT_PORT) as connection:
            der = connection.getpeercert(binary_form=True)
        assert der is not None  # the context requires it
        return mark_of(x509.load_der_x509_certificate(der))

    def _read_metrics(self, address: str) -> str:
        ends_s = time.monotonic() + limits.TLS_PROBE_TIMEOUT_S
        with self._connect(address, HTTP_PORT) as connection:
            asking = http.client.HTTPConnection(self.host)
            asking.sock = connection
            asking.request("GET", "/metrics", headers={"Connection": "close"})
            answer = asking.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise _Unclear(f"its metrics answer with status {answer.status}")
            page = bytearray()
            while chunk := answer.read(_CHUNK_BYTES):
                page += chunk
                if len(page) > limits.METRICS_PAGE_BYTES_MAX or time.monotonic() > ends_s:
                    raise _Unclear("its metrics do not end")
        return page.decode()


def probing_context(authorities: Iterable[Ca], pair: Material) -> ssl.SSLContext:
    """Return a context that trusts these CAs alone, and shows a pair to who asks for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as members do
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_verify_locations(cadata=b"".join(ca.pem for ca in authorities).decode())
    with as_files(pair) as files:
        context.load_cert_chain(files.certificate, files.key)
    return context


def _understand(page: str, shown: Mark) -> MemberTls:
    """Return what a page of metrics says, together with the certificate that clients were shown."""
    marks: dict[tuple[str, str], set[Mark]] = {}
    for family in text_string_to_metric_families(page):
        if family.name in (_SHOWN, _TRUSTED):
            for sample in family.samples:
                labels = sample.labels  # of a member of another version they may be others
                mark = Mark(labels.get("serial", ""), int(sample.value))
                marks.setdefault((family.name, labels.get("usage", "")), set()).add(mark)
    seen = marks.get((_SHOWN, "clients"), set()) | marks.get((_SHOWN, "peers"), set())
    trusted = marks.get((_TRUSTED, "clients"), set()) & marks.get((_TRUSTED, "peers"), set())
    return MemberTls(frozenset({shown} | seen), frozenset(trusted))


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
