"""The HTTP port: health, metrics, and nothing else; started and stopped inside a running loop."""

import asyncio
import contextlib
import http.client
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from sybline import limits
from sybline.http.app import build_app
from sybline.http.server import HttpServer
from sybline.telemetry.metrics import Metrics
from tests.support.cluster import parse_metrics
from tests.support.connections import dialled, dialled_often

HOST = "127.0.0.1"


@dataclass
class Health:
    """A member's word about itself, set by the test."""

    why_not_live: str = ""
    why_not_ready: str = ""

    def live(self) -> str:
        return self.why_not_live

    def ready(self) -> str:
        if self.why_not_ready == "raise":
            raise RuntimeError("a bug")
        return self.why_not_ready


@dataclass
class Answer:
    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        text: str = json.loads(self.body)["message"]
        return text


@dataclass
class Site:
    """A listening server and what it is made of."""

    server: HttpServer
    health: Health
    metrics: Metrics

    async def ask(self, path: str, method: str = "GET") -> Answer:
        return await asyncio.to_thread(self._ask, path, method)

    async def count(self, name: str) -> float:
        return parse_metrics((await self.ask("/metrics")).body).get(name, 0)

    def _ask(self, path: str, method: str) -> Answer:
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=5)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, answer.read().decode(), headers)
        finally:
            connection.close()


@contextlib.asynccontextmanager
async def serving(port: int = 0) -> AsyncIterator[Site]:
    """Serve on a port, by default a free one, for the time of a block."""
    health, metrics = Health(), Metrics()
    server = HttpServer(build_app(metrics=metrics, health=health), HOST, port)
    await server.start()
    try:
        yield Site(server, health, metrics)
    finally:
        await server.stop()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as made:
        yield made


# --- answers ---
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_member_that_is_well_says_ok(site: Site, path: str) -> None:
    answer = await site.ask(path)
    assert (answer.status, answer.body) == (200, "ok\n")
    assert answer.headers["cache-control"] == "no-store"


async def test_a_member_that_is_not_says_why(site: Site) -> None:
    site.health.why_not_ready = "no leader is known"
    answer = await site.ask("/readyz")
    assert (answer.status, answer.message) == (503, "no leader is known")
    assert (await site.ask("/livez")).status == 200
    site.health.why_not_live = "stuck"
    assert (await site.ask("/livez")).message == "stuck"


async def test_metrics_are_in_the_prometheus_text_format(site: Site) -> None:
    answer = await site.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "sybline_build_info{" in answer.body


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_head_is_answered_without_a_body(site: Site, path: str) -> None:
    answer = await site.ask(path, "HEAD")
    assert (answer.status, answer.body) == (200, "")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "path", ["/", "/livez/", "/LIVEZ", "/metrics/x", "/api/v1/info/routing/metrics", "/docs"]
)
async def test_everything_else_is_not_found(site: Site, path: str) -> None:
    answer = await site.ask(path)
    assert (answer.status, answer.message) == (404, "Not Found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
async def test_nothing_can_be_changed_here(site: Site, method: str) -> None:
    answer = await site.ask("/metrics", method)
    assert (answer.status, answer.message) == (405, "Method Not Allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_a_bug_is_a_result(site: Site) -> None:
    site.health.why_not_ready = "raise"
    answer = await site.ask("/readyz")
    assert (answer.status, answer.message) == (500, "internal error")
    labels = 'service="sybline",status_code="500",method="GET",path="/readyz"'
    assert await site.count(f"http_requests_total{{{labels}}}") == 1


async def test_every_request_is_counted_under_its_route_and_refused_ones_too(site: Site) -> None:
    await site.ask("/livez")
    await site.ask("/livez", "POST")
    for path in ("/a", "/b"):
        await site.ask(path)
    ok = 'service="sybline",status_code="200",method="GET",path="/livez"'
    refused = 'service="sybline",status_code="405",method="POST",path="/livez"'
    unknown = 'service="sybline",status_code="404",method="GET",path="unmatched"'
    assert await site.count(f"http_requests_total{{{ok}}}") == 1
    assert await site.count(f"http_requests_total{{{refused}}}") == 1
    assert await site.count(f"http_requests_total{{{unknown}}}") == 2
    assert await site.count(f"http_request_duration_seconds_count{{{unknown}}}") == 2


# --- the listener ---
async def test_a_taken_port_is_an_error_that_names_it() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        server = HttpServer(build_app(metrics=Metrics(), health=Health()), HOST, port)
        with pytest.raises(OSError, match=f"cannot listen for HTTP on {HOST} port {port}: Addr"):
            await server.start()
    await server.stop()


async def test_a_stopped_server_frees_its_port_at_once(site: Site) -> None:
    port = site.server.port
    assert (await site.ask("/livez")).status == 200
    await site.server.stop()
    async with serving(port) as again:
        assert again.server.port == port


async def test_signals_stay_with_the_process() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with serving():
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_idle_connections_do_not_hold_up_the_stop(site: Site) -> None:
    async with dialled_often(site.server.port, 2) as connections:
        reader, writer = connections[0]
        writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.readuntil(b"ok\n")
        async with asyncio.timeout(limits.HTTP_STOP_S):
            await site.server.stop()
        for reader, _ in connections:
            assert await reader.read() == b""


async def test_a_half_sent_request_does_not_hold_up_the_stop(site: Site) -> None:
    async with dialled(site.server.port) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\nhost:")
        await writer.drain()
        assert (await site.ask("/livez")).status == 200
        async with asyncio.timeout(limits.HTTP_STOP_S + 1):
            await site.server.stop()
        assert await reader.read() == b""


async def test_more_connections_than_allowed_are_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS_MAX", 3)
    async with serving() as site, dialled_often(site.server.port, 3):
        assert (await site.ask("/livez")).status == 503


async def test_a_connection_beyond_what_may_be_open_is_cut_off_though_it_asks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each takes an open file that storage may need."""
    monkeypatch.setattr(limits, "HTTP_OPEN_MAX", 3)
    async with (
        serving() as site,
        dialled_often(site.server.port, 3),
        dialled(site.server.port) as (reader, _),
        asyncio.timeout(5),
    ):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nhost:"])
async def test_connections_that_never_finish_a_request_are_closed(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Else they would use up the connections that probes need."""
    monkeypatch.setattr(limits, "HTTP_KEEP_ALIVE_S", 0.1)
    async with serving() as site, dialled(site.server.port) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""


async def test_a_connection_in_use_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_KEEP_ALIVE_S", 0.2)
    async with serving() as site, dialled(site.server.port) as (reader, writer):
        ends_s = time.monotonic() + 1
        while time.monotonic() < ends_s:
            writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await reader.readuntil(b"ok\n")


async def test_what_is_not_http_is_refused(site: Site) -> None:
    async with dialled(site.server.port) as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        assert b" 400 " in await reader.readline()
