"""What `sybline dev` prepares before it starts a process."""

import json
import socket
from pathlib import Path

import pytest

from sybline.cli.dev_cluster import DevError, DevOptions, plan_cluster
from sybline.cli.fleet import MemberPlan
from sybline.cli.main import main
from sybline.config import load_settings
from tests.support.ports import free_port


@pytest.fixture
def options(tmp_path: Path) -> DevOptions:
    return build_options(tmp_path)


def build_options(tmp_path: Path, *, members: int = 3) -> DevOptions:
    first = free_port(block=30)
    return DevOptions(
        members=members,
        directory=tmp_path / "dev",
        grpc_port=first,
        http_port=first + 10,
        peer_port=first + 20,
        password_file=tmp_path / "dev" / "admin-password",
    )


def plan(options: DevOptions, environment: dict[str, str] | None = None) -> list[MemberPlan]:
    return plan_cluster(options, environment or {})


def test_each_member_gets_valid_settings_that_fit_the_others(options: DevOptions) -> None:
    every = [load_settings(None, member.environment).settings for member in plan(options)]
    assert [settings.member.id for settings in every] == [1, 2, 3]
    assert [settings.listen.grpc_port - options.grpc_port for settings in every] == [0, 1, 2]
    own = {s.member.id: f"127.0.0.1:{s.listen.peer_port}" for s in every}
    for settings in every:
        assert settings.member.peers == {
            member: address for member, address in own.items() if member != settings.member.id
        }
        assert settings.member.data_dir == options.directory / f"member-{settings.member.id}"
        assert settings.listen.host == "127.0.0.1"
    assert len({settings.peer.secret.get_secret_value() for settings in every}) == 1
    assert len({settings.admin.password.get_secret_value() for settings in every}) == 1


def test_secrets_are_made_once_for_their_owner_alone(options: DevOptions) -> None:
    plan(options)
    paths = [options.directory / "cluster-secret", options.password_file]
    contents = [path.read_bytes() for path in paths]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600, 0o600]
    plan(options)
    assert [path.read_bytes() for path in paths] == contents
    assert contents[0] != contents[1]


def test_settings_of_the_shell_reach_members_unless_they_are_decided_here(
    options: DevOptions,
) -> None:
    shell = {
        "PATH": "/bin",
        "SYBLINE_LOG__LEVEL": "debug",
        "NODE_TTL": "60",
        "SERVER_PORT": "1",
        "SYBLINE_LISTEN__GRPC_PORT": "2",
        "NODES": "4",
        "K8S_AUTO": "true",
        "CLUSTER_SECRET": "x",
        "SYBLINE_ADMIN__PASSWORD": "x",
        "SYBLINE_ADMIN_PASSWORD": "x",
    }
    (first, *_) = plan(options, shell)
    loaded = load_settings(None, first.environment)
    assert loaded.settings.log.level == "debug"
    assert loaded.settings.queues.lease_s == 60
    assert loaded.settings.listen.grpc_port == options.grpc_port
    assert loaded.warnings == ()
    assert first.environment["PATH"] == "/bin"


@pytest.mark.parametrize("option", ["grpc", "http", "peer"])
def test_a_port_in_use_is_named_with_its_option(options: DevOptions, option: str) -> None:
    port = getattr(options, f"{option}_port") + 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(DevError) as error:
            plan(options)
    assert str(error.value) == f"port {port} (--{option}-port of member 2) is in use"
    assert not options.directory.exists()


def test_ports_that_overlap_or_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(DevError) as error:
        plan(DevOptions(3, tmp_path, 15_000, 15_002, 65_535, tmp_path / "password"))
    assert str(error.value).splitlines() == [
        "port 65536 (--peer-port of member 2) does not exist",
        "port 15002 is wanted twice: --http-port of member 1, --grpc-port of member 3",
        "port 65537 (--peer-port of member 3) does not exist",
    ]


def test_data_of_another_number_of_members_is_refused(tmp_path: Path) -> None:
    plan(build_options(tmp_path, members=3))
    with pytest.raises(
        DevError, match=r"has the data of 3 members, not 5: use --members 3, or ano"
    ):
        plan(build_options(tmp_path, members=5))
    plan(build_options(tmp_path, members=3))


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", json.dumps({"other": 1})])
def test_a_damaged_description_is_refused(tmp_path: Path, content: str) -> None:
    options = build_options(tmp_path)
    options.directory.mkdir()
    (options.directory / "dev.json").write_text(content)
    with pytest.raises(DevError, match=r"dev\.json: not readable as what `sybline dev` writes"):
        plan(options)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text("in the way")
    with pytest.raises(DevError, match="dev: File exists"):
        plan(build_options(tmp_path))


def test_the_command_ends_with_status_1_and_a_line_for_each_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = f"--data-dir={tmp_path / 'dev'}"
    assert main(["dev", directory, "--grpc-port=15000", "--http-port=15000"]) == 1
    first, *others = capsys.readouterr().err.splitlines()
    assert first == (
        "sybline dev: port 15000 is wanted twice: --grpc-port of member 1, --http-port of member 1"
    )
    assert [line.split(" is ")[0] for line in others] == [
        "sybline dev: port 15001",
        "sybline dev: port 15002",
    ]
