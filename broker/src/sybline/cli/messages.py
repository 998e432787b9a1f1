"""`sybline publish` and `sybline consume`: messages from and to a terminal or a script."""

import argparse
from typing import Any, Final

from sybline.cli.client_command import add_client_arguments, run_client
from sybline.cli.connection_arguments import Access

_TIMEOUT_S: Final = 60.0

_PUBLISH_EXAMPLES: Final = """\
examples:
  sybline publish --create orders first second     one message for each text
  sybline publish orders < lines.txt               one for each line

What fails for a while is repeated until the time is over, and is stored once all the same.
Exit status 0: all are acknowledged, which means fsynced on a majority of members; 1: not all; 2: wrong arguments.
"""
_CONSUME_EXAMPLES: Final = """\
examples:
  sybline consume orders                 all that wait now, each on a line
  sybline consume orders --count 10      ten; waits for them until the time is over

A message is settled after it was printed: it is printed at least once.
Exit status 0: done; 1: failed, or fewer than asked for; 2: wrong arguments.
"""


def add_to(commands: Any) -> None:
    """Add both commands to the parser's."""
    publish = _add_command(commands, "publish", "publish messages", _PUBLISH_EXAMPLES)
    publish.add_argument(
        "routing_key", metavar="KEY", help="routing key; a queue made here has one of its name"
    )
    publish.add_argument("texts", nargs="*", metavar="TEXT", help="default: lines of the input")
    publish.add_argument(
        "--create", action="store_true", help="make a queue of that name first, unless it is there"
    )
    consume = _add_command(commands, "consume", "print and settle messages", _CONSUME_EXAMPLES)
    consume.add_argument("queue", metavar="QUEUE")
    consume.add_argument(
        "--count", type=_parse_count, metavar="N", help="how many (default: what waits now)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    return run_client(
        arguments,
        lambda access: _run(arguments, access),
        interrupted="interrupted; the last messages may have been published, or not be settled",
    )


def _add_command(commands: Any, name: str, text: str, examples: str) -> Any:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text.capitalize()}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_client_arguments(parser, timeout_s=_TIMEOUT_S)
    parser.set_defaults(run=run, action=name)
    return parser


def _parse_count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _run(arguments: argparse.Namespace, access: Access) -> int:
    import asyncio

    from sybline.cli.message_commands import run_command

    return asyncio.run(run_command(arguments, access))
