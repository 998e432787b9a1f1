"""`sybline publish` and `sybline consume`: arguments, what is printed, what is repeated, and how it ends."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from sybline.cli.connection_arguments import Access
from sybline.cli.main import build_parser, main
from sybline.cli.message_commands import run_command
from sybline.errors import NoLeader, OutcomeUnknown
from tests.support.api_server import Api, serving_api
from tests.support.certificates import Authority
from tests.support.cluster import ADMIN, ADMIN_PASSWORD
from tests.support.waiting import wait_for

Run = Callable[..., Awaitable[int]]


@pytest.fixture
async def api():
    async with serving_api() as serving:
        yield serving


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a whole command as the administrator, with little time unless told; return the exit status."""
    monkeypatch.setenv("SYB_PASSWORD", ADMIN_PASSWORD)

    async def run(command: str, *arguments: str, timeout_s: str = "10") -> int:
        where = ["--server", api.address, "--user", ADMIN, "--timeout", timeout_s]
        return await asyncio.to_thread(main, [command, *where, *arguments])

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish"],
        ["publish", "orders", "text", "--timeout", "0"],
        ["consume"],
        ["consume", "orders", "--count", "0"],
        ["consume", "orders", "--count", "few"],
    ],
)
def test_wrong_arguments_end_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: sybline" in capsys.readouterr().err


async def test_what_is_published_is_consumed_in_order_and_settled(
    run: Run, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert await run("publish", "--create", "orders", "first", "zweite \u00fc", "third") == 0
    assert await run("consume", "orders") == 0
    assert capfdbinary.readouterr().out == "published: 3\nfirst\nzweite \u00fc\nthird\n".encode()
    assert await run("consume", "orders") == 0
    assert capfdbinary.readouterr().out == b""


async def test_without_texts_each_line_of_the_input_is_a_message(
    run: Run, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"one\r\n\xff two\nthree"))
    monkeypatch.setattr("sys.stdin", lines)
    assert await run("publish", "--create", "orders") == 0
    assert await run("consume", "orders", "--count", "3") == 0
    assert capfdbinary.readouterr().out == b"published: 3\none\n\xff two\nthree\n"


async def test_more_than_one_batch_is_consumed(
    run: Run, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    texts = [f"message {number}" for number in range(130)]
    await run("publish", "--create", "orders", *texts)
    await run("consume", "orders", "--count", "110")
    await run("consume", "orders")
    assert capfdbinary.readouterr().out.decode().splitlines() == ["published: 130", *texts]


async def test_fewer_messages_than_asked_for_is_a_failure_after_the_time(
    run: Run, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    await run("publish", "--create", "orders", "only")
    assert await run("consume", "orders", "--count", "2", timeout_s="1") == 1
    printed = capfdbinary.readouterr()
    assert printed.out == b"published: 1\nonly\n"
    assert printed.err == b"sybline: 1 of 2 messages came within 1 s\n"


async def test_without_the_queue_it_says_so_at_once(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await run("publish", "nowhere", "text") == 1
    assert "published before: 0" in capfd.readouterr().err
    assert await run("consume", "nowhere") == 1
    assert "nowhere" in capfd.readouterr().err


async def test_over_tls_with_the_ca_that_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYB_PASSWORD", ADMIN_PASSWORD)
    authority = Authority()
    server = authority.issue()
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    credentials = grpc.ssl_server_credentials([(server.key, server.certificate)])
    async with serving_api(credentials=credentials) as api:
        arguments = ["--server", api.address, "--ca", str(ca), "--create", "orders", "text"]
        assert await asyncio.to_thread(main, ["publish", *arguments]) == 0


async def test_creating_a_queue_that_is_there_changes_nothing(run: Run) -> None:
    assert await run("publish", "--create", "orders", "first") == 0
    assert await run("publish", "--create", "orders", "second") == 0


async def publish_amid(api: Api, disturb: Callable[[], None], mend: Callable[[], bool]) -> None:
    """Publish with the token of a session, for logging in would be disturbed as well, until it is mended."""
    async with api.client() as client:
        access = Access(api.address, ADMIN, "", dict(client.metadata)["syb-token"])
        disturb()
        command = build_parser().parse_args(["publish", "--timeout", "10", "orders", "amid"])
        publishing = asyncio.create_task(run_command(command, access))
        await wait_for(mend, what="the disturbance was met", deadline_s=5)
        assert await publishing == 0


async def test_a_publish_whose_answer_was_lost_is_sent_again_and_stored_once(
    api: Api, run: Run, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    await run("publish", "--create", "orders", "before")

    def lose() -> None:
        api.log.lost_reply = OutcomeUnknown("the leader changed")

    await publish_amid(api, lose, lambda: api.log.lost_reply is None)
    await run("consume", "orders")
    assert capfdbinary.readouterr().out == b"published: 1\npublished: 1\nbefore\namid\n"


async def test_without_a_leader_a_publish_waits_for_one(
    api: Api, run: Run, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    await run("publish", "--create", "orders", "before")
    before = len(api.log.proposed)

    def lose() -> None:
        api.log.error = NoLeader("no leader")

    def mend() -> bool:
        if len(api.log.proposed) <= before + 1:  # refused once
            return False
        api.log.error = None
        return True

    await publish_amid(api, lose, mend)
    await run("consume", "orders")
    assert capfdbinary.readouterr().out == b"published: 1\npublished: 1\nbefore\namid\n"
