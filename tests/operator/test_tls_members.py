"""What members serve and trust, asked of real listeners: handshakes, and pages as the broker writes them."""

import base64
import itertools
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sybline.telemetry.tls_metrics import write_tls
from sybline.tls.certificates import CertificateFacts
from sybline_operator.names import CLIENT_PORT, HTTP_PORT
from sybline_operator.tls.checking import as_files
from sybline_operator.tls.material import Mark, Material, read_material
from sybline_operator.tls.members import Probe, probing_context
from tests.support.certificates import Authority

HOST = "orders.shop.svc"
OLD, NEW = Authority(), Authority()
_addresses = (f"127.91.{number // 200}.{number % 200 + 1}" for number in itertools.count())


def material(ca: Authority, *others: Authority, host: str = HOST) -> Material:
    pair = ca.issue(hosts=(host,))
    found = {
        "tls.crt": pair.certificate,
        "tls.key": pair.key,
        "ca.crt": b"".join(each.pem for each in (ca, *others)),
    }
    return read_material({key: base64.b64encode(value).decode() for key, value in found.items()})


@dataclass(frozen=True)
class Shown:
    """What the broker's metrics read of one usage."""

    name: str
    of: Material
    replaced: int = 0
    refused: int = 0

    @property
    def material(self) -> "Shown":
        return self

    @property
    def certificate(self) -> CertificateFacts:
        return _facts(self.of.leaf)

    @property
    def trusted(self) -> tuple[CertificateFacts, ...]:
        return tuple(_facts(ca.mark) for ca in self.of.authorities)


def _facts(mark: Mark) -> CertificateFacts:
    return CertificateFacts(mark.serial, "", 0.0, float(mark.not_after_s), ())


def page(clients: Material, peers: Material) -> str:
    return write_tls([Shown("clients", clients), Shown("peers", peers)])


@contextmanager
def member(serves: Material, metrics: str, *, status: int = 200, tls: bool = True) -> Iterator[str]:
    """Run a clients' port and a page of metrics, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(metrics.encode())

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with as_files(serves) as files:
        context.load_cert_chain(files.certificate, files.key)
    address = next(_addresses)
    with ExitStack() as stack:
        for port in (CLIENT_PORT, HTTP_PORT):
            server = stack.enter_context(ThreadingHTTPServer((address, port), Handler))
            server.daemon_threads = True
            server.handle_error = lambda *_: None
            if tls:
                server.socket = context.wrap_socket(
                    server.socket, server_side=True, do_handshake_on_connect=False
                )
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield address


def probe(trusting: Material) -> Probe:
    return Probe(probing_context(trusting.authorities, trusting), HOST)


def test_a_member_is_seen_with_what_it_shows_and_trusts() -> None:
    serves = material(OLD, NEW)
    with member(serves, page(serves, serves)) as address:
        seen = probe(serves).look({"orders-0": address})["orders-0"]
    assert seen.trouble == ""
    assert seen.shown == {serves.leaf}
    assert seen.trusted == {ca.mark for ca in serves.authorities}


def test_a_member_that_shows_clients_and_members_different_certificates_shows_both() -> None:
    first, second = material(OLD), material(OLD)
    with member(first, page(first, second)) as address:
        seen = probe(first).look({"orders-0": address})["orders-0"]
    assert seen.shown == {first.leaf, second.leaf}


def test_only_a_ca_that_a_member_trusts_in_every_use_counts() -> None:
    both, one = material(OLD, NEW), material(OLD)
    with member(both, page(both, one)) as address:
        seen = probe(both).look({"orders-0": address})["orders-0"]
    assert seen.trusted == {ca.mark for ca in one.authorities}


@pytest.mark.parametrize(
    ("serves", "trouble"),
    [
        (material(NEW), "its certificate does not hold: unable to get local issuer certificate"),
        (material(OLD, host="others.shop.svc"), "its certificate does not hold: Hostname mismatch"),
    ],
)
def test_a_certificate_that_does_not_hold_is_trouble(serves: Material, trouble: str) -> None:
    with member(serves, page(serves, serves)) as address:
        seen = probe(material(OLD)).look({"orders-0": address})["orders-0"]
    assert seen.trouble.startswith(trouble)


def test_who_does_not_answer_in_tls_or_at_all_is_trouble_and_holds_up_nobody_else() -> None:
    serves = material(OLD)
    with (
        member(serves, page(serves, serves)) as good,
        member(serves, "", tls=False) as plain,
        member(serves, "", status=403) as closed,
    ):
        addresses = {"a": good, "b": plain, "c": closed, "d": next(_addresses), "e": ""}
        seen = probe(serves).look(addresses)
    assert {name: found.trouble for name, found in seen.items()} == {
        "a": "",
        "b": "does not answer: wrong version number",
        "c": "its metrics answer with status 403",
        "d": "does not answer: Connection refused",
        "e": "its pod does not run",
    }


def test_a_page_without_certificates_trusts_nobody() -> None:
    serves = material(OLD)
    with member(serves, "sybline_raft_term 3\n") as address:
        seen = probe(serves).look({"orders-0": address})["orders-0"]
    assert seen.trusted == set()
