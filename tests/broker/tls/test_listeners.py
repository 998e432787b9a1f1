"""TLS for clients, over gRPC and HTTP, on real ports: who may connect, and new certificates without a restart."""

import asyncio
import http.client
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from sybline.clock import SystemClock
from sybline.http.app import build_app
from sybline.http.server import HttpServer
from sybline.telemetry.metrics import Metrics
from sybline.tls.member_tls import MemberTls, TlsPlan
from tests.support.api_server import Api, serving_api
from tests.support.certificates import (
    IDENTITY,
    Authority,
    Pair,
    client_context,
    files_in,
    write_material,
)
from tests.support.channels import Trust
from tests.support.client import Client
from tests.support.cluster import parse_metrics
from tests.support.waiting import wait_for

DEADLINE_S = 10.0
CHECK_S = 0.05
LOCALHOST = "127.0.0.1"
NO_CONNECTION = (ssl.SSLError, ConnectionError)  # how it shows depends on who closes first


class Health:
    """A member that is well."""

    def live(self) -> str:
        return ""

    def ready(self) -> str:
        return ""


@dataclass
class Site:
    """A member's two ports for clients, and the files behind them."""

    directory: Path
    ca: Authority
    tls: MemberTls
    api: Api
    http: HttpServer

    async def call(self, *trusted: Authority, pair: Pair | None = None) -> str:
        """Call IsLeaderNode over a new connection and return OK, or the code's name."""
        ca = b"".join(each.pem for each in trusted or (self.ca,))
        trust = Trust(ca, pair and pair.certificate, pair and pair.key)
        async with Client(self.api.address, trust=trust, timeout_s=5.0) as client:
            try:
                await client.is_leader()
            except grpc.aio.AioRpcError as error:
                return error.code().name
        return "OK"

    async def get(
        self, path: str, *trusted: Authority, pair: Pair | None = None, name: str = LOCALHOST
    ) -> tuple[int, str]:
        """Return status and body of a GET over a new connection.

        Raises:
            OSError: no connection came about.
        """
        context = client_context(self.directory, *(trusted or (self.ca,)), pair=pair)
        return await asyncio.to_thread(_get, self.http.port, path, context, name)

    async def metrics(self) -> dict[str, float]:
        return parse_metrics((await self.get("/metrics"))[1])

    async def served_serial(self, port: int, *trusted: Authority) -> str:
        """Return the serial number of the certificate that a port shows."""
        context = client_context(self.directory, *trusted)
        shown = await asyncio.to_thread(_handshake, port, context)
        serial = shown["serialNumber"]
        assert isinstance(serial, str)
        return serial


@asynccontextmanager
async def serving(
    directory: Path,
    *,
    client_auth: str = "optional",
    metrics_need_certificate: bool = False,
    pair: Pair | None = None,
) -> AsyncIterator[Site]:
    ca = Authority()
    write_material(directory, pair or ca.issue(), ca)
    files = files_in(directory)
    plan = TlsPlan(files, files, client_auth, metrics_need_certificate, IDENTITY, CHECK_S)
    tls = MemberTls(plan, SystemClock())
    metrics = Metrics()
    metrics.watch_tls(tls.stores)
    app = build_app(
        metrics=metrics, health=Health(), metrics_need_certificate=metrics_need_certificate
    )
    server = HttpServer(app, LOCALHOST, 0, tls=tls.http_context, die=pytest.fail)
    async with serving_api(credentials=tls.grpc_credentials()) as api:
        await server.start()
        tls.start(pytest.fail)
        try:
            yield Site(directory, ca, tls, api, server)
        finally:
            tls.stop()
            await server.stop()


def _get(port: int, path: str, context: ssl.SSLContext, name: str) -> tuple[int, str]:
    connection = http.client.HTTPSConnection(LOCALHOST, port, context=context, timeout=5)
    try:
        with socket.create_connection((LOCALHOST, port), timeout=5) as raw:
            connection.sock = context.wrap_socket(raw, server_hostname=name)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
    finally:
        connection.close()


