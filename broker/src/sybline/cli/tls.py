"""`sybline tls init`: a CA and certificates of members and clients, for one machine or a small test installation."""

import argparse
import ipaddress
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

DAYS_MAX: Final = 3650
MEMBERS_MAX: Final = 31
LOCAL_HOSTS: Final = "localhost,127.0.0.1,::1"

_CLUSTER_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

_EXAMPLES: Final = """\
examples:
  sybline tls init certificates                                      three members on this machine
  sybline tls init certificates --hosts broker.test,10.0.0.7 --cluster-id orders-prod
  TLS_ENABLED=true TLS_CERT_DIR=certificates/member-1 sybline serve --config member-1.yaml

DIR/ca-cert.pem          what clients trust
DIR/ca-key.pem           signs; members do not need it
DIR/member-N/            ca-cert.pem, cert.pem, key.pem: the member's tls.directory
DIR/client/              the same for a client, where tls.client_auth is required

Keys have mode 0600 and are never replaced without --force. A second run renews certificates that end within 30
days or have other names, and keeps the rest. More: docs/tls.md
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser's."""
    tls = commands.add_parser("tls", help="make certificates", allow_abbrev=False)
    actions = tls.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = actions.add_parser(
        "init",
        help="make a CA and certificates for local use",
        description="Make a CA, and certificates of members and clients, below DIR.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument(
        "--hosts",
        type=_parse_hosts,
        default=LOCAL_HOSTS,
        metavar="HOST,…",
        help=f"names and addresses that members are reached by (default: {LOCAL_HOSTS})",
    )
    parser.add_argument(
        "--members",
        type=_parse_number(MEMBERS_MAX),
        default=3,
        metavar="N",
        help=f"how many, 1 to {MEMBERS_MAX} (default: 3)",
    )
    parser.add_argument(
        "--cluster-id",
        type=_parse_cluster_id,
        default="sybline",
        metavar="ID",
        help="member.cluster_id of the members (default: sybline)",
    )
    parser.add_argument(
        "--days",
        type=_parse_number(DAYS_MAX),
        default=365,
        metavar="D",
        help="how long certificates of members and clients last (default: 365)",
    )
    parser.add_argument("--force", action="store_true", help="replace everything, keys too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make what is missing and say what is there."""
    from sybline.clock import SystemClock
    from sybline.tls.files import BadMaterial
    from sybline.tls.issuing import IssuePlan, Issuer
    from sybline.tls.peers import peer_identity

    issuer = Issuer(SystemClock(), force=arguments.force)
    plan = IssuePlan(
        directory=arguments.directory,
        members=arguments.members,
        hosts=arguments.hosts,
        identity=peer_identity(arguments.cluster_id),
        days=arguments.days,
    )
    try:
        issuer.issue(plan)
    except BadMaterial as error:
        print(f"sybline tls init: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename or arguments.directory
        print(f"sybline tls init: {where}: {error.strerror}", file=sys.stderr)
        return 1
    for path in issuer.written:
        print(f"wrote {path}")
    if issuer.kept:
        print(f"kept {len(issuer.kept)} files that still fit")
    return 0


def _parse_hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(host.strip() for host in text.split(","))
    for host in hosts:
        if not (_is_address(host) or _is_dns_name(host)):
            raise argparse.ArgumentTypeError(f"{host!a} is neither a host name nor an address")
    return hosts


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_dns_name(host: str) -> bool:
    """Return whether a certificate may carry it; `*.` may come first."""
    from sybline.addresses import check_host_name

    try:
        check_host_name(host.removeprefix("*."))
    except ValueError:
        return False
    return True


def _parse_cluster_id(text: str) -> str:
    if not _CLUSTER_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!a} is not a cluster id")
    return text


def _parse_number(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!a} is not a number from 1 to {most}")
        return int(text)

    return parse
