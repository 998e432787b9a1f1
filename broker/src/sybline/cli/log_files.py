"""`sybline log inspect` and `sybline log verify`: the data directory of a member that does not run."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sybline.replication.inspection import DirectoryFacts

_EXAMPLES = """\
examples:
  sybline log inspect node_data           what the member has promised, and which entries are where
  sybline log verify node_data            read everything; each finding is one line on standard output

Stop the member first, or look at a copy of its directory. Nothing is ever changed.
Exit status 0: all is well. 1: something is damaged, or could not be read.
"""


def add_to(commands: Any) -> None:
    """Add the commands to the parser's."""
    log = commands.add_parser(
        "log", help="look at stored data", epilog=_EXAMPLES, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = log.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, run, help_text in (
        ("inspect", run_inspect, "show what a data directory holds"),
        ("verify", run_verify, "read every record and checksum"),
    ):
        parser = actions.add_parser(
            name, help=help_text, epilog=_EXAMPLES, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        parser.add_argument("directory", type=Path, metavar="DIR", help="data directory")
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        parser.set_defaults(run=run)


def run_inspect(arguments: argparse.Namespace) -> int:
    """Print what a data directory holds."""
    return _guarded(lambda: _inspect(arguments.directory, as_json=arguments.json))


def run_verify(arguments: argparse.Namespace) -> int:
    """Print all that is wrong with a data directory."""
    return _guarded(lambda: _verify(arguments.directory, as_json=arguments.json))


def _guarded(work: Callable[[], int]) -> int:
    from sybline.replication.storage_errors import CorruptData, DirectoryInUse

    try:
        return work()
    except DirectoryInUse as error:
        print(f"sybline: {error}: stop the member, or look at a copy", file=sys.stderr)
    except (CorruptData, OSError) as error:
        print(f"sybline: {' '.join(str(error).split())}", file=sys.stderr)
    return 1


def _inspect(directory: Path, *, as_json: bool) -> int:
    import msgspec

    from sybline.replication.files import RealFiles
    from sybline.replication.inspection import inspect

    facts = inspect(RealFiles(), directory)
    print(msgspec.json.encode(facts).decode() if as_json else "\n".join(_lines(facts)))
    return 0


def _verify(directory: Path, *, as_json: bool) -> int:
    import msgspec

    from sybline.replication.files import RealFiles
    from sybline.replication.inspection import verify

    found = verify(RealFiles(), directory)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        for each in found:
            print(f"{each.path} at byte {each.offset}: {each.reason}. {each.advice}")
        print(f"{len(found)} findings" if found else "all sound")
    return 1 if found else 0


def _lines(facts: "DirectoryFacts") -> list[str]:
    vote = f"for member {facts.voted_for}" if facts.voted_for else "for nobody"
    lines = [
        f"member      {facts.member} of cluster {facts.cluster}, uid {facts.cluster_uid}",
        f"term        {facts.term}, voted {vote}",
        f"log         entries {facts.first_index} to {facts.last_index}, last of term {facts.last_term}",
        f"generation  {facts.generation}",
    ]
    if facts.checkpoint_index:
        lines.append(
            f"checkpoint  index {facts.checkpoint_index}, term {facts.checkpoint_term}, "
            f"{facts.checkpoint_bytes:,} bytes"
        )
    else:
        lines.append("checkpoint  none")
    lines += [
        f"  member    {m.id} {m.name} {m.address or '-'} {'voter' if m.voter else 'learner'}"
        for m in facts.checkpoint_members
    ]
    lines.append(
        f"{'file':<40} {'kind':<5} {'entries':>10} {'first':>14} {'last':>14} {'bytes':>14}"
    )
    lines += [
        f"{f.name:<40} {f.kind:<5} {f.entries:>10} {f.first_index:>14} {f.last_index:>14} {f.bytes:>14,}"
        for f in facts.files
    ]
    return lines
