"""`sybline healthcheck` against the HTTP port, in plain text and over TLS, and what the image runs."""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sybline.cli.main import main
from sybline.http.app import build_app
from sybline.http.server import HttpServer
from sybline.telemetry.metrics import Metrics
from tests.support.certificates import Authority, write_material
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("SYBLINE_"):
            monkeypatch.delenv(name)


class Health:
    """A member that has no leader, and is alive unless the test has a reason why not."""

    def __init__(self, why_not_live: str = "") -> None:
        self._why_not_live = why_not_live

    def live(self) -> str:
        return self._why_not_live

    def ready(self) -> str:
        return "no leader is known"


@asynccontextmanager
async def serving(health: Health, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve HTTP for the time of a block, which gets the port."""
    app = build_app(metrics=Metrics(), health=health)
    server = HttpServer(app, HOST, 0, tls=None if tls is None else lambda: tls)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop()


def healthcheck(port: int, *settings: str) -> int:
    given = ("member.id=1", "development=true", f"listen.http_port={port}", *settings)
    return main(["healthcheck", *(f"--set={each}" for each in given)])


async def test_a_member_without_a_leader_is_alive(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(Health()) as port:
        assert await asyncio.to_thread(healthcheck, port) == 0
    assert capsys.readouterr() == ("", "")


async def test_a_member_that_is_not_alive_is_reported_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serving(Health("stuck")) as port:
        assert await asyncio.to_thread(healthcheck, port) == 1
    assert capsys.readouterr().err == f'sybline: /livez of port {port}: {{"message":"stuck"}}\n'


async def test_over_tls_neither_name_nor_ca_of_the_certificate_matters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_material(tmp_path, Authority().issue(hosts=["broker-9.example"]), Authority())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    async with serving(Health(), context) as port:
        assert await asyncio.to_thread(healthcheck, port, "tls.enabled=true") == 0
        assert await asyncio.to_thread(healthcheck, port) == 1, "in plain text nobody answers"
    assert f"no answer from {HOST} port {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listens_on", "asked"), [("0.0.0.0", HOST), ("::", "::1"), (HOST, HOST), ("127.0.0.2",) * 2]
)
def test_it_asks_where_the_member_listens(
    listens_on: str, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    assert healthcheck(port, f"listen.host={listens_on}") == 1
    assert f"no answer from {asked} port {port}" in capsys.readouterr().err


def test_a_member_that_accepts_and_says_nothing_is_given_up_in_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        settings = ("--set=member.id=1", "--set=development=true", f"--set=listen.http_port={port}")
        assert main(["healthcheck", *settings, "--timeout=0.1"]) == 1
    assert "timed out" in capsys.readouterr().err


def test_settings_that_are_no_good_are_named_and_never_end_with_the_status_that_docker_keeps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert healthcheck(70_000) == 1
    assert "70000" in capsys.readouterr().err


def test_the_image_checks_its_health_by_this_command() -> None:
    lines = (ROOT / "broker" / "Dockerfile").read_text().splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("HEALTHCHECK")]
    program, *arguments = json.loads(lines[at + 1].strip().removeprefix("CMD "))
    assert program == "/opt/sybline/bin/sybline"
    assert arguments == ["healthcheck"]
