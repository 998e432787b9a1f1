"""`sybline members …`: who belongs to a cluster, and how members come, go and are stopped safely."""

import argparse
import sys
from typing import Any, Final

from sybline.cli.client_command import (
    WRONG_ARGUMENTS_STATUS,
    add_client_arguments,
    run_client,
)
from sybline.cli.connection_arguments import Access

_WAIT_S: Final = 30.0
_ADD_WAIT_S: Final = 600.0  # a learner may have a lot to receive

_EXAMPLES: Final = """\
examples:
  sybline members list --server broker-0:2221 --password-file pw
  sybline members add broker-3:1111                let it in, wait until it has caught up, make it a voter
  sybline members may-stop 2 && kubectl delete pod broker-1
  sybline members remove 2

Any member answers. Exit status 0: done, or yes; 1: refused, failed, or no; 2: wrong arguments.
More: docs/operations/README.md
"""


def add_to(commands: Any) -> None:
    """Add the commands to the parser's."""
    members = commands.add_parser(
        "members",
        help="list and change the members of a running cluster",
        description="List and change the members of a running cluster.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = members.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_looking(actions)
    _add_changing(actions)


def _add_looking(actions: Any) -> None:
    parser = _add_action(actions, "list", "who is there, and how each is doing")
    parser.add_argument(
        "--own-view",
        action="store_true",
        help="what the member that is asked knows itself; works without a leader",
    )
    _add_action(actions, "status", "the member that is asked: state, log and disk")
    parser = _add_action(actions, "may-stop", "whether a member may be stopped now, and why")
    _add_id(parser)


def _add_changing(actions: Any) -> None:
    parser = _add_action(
        actions, "add", "let a running, empty member in and make it a voter", wait_s=_ADD_WAIT_S
    )
    parser.add_argument("address", metavar="HOST:PORT", help="where it listens for other members")
    parser.add_argument("--name", default="", help="how lists show it (default: its own name)")
    parser.add_argument("--learner", action="store_true", help="leave it a learner; do not wait")
    _add_version(parser)

    parser = _add_action(actions, "promote", "make a learner that has caught up a voter")
    _add_id(parser)
    _add_version(parser)

    parser = _add_action(actions, "remove", "take a member out, for good")
    _add_id(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="also when the healthy voters that stay are no quorum; asks first",
    )
    parser.add_argument("--yes", action="store_true", help="with --force: do not ask")
    _add_version(parser)

    parser = _add_action(actions, "update", "change the address of a member")
    _add_id(parser)
    parser.add_argument("address", metavar="HOST:PORT", help="where the others reach it")
    _add_version(parser)

    parser = _add_action(actions, "transfer-leadership", "let another member lead")
    _add_id(parser, nargs="?", default=0, text="who (default: the one that has most of the log)")


def _add_action(actions: Any, name: str, text: str, *, wait_s: float = _WAIT_S) -> Any:
    parser = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_client_arguments(parser, timeout_s=wait_s)
    parser.set_defaults(run=run, action=name)
    return parser


def _add_id(parser: Any, *, text: str = "of the member, as listed", **more: Any) -> None:
    parser.add_argument("id", type=_parse_id, metavar="ID", help=text, **more)


def _add_version(parser: Any) -> None:
    parser.add_argument(
        "--expected-version",
        type=_parse_version,
        metavar="N",
        help="refuse unless the configuration has this version (default: the one just read)",
    )


def _parse_id(text: str) -> int:
    member = int(text)
    if member < 1:
        raise ValueError(text)
    return member


def _parse_version(text: str) -> int:
    version = int(text)
    if version < 0:
        raise ValueError(text)
    return version


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    return run_client(
        arguments,
        lambda access: _run(arguments, access),
        interrupted="interrupted; what was sent may have been done, see `sybline members list`",
    )


def _run(arguments: argparse.Namespace, access: Access) -> int:
    import asyncio

    from sybline.cli.member_commands import explain_forced_removal, run_command

    if arguments.action == "remove" and arguments.force and not arguments.yes:
        print(asyncio.run(explain_forced_removal(arguments, access)), file=sys.stderr)
        if not sys.stdin.isatty():
            print("sybline: nobody to ask: give --yes if this is wanted", file=sys.stderr)
            return WRONG_ARGUMENTS_STATUS
        if input("remove it by force? [y/N] ").strip().lower() not in ("y", "yes"):
            print("sybline: nothing was done", file=sys.stderr)
            return 1
    return asyncio.run(run_command(arguments, access))
