"""The commands that start nothing, and how errors show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sybline.cli.main import main

MODULES_THAT_TAKE_LONG = ("cryptography", "grpc", "pydantic", "structlog", "uvloop", "yaml")


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("SYBLINE_"):
            monkeypatch.delenv(name)


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "member.yaml"
    path.write_text(text)
    return str(path)


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("sybline 0.1.0 (Python ")
    assert out.count("\n") == 1


def test_python_m_sybline_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sybline", "version"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.startswith("sybline 0.1.0")


def test_version_loads_nothing_that_takes_long() -> None:
    code = (
        "import sys; from sybline.cli.main import main; main(['version']); "
        f"print([m for m in {MODULES_THAT_TAKE_LONG} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["dev"],
        ["config"],
        ["config", "check"],
        ["healthcheck"],
        ["members"],
        ["members", "list"],
        ["members", "add"],
        ["members", "may-stop"],
        ["recover"],
        ["tls"],
        ["tls", "init"],
        ["version"],
    ],
)
def test_every_command_explains_itself(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: sybline" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["config"], "required: COMMAND"),
        (["srve"], "invalid choice: 'srve'"),
        (["serve", "--set", "log.level"], "'log.level' is not KEY=VALUE"),
        (["dev", "--members", "8"], "--members"),
        (["dev", "--grpc-port", "x"], "--grpc-port"),
    ],
)
def test_wrong_arguments_end_with_status_2_and_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_config_check_prints_what_applies_and_from_where_without_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "member: {id: 7, bootstrap: true}\nadmin: {password: hunter2}\n")
    monkeypatch.setenv("SERVER_PORT", "3221")
    assert main(["config", "check", "--config", path, "--set", "log.level=debug"]) == 0
    shown = capsys.readouterr()
    rows = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert f"member.id = 7 # member.id ({path} line 1)" in rows
    assert "listen.grpc_port = 3221 # SERVER_PORT" in rows
    assert "log.level = debug # --set log.level" in rows
    assert "queues.lease_s = 300 # default" in rows
    assert f"admin.password = (set) # admin.password ({path} line 2)" in rows
    assert "hunter2" not in shown.out + shown.err
    assert "sybline: warning: TLS is off" in shown.err


@pytest.mark.parametrize("command", [["config", "check"], ["serve"]])
def test_wrong_settings_end_with_status_2_and_a_line_for_each(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "member: {id: 7, bootstrap: true}\nlisten: {grpc_port: 70000}\nlg: {}\n")
    assert main([*command, "--config", path]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        f"sybline: lg ({path} line 3): unknown key; did you mean log?",
        f"sybline: listen.grpc_port ({path} line 2): '70000' is not allowed; "
        "allowed: a port from 1 to 65535",
        "sybline: admin.password (SYBLINE_ADMIN_PASSWORD): missing; "
        "the first administrator needs a password: set it, or admin.password_file "
        "(SYBLINE_ADMIN_PASSWORD_FILE), or admin.generate_password",
    ]
