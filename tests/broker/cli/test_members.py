"""`sybline members …`: arguments, what is printed, what is repeated, and how it ends."""

import argparse
import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from sybline.cli.admin_client import CallFailed, CommandFailed
from sybline.cli.connection_arguments import Access, Certificates
from sybline.cli.main import build_parser, main
from sybline.cli.member_commands import explain_forced_removal, run_command
from sybline.errors import DeadlinePassed, NoLeader, OutcomeUnknown
from sybline.replication.configuration import (
    AddLearner,
    ChangeReason,
    ChangeRefused,
    Promote,
    Remove,
    with_learner,
    with_promoted,
)
from tests.support.api_server import Api, serving_api
from tests.support.certificates import Authority
from tests.support.cluster import ADMIN, ADMIN_PASSWORD
from tests.support.memory_membership import JOINER
from tests.support.ports import free_port

NEW = "host-9:1111"
Run = Callable[..., Awaitable[int]]


def parse(*arguments: str) -> argparse.Namespace:
    return build_parser().parse_args(["members", *arguments])


@pytest.fixture
async def api():
    async with serving_api() as serving:
        yield serving


@pytest.fixture
def run(api: Api) -> Run:
    """Run a command as the administrator, with little time unless told."""
    access = Access(api.address, ADMIN, ADMIN_PASSWORD, "")

    async def run(*arguments: str) -> int:
        return await run_command(parse(*arguments, "--timeout", "5"), access)

    return run


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# --- arguments ---
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["list", "extra"],
        ["may-stop"],
        ["may-stop", "0"],
        ["may-stop", "two"],
        ["add"],
        ["promote", "-1"],
        ["remove", "3", "--expected-version", "-1"],
        ["update", "3"],
        ["list", "--timeout", "0"],
        ["list", "--timeout", "nan"],
        ["explode"],
    ],
)
def test_wrong_arguments_end_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["members", *arguments])
    assert ended.value.code == 2
    assert "usage: sybline" in capsys.readouterr().err


