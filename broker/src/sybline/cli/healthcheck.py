"""`sybline healthcheck`: asks the member on this machine whether it is alive, as a container's health check.

It reads the settings that the member was started with, and so finds the port and whether it speaks TLS. The certificate
is not looked at: nothing is told to whoever answers, and a probe has to work while certificates change.
"""

import argparse
import http.client
import ssl
import sys
from typing import TYPE_CHECKING, Any, Final

from sybline.cli.settings_arguments import add_settings_arguments, load

if TYPE_CHECKING:  # parsing `--help` needs none of it
    from sybline.config.settings import Settings

UNHEALTHY_STATUS: Final = (
    1  # for wrong settings, too: a container's health check may not end with 2
)
_PATH: Final = "/livez"
_REASON_BYTES_MAX: Final = 1024
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "localhost"}  # noqa: S104  what is listened on

_EXAMPLES: Final = """\
examples:
  sybline healthcheck                       with the environment of the member
  sybline healthcheck --config member-1.yaml

Exit status 0: it is alive; 1: it is not, or nobody answers, and why. A member without a leader is alive.
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "healthcheck",
        help="ask the member on this machine whether it is alive",
        description="Ask the member on this machine whether it is alive, over TLS if its settings say so.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings_arguments(parser)
    parser.add_argument(
        "--timeout",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds that it has to answer (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and return the exit status."""
    loaded = load(arguments)
    if loaded is None:
        return UNHEALTHY_STATUS
    reason = _ask(loaded.settings, arguments.timeout)
    if reason:
        print(f"sybline: {reason}", file=sys.stderr)
        return UNHEALTHY_STATUS
    return 0


def _ask(settings: "Settings", timeout_s: float) -> str:
    """Return why the member is not alive; "": it is."""
    host = _LOOPBACK.get(settings.listen.host, settings.listen.host)
    port = settings.listen.http_port
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_s, context=_unverified())
        if settings.tls.enabled
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    try:
        connection.request("GET", _PATH)
        answer = connection.getresponse()
        told = answer.read(_REASON_BYTES_MAX).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {host} port {port}: {error!r}"
    finally:
        connection.close()
    return "" if answer.status == http.client.OK else f"{_PATH} of port {port}: {told}"


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