def _handshake(port: int, context: ssl.SSLContext) -> dict[str, object]:
    """Return the certificate that was shown."""
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((LOCALHOST, port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=LOCALHOST) as secured,
    ):
        shown = secured.getpeercert()
        assert shown
        return dict(shown)


# --- who may connect ---
async def test_clients_are_served_over_tls_on_both_ports(tmp_path: Path) -> None:
    async with serving(tmp_path) as site:
        assert await site.call() == "OK"
        assert await site.call(pair=site.ca.issue(identity="")) == "OK"
        assert await site.get("/readyz") == (200, "ok\n")
        assert (await site.get("/metrics", pair=site.ca.issue(identity="")))[0] == 200


async def test_a_member_of_another_ca_or_name_is_not_trusted(tmp_path: Path) -> None:
    async with serving(tmp_path) as site:
        stranger = Authority()
        assert await site.call(stranger) == "UNAVAILABLE"
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            await site.get("/livez", stranger)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await site.get("/livez", name="broker-9.example")


async def test_reg_s4_without_a_client_certificate_there_is_no_connection_where_it_is_required(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, client_auth="required") as site:
        assert await site.call() == "UNAVAILABLE"
        assert await site.call(pair=site.ca.issue(identity="")) == "OK"
        assert await site.call(site.ca, Authority(), pair=Authority().issue()) == "UNAVAILABLE"
        expired = site.ca.issue(identity="", starts_s=-3600.0, ends_s=-60.0)
        assert await site.call(pair=expired) == "UNAVAILABLE"
        assert site.api.metrics.started["IsLeaderNode"] == 1
        assert (await site.get("/livez"))[0] == 200  # probes have none


async def test_metrics_can_be_kept_to_those_with_a_certificate(tmp_path: Path) -> None:
    async with serving(tmp_path, client_auth="none", metrics_need_certificate=True) as site:
        assert await site.get("/metrics") == (403, '{"message":"a client certificate is required"}')
        assert (await site.get("/metrics", pair=site.ca.issue(identity="")))[0] == 200
        with pytest.raises(NO_CONNECTION):
            await site.get("/metrics", site.ca, Authority(), pair=Authority().issue())
        assert (await site.get("/readyz"))[0] == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, None])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_tls_11_is_refused_and_tls_12_is_the_least(
    tmp_path: Path, version: ssl.TLSVersion | None
) -> None:
    async with serving(tmp_path) as site:
        for port in (site.api.server.port, site.http.port):
            context = client_context(tmp_path, site.ca, version=version)
            if version == ssl.TLSVersion.TLSv1_1:
                with pytest.raises(NO_CONNECTION):
                    await asyncio.to_thread(_handshake, port, context)
            else:
                assert await asyncio.to_thread(_handshake, port, context)


async def test_plain_text_to_a_tls_port_gets_no_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as site:
        async with Client(site.api.address, timeout_s=5.0) as client:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await client.is_leader()
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        plain = http.client.HTTPConnection(LOCALHOST, site.http.port, timeout=5)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            await asyncio.to_thread(_ask_plainly, plain)
        assert await site.call() == "OK"
        assert (await site.get("/livez"))[0] == 200


async def test_tls_to_a_plain_text_port_gets_no_answer(tmp_path: Path) -> None:
    ca = Authority()
    async with serving_api() as api:
        async with Client(api.address, trust=Trust(ca.pem), timeout_s=5.0) as client:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await client.is_leader()
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(NO_CONNECTION):
            await asyncio.to_thread(_handshake, api.server.port, client_context(tmp_path, ca))
        async with Client(api.address, timeout_s=5.0) as client:
            await client.is_leader()


def _ask_plainly(connection: http.client.HTTPConnection) -> None:
    try:
        connection.request("GET", "/livez")
        connection.getresponse()
    finally:
        connection.close()


