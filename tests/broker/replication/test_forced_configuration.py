"""Recovery without a majority: what survivors say, who goes on, what stands in the way, and crashes in between."""

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from sybline.replication.configuration import (
    Configuration,
    encode_configuration,
    static_configuration,
    with_cluster_uid,
    with_learner,
    without,
)
from sybline.replication.forced_configuration import (
    RecoveryRefused,
    check_choice,
    compare,
    consent_token,
    make_sole_voter,
)
from sybline.replication.identity import Identity
from sybline.replication.journal import (
    COMMAND,
    CONFIGURATION,
    DirectoryInUse,
    Entry,
    Journal,
    JournalOptions,
)
from sybline.replication.storage_errors import CorruptData
from sybline.replication.survey import Survey, survey
from tests.simulation.disk import Crashed, SimulatedDisk

CLUSTER = "shop"
UID = 0xC0FFEE
OPTIONS = JournalOptions(segment_bytes=4096)
FIRST = static_configuration((1, 2, 3))
FORMED = with_cluster_uid(FIRST, UID)


@dataclass
class Disk:
    """A disk with the directories of some members."""

    files: SimulatedDisk

    def journal(self, member: int, *, cluster: str = CLUSTER) -> Journal:
        return Journal.open(
            directory(member), cluster_id=cluster, member=member, first=FIRST,
            files=self.files, options=OPTIONS,
        )  # fmt: skip

    def member(
        self, member: int, *, term: int = 3, entries: int = 5, cluster: str = CLUSTER,
        uid: int = UID, configuration: Configuration = FORMED,
    ) -> Survey:  # fmt: skip
        """Store a log of commands behind a configuration, and survey it."""
        journal = self.journal(member, cluster=cluster)
        journal.set_vote(term, None)
        journal.append([Entry(1, 1, CONFIGURATION, encode_configuration(configuration))])
        journal.append([Entry(n, term, COMMAND, b"%d" % n) for n in range(2, entries + 1)])
        journal.sync()
        if uid:
            journal.set_cluster_uid(uid)
        journal.close()
        return self.survey(member)

    def survey(self, member: int) -> Survey:
        return survey(self.files, directory(member))

    def recover(self, survivor: Survey) -> Configuration:
        return make_sole_voter(self.files, survivor, options=OPTIONS)


def directory(member: int) -> Path:
    return Path(f"/data/{member}")


@pytest.fixture
def disk() -> Disk:
    return Disk(SimulatedDisk(random.Random(7)))


# --- what a directory says ---
def test_a_survey_tells_term_log_cluster_and_configuration(disk: Disk) -> None:
    found = disk.member(2, term=4, entries=9)
    assert found == Survey(
        directory(2), Identity(CLUSTER, 2), UID, term=4, last_index=9, last_term=4,
        checkpoint_index=0, configuration=FORMED,
    )  # fmt: skip


def test_a_survey_of_a_member_that_never_worked_has_its_first_configuration(disk: Disk) -> None:
    disk.journal(1).close()
    found = disk.survey(1)
    assert (found.term, found.position, found.cluster_uid) == (0, (0, 0), 0)
    assert found.configuration == FIRST


def test_the_latest_configuration_in_the_log_counts(disk: Disk) -> None:
    disk.member(1)
    journal = disk.journal(1)
    later = with_learner(FORMED, 1 << 20, "new", "new:1111")
    journal.append([Entry(6, 3, CONFIGURATION, encode_configuration(later))])
    journal.append([Entry(7, 3, COMMAND, b"7")])
    journal.sync()
    journal.close()
    assert disk.survey(1).configuration == later


def test_a_survey_writes_nothing(disk: Disk) -> None:
    disk.member(1)
    steps = disk.files.steps
    disk.survey(1)
    assert disk.files.steps == steps


def test_a_member_that_runs_is_not_surveyed(disk: Disk) -> None:
    journal = disk.journal(1)
    with pytest.raises(DirectoryInUse):
        disk.survey(1)
    journal.close()
    disk.survey(1)


def test_a_directory_that_no_member_used_is_refused(disk: Disk) -> None:
    disk.files.make_directory(directory(1))
    with pytest.raises(CorruptData, match="no member has used this directory"):
        disk.survey(1)
    assert disk.files.names(directory(1)) == []


def test_a_damaged_directory_is_refused(disk: Disk) -> None:
    disk.member(1)
    path = directory(1) / "group-0" / "VOTE"
    disk.files.poke(path, bytes(len(disk.files.peek(path))))
    with pytest.raises(CorruptData, match="both slots of term and vote are damaged"):
        disk.survey(1)


# --- who goes on ---
def test_the_later_term_counts_before_the_longer_log(disk: Disk) -> None:
    short, long = disk.member(1, term=5, entries=4), disk.member(2, term=4, entries=90)
    assert compare([long, short]).best == short
    longer = disk.member(3, term=5, entries=6)
    assert compare([short, longer, long]).best == longer


def test_survivors_are_counted_among_the_voters_of_the_best(disk: Disk) -> None:
    grown = Configuration(9, UID, (*FORMED.members, *static_configuration((4, 5)).members))
    learner = with_learner(grown, 6, "", "")
    survivors = [disk.member(1, configuration=learner), disk.member(6, configuration=learner)]
    outlook = compare(survivors)
    assert (outlook.voters, outlook.quorum, outlook.voters_here) == (5, 3, 1)


