"""What a development cluster looks like on disk and on loopback: directory, secrets, ports, settings of each member.

DIR/dev.json         how many members the data belongs to
DIR/cluster-secret   what the members prove to each other, mode 0600
DIR/tls/             with TLS: a CA and certificates of members and clients
DIR/member-N/        a member's data
DIR/member-N.log     what it printed
"""

import errno
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sybline.auth.first_admin import load_or_create_password_file
from sybline.cli.fleet import MemberPlan
from sybline.clock import SystemClock
from sybline.config.original_names import names_that_set
from sybline.config.settings import KEYS

HOST = "127.0.0.1"
HOSTS = (HOST, "localhost")  # in certificates
CLUSTER_ID = "sybline-dev"
CERTIFICATE_DAYS = 365
ADMIN = "sybline"


class DevError(Exception):
    """The cluster cannot be started; one line for each reason."""


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line asks for."""

    members: int
    directory: Path
    grpc_port: int
    http_port: int
    peer_port: int
    password_file: Path
    with_tls: bool = False

    def ports(self, member: int) -> Mapping[str, int]:
        """Return the ports of a member by setting; members have consecutive ones."""
        return {
            "listen.grpc_port": self.grpc_port + member - 1,
            "listen.http_port": self.http_port + member - 1,
            "listen.peer_port": self.peer_port + member - 1,
        }


def plan_cluster(options: DevOptions, environment: Mapping[str, str]) -> list[MemberPlan]:
    """Prepare the directory and return the members to run.

    Raises:
        DevError: ports are taken, or the directory cannot be used.
    """
    _check_ports(options)
    try:
        options.directory.mkdir(parents=True, exist_ok=True)
        _check_member_count(options.directory / "dev.json", options.members)
        load_or_create_password_file(_secret_path(options))
        load_or_create_password_file(options.password_file)
        if options.with_tls:
            _issue_certificates(options)
    except OSError as error:
        raise DevError(f"{error.filename or options.directory}: {error.strerror}") from error
    return [_plan(options, member, environment) for member in range(1, options.members + 1)]


def _plan(options: DevOptions, member: int, environment: Mapping[str, str]) -> MemberPlan:
    ports = options.ports(member)
    settings = {
        "development": "true",
        "member.bootstrap": "true",
        "member.id": str(member),
        "member.name": f"member-{member}",
        "member.address": f"{HOST}:{ports['listen.peer_port']}",
        "member.cluster_id": CLUSTER_ID,
        "member.peers": ",".join(
            f"{other}={HOST}:{options.ports(other)['listen.peer_port']}"
            for other in range(1, options.members + 1)
            if other != member
        ),
        "member.data_dir": str(options.directory / f"member-{member}"),
        "listen.host": HOST,
        **{key: str(port) for key, port in ports.items()},
        "peer.secret_file": str(_secret_path(options)),
        "admin.username": ADMIN,
        "admin.password_file": str(options.password_file),
        "tls.enabled": str(options.with_tls).lower(),
        "tls.directory": str(_tls_path(options) / f"member-{member}"),
    }
    others = names_that_set(settings)
    return MemberPlan(
        id=member,
        grpc_address=f"{HOST}:{ports['listen.grpc_port']}",
        http_address=f"{HOST}:{ports['listen.http_port']}",
        log_path=options.directory / f"member-{member}.log",
        ca_path=_tls_path(options) / "ca-cert.pem" if options.with_tls else None,
        environment={
            **{name: value for name, value in environment.items() if name not in others},
            **{KEYS[key].environment_name: value for key, value in settings.items()},
        },
    )


def _secret_path(options: DevOptions) -> Path:
    return options.directory / "cluster-secret"


def _tls_path(options: DevOptions) -> Path:
    return options.directory / "tls"


def _issue_certificates(options: DevOptions) -> None:
    from sybline.tls.files import BadMaterial
    from sybline.tls.issuing import IssuePlan, Issuer
    from sybline.tls.peers import peer_identity

    plan = IssuePlan(
        directory=_tls_path(options),
        members=options.members,
        hosts=HOSTS,
        identity=peer_identity(CLUSTER_ID),
        days=CERTIFICATE_DAYS,
    )
    try:
        Issuer(SystemClock()).issue(plan)
    except BadMaterial as error:
        raise DevError(str(error)) from error


def _check_member_count(path: Path, members: int) -> None:
    """Keep data from a cluster of another size: its members would not know each other."""
    if not path.exists():
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"members": members}) + "\n")
        unfinished.replace(path)
        return
    try:
        found = json.loads(path.read_text())["members"]
    except (ValueError, KeyError, TypeError) as error:
        raise DevError(f"{path}: not readable as what `sybline dev` writes") from error
    if found != members:
        raise DevError(
            f"{path.parent} has the data of {found} members, not {members}: "
            f"use --members {found}, or another --data-dir"
        )


def _check_ports(options: DevOptions) -> None:
    problems: list[str] = []
    owners: dict[int, str] = {}
    for member in range(1, options.members + 1):
        for key, port in options.ports(member).items():
            option = f"--{key.removeprefix('listen.').replace('_', '-')}"
            problems += _check_port(port, f"{option} of member {member}", owners)
    if problems:
        raise DevError("\n".join(problems))


def _check_port(port: int, owner: str, owners: dict[int, str]) -> Iterator[str]:
    if not 1 <= port <= 65_535:
        yield f"port {port} ({owner}) does not exist"
    elif owners.setdefault(port, owner) != owner:
        yield f"port {port} is wanted twice: {owners[port]}, {owner}"
    elif reason := _why_not_free(port):
        yield f"port {port} ({owner}) {reason}"


def _why_not_free(port: int) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            return "is in use" if in_use else f"cannot be used: {error.strerror}"
    return ""
