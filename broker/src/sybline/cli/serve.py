"""`sybline serve`: one member in this process, until SIGTERM."""

import argparse
import asyncio
import os
import signal
import sys
import threading
from typing import Any

from sybline.cli.settings_arguments import WRONG_SETTINGS_STATUS, add_settings_arguments, load

_EXAMPLES = """\
examples:
  sybline serve --config member-1.yaml
  sybline serve --config member-1.yaml --set log.level=debug
  SERVER_PORT=2221 RAFT_NODE_ID=1 SYBLINE_ADMIN_PASSWORD_FILE=password sybline serve

Every key of the file is also a variable: listen.grpc_port is SYBLINE_LISTEN__GRPC_PORT.
SIGTERM stops the member without an error for its clients; a second one stops it at once.
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "serve",
        help="run one member",
        description="Run one member of a cluster in this process.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings_arguments(parser)
    parser.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="stop, as on SIGTERM, when standard input is closed: never outlive the parent process",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the member and return the exit status."""
    if arguments.stop_with_stdin:
        threading.Thread(target=_stop_with_stdin, name="stdin", daemon=True).start()
    loaded = load(arguments)
    if loaded is None:
        return WRONG_SETTINGS_STATUS

    # gRPC writes a line of its own for every stranger that fails a TLS handshake; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

    import structlog
    import uvloop

    from sybline import app
    from sybline.telemetry.logging import configure_logging

    settings = loaded.settings
    configure_logging(level=settings.log.level, member=settings.member.id, stream=sys.stderr)
    for warning in loaded.warnings:
        structlog.get_logger(__name__).warning("setting", text=warning)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(app.run(loaded))
    except app.StartError as error:
        print(f"sybline: {error}", file=sys.stderr)
        return 1


def _stop_with_stdin() -> None:
    """Wait for the end of standard input, which comes when the parent ends, however it ends."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
