"""What all commands that are clients have in common: the time they have, whom they talk to, and how they end."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, Final

from sybline.cli.connection_arguments import (
    Access,
    NoCredentials,
    add_connection_arguments,
    load_access,
)

WRONG_ARGUMENTS_STATUS: Final = 2
INTERRUPTED_STATUS: Final = 130
_DAY_S: Final = 86_400


def add_client_arguments(parser: Any, *, timeout_s: float) -> None:
    """Add --timeout and the arguments of the connection."""
    parser.add_argument(
        "--timeout",
        type=_parse_seconds,
        default=timeout_s,
        metavar="S",
        help="seconds for the whole command (default: %(default)g)",
    )
    add_connection_arguments(parser)


def run_client(
    arguments: argparse.Namespace, work: Callable[[Access], int], *, interrupted: str
) -> int:
    """Do the work of a command and return the exit status; what goes wrong is one line on standard error."""
    from sybline.cli.admin_client import CommandFailed

    try:
        return work(load_access(arguments))
    except NoCredentials as error:
        return _complain(error, WRONG_ARGUMENTS_STATUS)
    except CommandFailed as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain(interrupted, INTERRUPTED_STATUS)


def _complain(what: object, status: int) -> int:
    print(f"sybline: {what}", file=sys.stderr)
    return status


def _parse_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _DAY_S:
        raise ValueError(text)
    return seconds
