"""`sybline config check`: everything that `serve` would refuse or warn of, without starting anything."""

import argparse
import sys
from typing import Any

from sybline.cli.settings_arguments import WRONG_SETTINGS_STATUS, add_settings_arguments, load

_EXAMPLES = """\
examples:
  sybline config check --config member-1.yaml
  SERVER_PORT=2221 RAFT_NODE_ID=1 sybline config check

Exit status 0: `sybline serve` would start with these settings, which are printed without secrets.
Exit status 2: it would not; each problem is one line on standard error.
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser's."""
    config = commands.add_parser("config", help="work with settings", allow_abbrev=False)
    actions = config.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = actions.add_parser(
        "check",
        help="validate settings and print what applies",
        description="Validate file, environment and --set as a whole, and print what applies.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the settings in force and where each comes from, or what is wrong."""
    loaded = load(arguments)
    if loaded is None:
        return WRONG_SETTINGS_STATUS
    from sybline.config.settings import KEYS, show_setting, value_of

    for warning in loaded.warnings:
        print(f"sybline: warning: {warning}", file=sys.stderr)
    rows = [
        (path, show_setting(value_of(loaded.settings, path)), loaded.names.get(path, "default"))
        for path in KEYS
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for path, value, name in rows:
        print(f"{path:<{widths[0]}} = {value:<{widths[1]}}  # {name}")
    return 0
