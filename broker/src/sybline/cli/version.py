"""`sybline version`: what this is and what it stands on."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Any

_SHOWN = ("grpcio", "protobuf", "pysyncobj")


def add_to(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "version", help="print the version", description="Print the versions in use, on one line."
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print one line."""
    parts = [f"Python {platform.python_version()}", *(f"{n} {_version(n)}" for n in _SHOWN)]
    print(f"sybline {_version('sybline')} ({', '.join(parts)})")
    return 0


def _version(distribution: str) -> str:
    try:
        return version_of(distribution)
    except PackageNotFoundError:
        return "not installed"