@pytest.mark.parametrize("other", [{"cluster": "bakery"}, {"uid": UID + 1}])
def test_survivors_of_two_clusters_are_not_compared(disk: Disk, other: dict[str, int]) -> None:
    survivors = [disk.member(1), disk.member(2, **other)]
    with pytest.raises(RecoveryRefused, match="different clusters"):
        compare(survivors)


def test_a_survivor_that_had_not_heard_of_the_clusters_number_yet_is_one_of_it(disk: Disk) -> None:
    compare([disk.member(1), disk.member(2, uid=0)])


def test_a_copy_of_a_survivor_is_noticed(disk: Disk) -> None:
    found = disk.member(1)
    with pytest.raises(RecoveryRefused, match="must be a copy"):
        compare([found, found])


# --- what stands in the way ---
def test_nothing_is_forced_while_a_majority_is_there(disk: Disk) -> None:
    survivors = [disk.member(1), disk.member(2)]
    with pytest.raises(RecoveryRefused, match="2 of 3 voters are here, a majority"):
        check_choice(compare(survivors), survivors[0], consent_token(survivors[0]))


def test_who_has_less_does_not_go_on(disk: Disk) -> None:
    five = static_configuration(range(1, 6))
    less = disk.member(1, entries=5, configuration=five)
    more = disk.member(2, entries=6, configuration=five)
    with pytest.raises(RecoveryRefused, match="member 2 has a longer log: go on with /data/2"):
        check_choice(compare([less, more]), less, consent_token(less))
    check_choice(compare([less, more]), more, consent_token(more))


def test_a_removed_member_does_not_go_on(disk: Disk) -> None:
    found = disk.member(3, configuration=without(FORMED, 3))
    with pytest.raises(RecoveryRefused, match="member 3 was removed from its cluster"):
        check_choice(compare([found]), found, consent_token(found))


def test_the_token_of_a_dry_run_holds_until_the_directory_changes(disk: Disk) -> None:
    found = disk.member(1)
    token = consent_token(found)
    check_choice(compare([found]), found, token)
    assert consent_token(disk.survey(1)) == token
    journal = disk.journal(1)
    journal.set_vote(4, 1)
    journal.close()
    changed = disk.survey(1)
    for wrong in (token, "", token[:-1]):
        with pytest.raises(RecoveryRefused, match="the token does not fit"):
            check_choice(compare([changed]), changed, wrong)
    with pytest.raises(RecoveryRefused, match="has changed meanwhile"):
        disk.recover(found)


# --- going on ---
def test_the_survivor_is_the_only_voter_of_a_new_cluster_with_all_it_had(disk: Disk) -> None:
    before = disk.member(2, entries=40)
    made = disk.recover(before)
    after = disk.survey(2)
    assert after.configuration == made
    assert (made.version, made.ids, made.voters) == (FORMED.version + 1, (2,), {2})
    assert made.cluster_uid == after.cluster_uid != UID
    assert (after.term, after.position) == (before.term + 1, (before.term + 1, 41))
    check_content(disk, 2, 40)


def test_a_learner_that_is_all_that_is_left_becomes_the_voter(disk: Disk) -> None:
    found = disk.member(9, configuration=with_learner(FORMED, 9, "nine", "nine:1111"))
    made = disk.recover(found)
    assert (made.voters, made.members[0].name) == ({9}, "nine")


def test_each_recovery_begins_another_cluster(disk: Disk) -> None:
    first = disk.recover(disk.member(1))
    second = disk.recover(disk.survey(1))
    assert len({0, UID, first.cluster_uid, second.cluster_uid}) == 4


@pytest.mark.parametrize("power", [False, True], ids=["process crash", "power loss"])
def test_a_crash_at_any_file_operation_leaves_the_old_member_or_one_to_recover_again(
    power: bool,
) -> None:
    seen = set()
    for crash_at in range(1, 200):
        disk = Disk(SimulatedDisk(random.Random(crash_at)))
        before = disk.member(1, entries=20)
        disk.files.crash_at = disk.files.steps + crash_at
        try:
            disk.recover(before)
        except Crashed:
            pass
        else:
            break
        disk.files.crash(power=power)
        disk.files.crash_at = None
        left = disk.survey(1)
        is_renumbered = left.cluster_uid != UID
        is_alone = left.configuration.ids == (1,)
        assert is_renumbered or not is_alone, "never alone and still known to the old members"
        assert (left.last_index, left.configuration) == (20, FORMED) or is_alone
        seen.add((is_renumbered, is_alone))
        disk.recover(left)
        check_content(disk, 1, 20)
        assert disk.survey(1).configuration.ids == (1,)
    assert seen >= {(False, False), (True, False)}, "crashes met every stage"


def check_content(disk: Disk, member: int, entries: int) -> None:
    journal = disk.journal(member)
    kept = journal.slice(2, entries, 1 << 20)
    journal.close()
    assert [entry.payload for entry in kept] == [b"%d" % n for n in range(2, entries + 1)]
