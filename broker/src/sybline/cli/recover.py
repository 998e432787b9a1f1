"""`sybline recover`: going on with one survivor when a majority of the members is gone for good."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # parsing `--help` needs none of it
    from sybline.replication.configuration import Configuration
    from sybline.replication.forced_configuration import Outlook
    from sybline.replication.survey import Survey

WRONG_ARGUMENTS_STATUS: Final = 2

_EXAMPLES: Final = """\
examples:
  sybline recover /data/member-1                        what this survivor has, and what would be lost
  sybline recover /data/member-1 /data/member-4         of several survivors, which one has most
  sybline recover /data/member-1 --make-sole-voter /data/member-1 --i-accept-data-loss TOKEN

Works on data directories of members that do not run, and changes nothing without --make-sole-voter. While a majority
can still be started, start it: nothing is lost then. Read docs/operations/README.md first, and copy the directory.
"""


def add_to(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "recover",
        help="go on with one survivor when a majority is gone for good",
        description="Show what survivors have, and make one of them the only member of a new cluster.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "directories",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="data directories of all survivors (member.data_dir)",
    )
    parser.add_argument(
        "--make-sole-voter",
        type=Path,
        metavar="DIR",
        help="one of them: make its member the only one of a new cluster",
    )
    parser.add_argument(
        "--i-accept-data-loss",
        metavar="TOKEN",
        default="",
        help="printed by the dry run; what it says will be lost is lost",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the survivors or carry out the recovery; return the exit status."""
    chosen: Path | None = arguments.make_sole_voter
    if chosen is not None and chosen not in arguments.directories:
        print(f"sybline: --make-sole-voter: {chosen} is not among the directories", file=sys.stderr)
        return WRONG_ARGUMENTS_STATUS

    from sybline.replication.files import RealFiles
    from sybline.replication.forced_configuration import (
        RecoveryRefused,
        check_choice,
        compare,
        make_sole_voter,
    )
    from sybline.replication.storage_errors import CorruptData, DirectoryInUse
    from sybline.replication.survey import survey

    files = RealFiles()
    try:
        surveys = [survey(files, directory) for directory in arguments.directories]
        outlook = compare(surveys)
        print(_describe(outlook))
        if chosen is not None:
            survivor = surveys[arguments.directories.index(chosen)]
            check_choice(outlook, survivor, arguments.i_accept_data_loss)
            print(_describe_end(survivor, make_sole_voter(files, survivor)))
    except (CorruptData, DirectoryInUse, RecoveryRefused, OSError) as error:
        print(f"sybline: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _describe_end(survivor: "Survey", made: "Configuration") -> str:
    return (
        f"\ndone: member {survivor.member} is the only member of the new cluster {made.cluster_uid:016x} "
        f"(configuration {made.version}).\nStart it, then add new members with empty directories: "
        "sybline members add HOST:PORT.\nAll other old members must be wiped; none of them can join again."
    )


def _describe(outlook: "Outlook") -> str:
    from sybline.replication.forced_configuration import consent_token

    best = outlook.best
    lines = [line for each in outlook.survivors for line in _describe_survivor(each)]
    lines.append(
        f"voters in the latest configuration: {outlook.voters}, the quorum is {outlook.quorum}, "
        f"here: {outlook.voters_here}"
    )
    if outlook.voters_here >= outlook.quorum:
        lines.append("A majority is here, so nothing is lost: start these members, do not recover.")
        return "\n".join(lines)
    lines += [
        f"The longest log is that of member {best.member}: it ends at entry {best.last_index:,} of term "
        f"{best.last_term}.",
        "",
        "If it goes on alone:",
        f"- what the missing members acknowledged after entry {best.last_index:,} is lost: publishes, "
        "acks, everything. Nobody can tell from here whether there is any.",
        f"- entries {best.checkpoint_index + 1:,} to {best.last_index:,} count as done, also those that "
        "were never acknowledged; what comes before was certainly committed."
        if best.checkpoint_index < best.last_index
        else f"- all entries up to {best.last_index:,} were certainly committed, and stay.",
        "- the cluster gets a new number: no other old member can ever join again.",
        "",
        "If the missing members are gone for good, and the directory has been copied:",
        f"  sybline recover {' '.join(str(each.directory) for each in outlook.survivors)} "
        f"--make-sole-voter {best.directory} --i-accept-data-loss {consent_token(best)}",
    ]
    return "\n".join(lines)


def _describe_survivor(each: "Survey") -> list[str]:
    configuration = each.configuration
    members = ", ".join(
        f"{info.id}{f' ({info.name})' if info.name else ''}{'' if info.voter else ' learner'}"
        for info in configuration.members
    )
    own = configuration.get(each.member)
    name = f" ({own.name})" if own is not None and own.name else ""
    return [
        f"{each.directory}: member {each.member}{name} of cluster {each.identity.cluster_id}, "
        f"{each.cluster_uid:016x}",
        f"  term {each.term}; last entry {each.last_index:,} of term {each.last_term}; "
        f"checkpoint at {each.checkpoint_index:,}",
        f"  configuration {configuration.version}: {members or 'nobody'}",
    ]
