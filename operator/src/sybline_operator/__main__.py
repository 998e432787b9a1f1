"""`sybline-operator`: run the operator, or print the resource definition."""

import argparse
import socket
import sys
from importlib import resources

import kopf


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
        "--liveness", metavar="URL", help="serve probes, such as http://0.0.0.0:8080/healthz"
    )
    run.set_defaults(run=_run)
    crd = commands.add_parser("crd", help="print the resource definition", allow_abbrev=False)
    crd.set_defaults(run=_print_crd)
    arguments = parser.parse_args()
    status: int = arguments.run(arguments)
    return status


def _run(arguments: argparse.Namespace) -> int:
    from sybline_operator import handlers

    assert handlers.Looks is not None  # importing it registers the handlers
    kopf.configure(verbose=False, log_format=kopf.LogFormat.JSON)
    kopf.run(
        standalone=True,  # two operators at once do no harm
        # Its default asks for the name of a user that has none.
        identity=socket.gethostname(),  # type: ignore[arg-type]  # a NewType that kopf does not export
        namespaces=arguments.namespace,
        clusterwide=not arguments.namespace,
        liveness_endpoint=arguments.liveness,
    )
    return 0


def _print_crd(_: argparse.Namespace) -> int:
    text = resources.files("sybline_operator.resource").joinpath("crd.yaml").read_text()
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
