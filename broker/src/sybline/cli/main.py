"""The command line: which command runs, and how it ends. Commands load what they need when they run.

Exit status: 0 done, 1 failed, 2 wrong settings or arguments. Errors are lines on standard error, never a traceback.
"""

import argparse
from collections.abc import Sequence

from sybline.cli import (
    config_check,
    dev,
    healthcheck,
    log_files,
    members,
    messages,
    recover,
    serve,
    tls,
    version,
)

_COMMANDS = (
    serve, dev, messages, members, recover, log_files, config_check, healthcheck, tls, version,
)  # fmt: skip
_EXAMPLES = """\
examples:
  sybline dev                               three members on this machine, to try things out
  sybline serve --config member-1.yaml      one member
  sybline members list                      who belongs to a running cluster, and how each is doing
  sybline publish --create orders hello     a message, stored on a majority; `sybline consume orders` takes it
  sybline config check --config FILE        only validate
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each command stores the function that runs it as `run`."""
    parser = argparse.ArgumentParser(
        prog="sybline",
        description="A replicated message broker: gRPC in, Raft inside.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments (default: the process's) name; return the exit status."""
    parsed = build_parser().parse_args(arguments)
    status: int = parsed.run(parsed)
    return status