# --- new certificates ---
async def test_reg_k8_a_rotated_certificate_is_served_and_shown_in_metrics(tmp_path: Path) -> None:
    async with serving(tmp_path) as site:
        ports = (site.api.server.port, site.http.port)
        async with Client(site.api.address, trust=Trust(site.ca.pem)) as lasting:
            await lasting.is_leader()
            second = site.ca.issue(ends_s=7_200.0)
            write_material(tmp_path, second, site.ca)
            await wait_for(
                lambda: all(store.replaced for store in site.tls.stores),
                what="both usages have the new certificate",
                deadline_s=DEADLINE_S,
            )
            for port in ports:
                assert await site.served_serial(port, site.ca) == second.serial
            await lasting.is_leader()  # over the connection from before
        shown = await site.metrics()
        for store in site.tls.stores:
            labels = f'usage="{store.name}"'
            name = "sybline_tls_certificate_expiry_timestamp_seconds"
            assert shown[f'{name}{{{labels},serial="{second.serial}"}}'] == pytest.approx(
                SystemClock().wall_ms() / 1000 + 7_200, abs=60
            )
            assert sum(key.startswith(f"{name}{{{labels}") for key in shown) == 1
            assert shown[f"sybline_tls_reloads_total{{{labels}}}"] == 1
            assert shown[f"sybline_tls_reloads_refused_total{{{labels}}}"] == 0
            ca = store.material.trusted[0].serial
            name = "sybline_tls_trusted_ca_expiry_timestamp_seconds"
            assert f'{name}{{{labels},serial="{ca}"}}' in shown


async def test_a_broken_pair_changes_nothing_for_clients_and_is_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as site:
        first = site.tls.stores[0].material.certificate.serial
        write_material(tmp_path, Authority().issue(), site.ca)
        await wait_for(
            lambda: all(store.refused for store in site.tls.stores),
            what="refused",
            deadline_s=DEADLINE_S,
        )
        assert await site.call() == "OK"
        for port in (site.api.server.port, site.http.port):
            assert await site.served_serial(port, site.ca) == first
        assert (await site.metrics())['sybline_tls_reloads_refused_total{usage="clients"}'] == 1


async def test_a_dropped_ca_no_longer_vouches_for_clients(tmp_path: Path) -> None:
    async with serving(tmp_path, client_auth="required", metrics_need_certificate=True) as site:
        old, new = site.ca, Authority()
        old_client, new_client = old.issue(identity=""), new.issue(identity="")
        for trusted, old_counts in [((old, new), True), ((new,), False)]:
            before = site.tls.stores[0].replaced
            write_material(tmp_path, new.issue(), *trusted)
            await wait_for(
                lambda b=before: site.tls.stores[0].replaced > b,
                what="taken",
                deadline_s=DEADLINE_S,
            )
            assert await site.call(new, pair=new_client) == "OK"
            assert (await site.get("/metrics", new, pair=new_client))[0] == 200
            if old_counts:
                assert await site.call(new, pair=old_client) == "OK"
                assert (await site.get("/metrics", new, pair=old_client))[0] == 200
            else:
                assert await site.call(new, pair=old_client) == "UNAVAILABLE"
                with pytest.raises(NO_CONNECTION):
                    await site.get("/metrics", new, pair=old_client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_not_resumed_past_the_material_it_was_verified_with(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with serving(tmp_path) as site:
        context = client_context(tmp_path, site.ca, pair=site.ca.issue(), version=version)
        context.set_alpn_protocols(["h2"])
        ports = (site.api.server.port, site.http.port)
        sessions = [await asyncio.to_thread(_connect, port, context) for port in ports]
        write_material(tmp_path, site.ca.issue(), site.ca)
        await wait_for(
            lambda: bool(site.tls.stores[0].replaced), what="taken", deadline_s=DEADLINE_S
        )
        for port, session in zip(ports, sessions, strict=True):
            with pytest.raises(AssertionError, match="another session"):
                await asyncio.to_thread(_connect, port, context, session)


def _connect(
    port: int, context: ssl.SSLContext, resumed: ssl.SSLSession | None = None
) -> ssl.SSLSession | None:
    """Connect and return the session; with `resumed`, insist on that one."""
    with (
        socket.create_connection((LOCALHOST, port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=LOCALHOST, session=resumed) as secured,
    ):
        secured.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert secured.recv(100)  # with it come the tickets of TLS 1.3
        assert resumed is None or secured.session_reused, "another session"
        return secured.session
