"""Recovery when a majority is gone for good: which survivor has most, what is lost, and how it goes on alone.

This is the one way around the rule that a majority decides, so it is offline, names what it costs, and asks for a token
that only somebody has who saw that. The survivor becomes the first member of a *new* cluster: members of the old
one, whatever they still hold, are strangers to it for ever and can never bring back what it forgot.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import structs

from sybline.replication import rules
from sybline.replication.configuration import (
    Configuration,
    MemberInfo,
    encode_configuration,
)
from sybline.replication.files import Files
from sybline.replication.journal import CONFIGURATION, Entry, Journal, JournalOptions
from sybline.replication.survey import Survey, survey

TOKEN_CHARACTERS = 16


class RecoveryRefused(Exception):
    """Going on with one survivor would be wrong, or nobody knows what it costs; the text says why."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the survivors add up to."""

    survivors: tuple[Survey, ...]
    best: Survey  # the one with most of what was committed
    voters: int  # in the latest configuration of the best
    voters_here: int  # of these, how many are among the survivors

    @property
    def quorum(self) -> int:
        """Return how many voters could decide."""
        return rules.quorum(self.voters)


def compare(survivors: Sequence[Survey]) -> Outlook:
    """Return what can be done with these directories.

    Raises:
        RecoveryRefused: they are not of one cluster, or one is given twice.
    """
    members = [each.member for each in survivors]
    if len(set(members)) < len(members):
        raise RecoveryRefused("two directories belong to the same member; one must be a copy")
    numbers = {each.cluster_uid or each.configuration.cluster_uid for each in survivors}
    if len({each.identity.cluster_hash for each in survivors}) > 1 or len(numbers - {0}) > 1:
        raise RecoveryRefused("the directories belong to different clusters")
    best = max(survivors, key=lambda each: each.position)
    voters = best.configuration.voters
    return Outlook(tuple(survivors), best, len(voters), len(voters.intersection(members)))


def consent_token(survivor: Survey) -> str:
    """Return what must be given to go on with a survivor: it fits this state of its directory and no other."""
    facts = (
        survivor.identity, survivor.cluster_uid, survivor.term, survivor.position,
        survivor.configuration,
    )  # fmt: skip
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:TOKEN_CHARACTERS]


def check_choice(outlook: Outlook, chosen: Survey, token: str) -> None:
    """Refuse to go on with a survivor unless it is the right one and its cost was seen.

    Raises:
        RecoveryRefused: it is not.
    """
    if outlook.voters_here >= outlook.quorum:
        raise RecoveryRefused(
            f"{outlook.voters_here} of {outlook.voters} voters are here, a majority: nothing is lost, "
            "start them"
        )
    if chosen.position < outlook.best.position:
        raise RecoveryRefused(
            f"member {outlook.best.member} has a longer log: go on with {outlook.best.directory}"
        )
    _entry_of(chosen)
    if token != consent_token(chosen):  # no secret: it only shows that the dry run was read
        raise RecoveryRefused(
            "the token does not fit: it is printed by the dry run and holds until the directory changes"
        )


def make_sole_voter(
    files: Files, chosen: Survey, *, options: JournalOptions | None = None
) -> Configuration:
    """Make the member of a directory the only one of a new cluster, durably, and return its configuration.

    Killed in between, the directory has the new cluster but not yet the configuration: nobody elects with it, and the
    dry run gives another token for it.

    Raises:
        RecoveryRefused: the directory has changed since it was surveyed.
        DirectoryInUse, CorruptData, OSError: as `survey`.
    """
    if survey(files, chosen.directory) != chosen:
        raise RecoveryRefused(f"{chosen.directory} has changed meanwhile")
    identity = chosen.identity
    journal = Journal.open(
        chosen.directory, cluster_id=identity.cluster_id, member=identity.member,
        files=files, options=options,
    )  # fmt: skip
    with contextlib.closing(journal):
        uid = files.random32() << 31 | files.random32() | 1  # never 0
        journal.begin_another_cluster(uid)
        version = chosen.configuration.version + 1
        alone = structs.replace(_entry_of(chosen), voter=True)
        configuration = Configuration(version, uid, (alone,))
        index = journal.last + 1
        payload = encode_configuration(configuration)
        journal.append([Entry(index, journal.current_term, CONFIGURATION, payload)])
        journal.sync()
    return configuration


def _entry_of(survivor: Survey) -> MemberInfo:
    info = survivor.configuration.get(survivor.member)
    if info is None:
        raise RecoveryRefused(f"member {survivor.member} was removed from its cluster")
    return info
