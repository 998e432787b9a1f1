"""`sybline dev`: a cluster on loopback, each member its own process, for trying things out and for tests."""

import argparse
from pathlib import Path
from typing import Any

MEMBERS_MAX = 7

_EXAMPLES = """\
examples:
  sybline dev                                      three members; data in ./dev_data
  sybline dev --demo                               with a short show that kills the leader
  sybline dev --tls                                with certificates from its own CA, in DIR/tls
  sybline dev --members 1 --grpc-port 3221
  sybline dev --output json --password-file pw     for scripts: one line on standard output

Ctrl-C stops all members; a second Ctrl-C at once. The next run finds its data again.
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "dev",
        help="run a cluster on this machine, for development",
        description="Run a cluster on loopback, each member its own process, until Ctrl-C.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--members",
        type=int,
        default=3,
        choices=range(1, MEMBERS_MAX + 1),
        metavar="N",
        help=f"how many, 1 to {MEMBERS_MAX} (default: 3)",
    )
    parser.add_argument("--data-dir", type=Path, default=Path("dev_data"), metavar="DIR")
    for name, default in (("grpc", 2221), ("http", 7878), ("peer", 1111)):
        parser.add_argument(
            f"--{name}-port",
            type=int,
            default=default,
            metavar="P",
            help=f"of member 1, the others take the next ones (default: {default})",
        )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="F",
        help="the generated admin password (default: DIR/admin-password)",
    )
    parser.add_argument(
        "--tls", action="store_true", help="encrypt everything, with certificates made in DIR/tls"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--restart", action="store_true", help="start a member again that dies")
    parser.add_argument("--demo", action="store_true", help="show first that it works")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C and return the exit status."""
    from sybline.cli.dev_cluster import DevOptions
    from sybline.cli.dev_session import run_cluster

    directory = arguments.data_dir.absolute()
    options = DevOptions(
        members=arguments.members,
        directory=directory,
        grpc_port=arguments.grpc_port,
        http_port=arguments.http_port,
        peer_port=arguments.peer_port,
        password_file=(arguments.password_file or directory / "admin-password").absolute(),
        with_tls=arguments.tls,
    )
    return run_cluster(
        options,
        as_json=arguments.output == "json",
        restart=arguments.restart,
        with_demo=arguments.demo,
    )
