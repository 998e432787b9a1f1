"""The arguments that say where settings come from, for all commands that load them."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # parsing `--help` needs none of it
    from sybline.config import Loaded

WRONG_SETTINGS_STATUS = 2


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --config and --set."""
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML file (default: $SYBLINE_CONFIG, or none)"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_parse_override,
        help="set one key, such as listen.grpc_port=2221; wins over environment and file",
    )


def load(arguments: argparse.Namespace) -> "Loaded | None":
    """Return the settings, or None after every problem was printed."""
    from sybline.config import ConfigError, load_settings

    try:
        return load_settings(arguments.config, os.environ, dict(arguments.set))
    except ConfigError as error:
        for problem in error.problems:
            print(f"sybline: {problem}", file=sys.stderr)
        return None


def _parse_override(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!a} is not KEY=VALUE")
    return key, value
