"""`sybline-operator`: run the operator, or print the resource definition."""

import argparse
import asyncio
import logging
import os
import socket
import sys
from importlib import resources
from typing import Final

IMAGE_VARIABLE: Final = "SYBLINE_OPERATOR_BROKER_IMAGE"
DEFAULT_IMAGE: Final = "sybline:0.1.0"


def main() -> int:
    """Run the command and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="sybline-operator",
        description="Turns SyblineCluster resources into running clusters.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="watch and act until SIGTERM", allow_abbrev=False)
    run.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="only this namespace; may be repeated (default: all)",
    )
    run.add_argument(
        "--listen", default="", metavar="HOST:PORT", help="serve /livez, /readyz and /metrics"
    )
    run.add_argument(
        "--lease",
        default="",
        metavar="NAME",
        help="act only while holding this Lease in the operator's own namespace (with several replicas)",
    )
    run.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    run.set_defaults(run=_run)
    crd = commands.add_parser("crd", help="print the resource definition", allow_abbrev=False)
    crd.set_defaults(run=_print_crd)
    arguments = parser.parse_args()
    status: int = arguments.run(arguments)
    return status


def _run(arguments: argparse.Namespace) -> int:
    from sybline.telemetry.logging import configure_logging
    from sybline_operator.lease import Candidate
    from sybline_operator.operate import Settings, operate

    configure_logging(level=arguments.log_level, member=None, stream=sys.stderr)
    if arguments.log_level != "debug":
        for name in ("kopf.objects", "kopf.activities"):  # one line for each event of each object
            logging.getLogger(name).setLevel(logging.WARNING)
    # In a pod its name: a container that starts again in it goes on with the Lease at once.
    identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"
    namespace = os.environ.get("POD_NAMESPACE") or next(iter(arguments.namespace), "default")
    settings = Settings(
        namespaces=tuple(arguments.namespace),
        default_image=os.environ.get(IMAGE_VARIABLE, DEFAULT_IMAGE),
        identity=identity,
        own_namespace=os.environ.get("POD_NAMESPACE", ""),
        listen=arguments.listen,
        lease=Candidate(namespace, arguments.lease, identity) if arguments.lease else None,
    )
    asyncio.run(operate(settings))
    return 0


def _print_crd(_: argparse.Namespace) -> int:
    text = resources.files("sybline_operator.resource").joinpath("crd.yaml").read_text()
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