def test_without_anything_to_log_in_with_the_text_says_what_to_give(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SYB_PASSWORD", raising=False)
    monkeypatch.delenv("SYB_TOKEN", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(["members", "list"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("sybline: no password for sybline: give --password-file, SYB_PASSWORD")


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
@pytest.mark.parametrize("option", ["--password-file", "--token-file"])
def test_a_file_without_a_secret_is_named(
    option: str, content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    assert main(["members", "list", option, str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sybline: {path}: ")


def test_a_member_that_cannot_be_reached_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYB_PASSWORD", "p")
    server = f"127.0.0.1:{free_port()}"
    assert main(["members", "list", "--server", server, "--timeout", "2"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sybline: {server}: ")


# --- logging in ---
async def test_the_session_of_a_password_ends_with_the_command(api: Api, run: Run) -> None:
    before = api.log.machine.session_count()
    assert await run("list") == 0
    assert api.log.machine.session_count() == before


async def test_a_wrong_password_fails_the_command(api: Api) -> None:
    with pytest.raises(CallFailed, match="invalid login details"):
        await run_command(parse("list"), Access(api.address, ADMIN, "wrong", ""))


async def test_a_token_is_used_and_stays(api: Api) -> None:
    async with api.client() as client:
        token = dict(client.metadata)["syb-token"]
        before = api.log.machine.session_count()
        assert await run_command(parse("list"), Access(api.address, ADMIN, "", token)) == 0
        assert api.log.machine.session_count() == before


async def test_with_a_ca_the_command_talks_tls_and_shows_its_certificate() -> None:
    authority = Authority()
    server, own = authority.issue(), authority.issue(identity="")
    credentials = grpc.ssl_server_credentials(
        [(server.key, server.certificate)], authority.pem, require_client_auth=True
    )
    async with serving_api(credentials=credentials) as api:
        trusting = Certificates(authority.pem, own.certificate, own.key)
        for tls, may in (
            (trusting, True),
            (Certificates(authority.pem), False),
            (Certificates(Authority().pem, own.certificate, own.key), False),
            (None, False),
        ):
            access = Access(api.address, ADMIN, ADMIN_PASSWORD, "", tls)
            if may:
                assert await run_command(parse("list", "--timeout", "5"), access) == 0
            else:
                with pytest.raises(CallFailed, match=api.address):
                    await run_command(parse("list", "--timeout", "1"), access)


@pytest.mark.parametrize(
    "options", [["--cert", "c"], ["--key", "k"], ["--cert", "c", "--key", "k"]]
)
def test_half_of_what_tls_needs_is_refused(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYB_PASSWORD", "p")
    assert main(["members", "list", *options]) == 2
    assert "--cert and --key belong together, and to --ca" in capsys.readouterr().err


# --- looking ---
async def test_list_is_a_table(api: Api, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    api.log.lags = {2: 12_345}
    api.log.heard_ages_s = {3: math.inf}
    api.log.configuration = with_learner(api.log.configuration, JOINER, "", NEW)
    assert await run("list") == 0
    headline, *table = capsys.readouterr().out.splitlines()
    assert headline == "configuration 5, term 5, member 1 leads, confirmed by a quorum"
    assert [line.split() for line in table] == [
        ["ID", "NAME", "ADDRESS", "ROLE", "LAG", "HEARD", "STATE"],
        ["1", "m1", "host-1:1111", "voter", "0", "-", "leads"],
        ["2", "m2", "host-2:1111", "voter", "12,345", "0.1", "s", "ago", "catching", "up"],
        ["3", "m3", "host-3:1111", "voter", "0", "-", "not", "connected"],
        [str(JOINER), "-", NEW, "learner", "0", "0.1", "s", "ago", "healthy"],
    ]


async def test_the_own_view_works_without_a_leader(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    api.log.leading = None
    api.log.is_committed = False
    with pytest.raises(CallFailed, match="UNAVAILABLE, NO_LEADER"):
        await run("list")
    assert await run("list", "--own-view") == 0
    headline = capsys.readouterr().out.splitlines()[0]
    assert headline == (
        "configuration 4 (not committed yet), term 5, no leader is known, as member 1 knows it"
    )


async def test_json_has_every_field(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("list", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["configuration"]["version"] == "4"
    assert [each["member"]["id"] for each in shown["members"]] == ["1", "2", "3"]
    assert shown["members"][1]["healthy"] is True
    assert shown["members"][1]["lag_entries"] == "0"


async def test_status_shows_the_member_that_is_asked(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("status") == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["member"] == "1 (m1), voter, leader"
    assert shown["serves"] == "yes"
    assert shown["publishes"] == "taken"
    assert shown["disk"] == "5.0 GiB free"
    assert shown["log"].endswith("3.0 MiB, of these 1.0 MiB waiting messages")


async def test_may_stop_answers_with_text_and_status(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("may-stop", "2") == 0
    assert capsys.readouterr().out.startswith("yes: 2 of 3 voters are healthy and caught up")
    assert await run("may-stop", "1") == 1
    no, hint, *_ = capsys.readouterr().out.splitlines()
    assert no.startswith("no: member 1 leads: hand over first")
    assert hint.split() == ["sybline", "members", "transfer-leadership", "2"]
    api.log.heard_ages_s = {3: math.inf}
    assert await run("may-stop", "2", "--json") == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "STOP_REASON_TOO_FEW_HEALTHY"


# --- adding ---
async def test_add_waits_until_the_learner_has_caught_up_and_promotes_it(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    api.log.lags = {JOINER: 9_000}
    api.log.on_view = lambda: api.log.lags.update({JOINER: api.log.lags[JOINER] - 2_000})
    assert await run("add", NEW) == 0
    said = capsys.readouterr()
    assert said.out == f"member {JOINER} (nine) at {NEW} is a voter (configuration 6)\n"
    assert f"member {JOINER} (nine) is a learner" in said.err
    assert "5,000 entries behind" in said.err
    assert [change for change, _ in api.log.changes] == [
        AddLearner(JOINER, "nine", NEW),
        Promote(JOINER),
    ]


async def test_add_waits_a_while_for_a_member_that_was_just_started(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = api.log.listeners.pop(NEW)
    asyncio.get_running_loop().call_later(0.5, api.log.listeners.update, {NEW: listener})
    assert await run("add", NEW) == 0
    assert f"waiting for a member at {NEW}" in capsys.readouterr().err


async def test_add_gives_up_on_an_address_where_nobody_is(api: Api) -> None:
    access = Access(api.address, ADMIN, ADMIN_PASSWORD, "")
    with pytest.raises(CallFailed, match="no member answers at 'host-8:1111'"):
        await run_command(parse("add", "host-8:1111", "--timeout", "1"), access)
    assert api.log.changes == []


async def test_add_can_leave_it_a_learner_under_another_name(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("add", NEW, "--learner", "--name", "rack 7") == 0
    assert capsys.readouterr().out == (
        f"member {JOINER} (rack 7) at {NEW} is a learner (configuration 5)\n"
    )


async def test_add_goes_on_with_a_learner_that_an_earlier_run_has_added(api: Api, run: Run) -> None:
    api.log.configuration = with_learner(api.log.configuration, JOINER, "nine", NEW)
    assert await run("add", NEW) == 0
    assert api.log.configuration.get(JOINER).voter


async def test_add_of_a_voter_is_done_already(api: Api, run: Run) -> None:
    joined = with_learner(api.log.configuration, JOINER, "nine", NEW)
    api.log.configuration = with_promoted(joined, JOINER)
    assert await run("add", NEW) == 0
    assert api.log.configuration.version == 6


async def test_add_says_how_to_go_on_when_the_learner_takes_too_long(api: Api) -> None:
    api.log.lags = {JOINER: 90_000}
    access = Access(api.address, ADMIN, ADMIN_PASSWORD, "")
    with pytest.raises(CommandFailed, match=f"90,000 entries behind.*members promote {JOINER}"):
        await run_command(parse("add", NEW, "--timeout", "1"), access)


async def test_add_goes_on_while_others_change_the_configuration(api: Api, run: Run) -> None:
    """The promotion looks again; a version that is stale by then is no reason to give up."""
    refusals = [
        ChangeRefused(ChangeReason.ALREADY_MEMBER, "it is there"),
        ChangeRefused(ChangeReason.VERSION, "stale"),
        ChangeRefused(ChangeReason.NOT_CAUGHT_UP, "not yet"),
        ChangeRefused(ChangeReason.PENDING, "busy"),
    ]
    await run("add", NEW, "--learner")
    api.log.refuse_next = refusals
    assert await run("add", NEW) == 0
    assert refusals == []


async def test_a_learner_that_somebody_removes_meanwhile_ends_the_wait(api: Api, run: Run) -> None:
    api.log.lags = {JOINER: 5_000}

    def remove() -> None:
        api.log.configuration = api.log.configuration.__class__(
            9, 77, api.log.configuration.members[:3]
        )

    await run("add", NEW, "--learner")
    api.log.on_view = remove
    with pytest.raises(CommandFailed, match="removed"):
        await run("add", NEW)


# --- other changes ---
async def test_changes_carry_the_version_that_was_just_read(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("update", "3", "host-3:2222") == 0
    assert await run("remove", "3") == 0
    assert capsys.readouterr().out.splitlines() == [
        "member 3 (m3) at host-3:2222 is a voter (configuration 5)",
        "member 3 is removed (configuration 6)",
    ]


async def test_a_version_that_is_given_is_sent_as_it_is(api: Api, run: Run) -> None:
    with pytest.raises(CallFailed, match="ABORTED, VERSION"):
        await run("remove", "3", "--expected-version", "3")
    assert await run("remove", "3", "--expected-version", "4") == 0


@pytest.mark.parametrize("lost", [OutcomeUnknown("x"), DeadlinePassed("x")])
async def test_a_change_whose_answer_was_lost_counts_as_made_once(
    api: Api, run: Run, lost: OutcomeUnknown
) -> None:
    api.log.lost_change = lost
    assert await run("remove", "3") == 0
    assert api.log.configuration.version == 5
    assert len(api.log.changes) == 2


async def test_a_change_is_sent_again_while_there_is_no_leader(api: Api, run: Run) -> None:
    api.log.refuse_next = [NoLeader("x"), ChangeRefused(ChangeReason.PENDING, "busy")]
    assert await run("remove", "3") == 0
    assert len(api.log.changes) == 3


async def test_a_refused_change_is_not_sent_again(api: Api, run: Run) -> None:
    with pytest.raises(CallFailed, match=r"there is no member 8 \(NOT_FOUND, UNKNOWN_MEMBER\)"):
        await run("remove", "8")
    assert len(api.log.changes) == 1


async def test_a_removal_by_force_says_so_to_the_leader(api: Api, run: Run) -> None:
    assert await run("remove", "3", "--force", "--yes") == 0
    assert api.log.changes == [(Remove(3), True)]


async def test_what_a_removal_by_force_may_do_is_explained_first(api: Api) -> None:
    api.log.heard_ages_s = {2: math.inf}
    access = Access(api.address, ADMIN, ADMIN_PASSWORD, "")
    text = await explain_forced_removal(parse("remove", "3", "--force"), access)
    assert "healthy and caught up are: 1." in text
    assert api.log.changes == []


async def test_leadership_goes_to_who_is_named(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("transfer-leadership", "3") == 0
    assert await run("transfer-leadership") == 0
    assert capsys.readouterr().out.splitlines() == ["member 3 leads", "member 1 leads"]
