"""Configurations by themselves: what a change makes of one, what is refused, the bytes, and which one counts where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sybline import limits
from sybline.replication import rules
from sybline.replication.change_rules import check_promotion, check_quorum
from sybline.replication.configuration import (
    NO_MEMBERS,
    AddLearner,
    Change,
    ChangeReason,
    ChangeRefused,
    Configuration,
    MemberInfo,
    Promote,
    Remove,
    UnknownConfiguration,
    UpdateAddress,
    changed,
    decode_configuration,
    encode_configuration,
    first_configuration,
    static_configuration,
    with_cluster_uid,
)
from sybline.replication.configurations import Configurations

IDS = st.integers(1, 8)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(AddLearner, IDS, st.just("name"), IDS.map(lambda n: f"host-{n}:1")),
    st.builds(Promote, IDS),
    st.builds(Remove, IDS),
    st.builds(UpdateAddress, IDS, IDS.map(lambda n: f"host-{n}:1")),
)


def reason_of(configuration: Configuration, change: Change) -> ChangeReason:
    with pytest.raises(ChangeRefused) as caught:
        changed(configuration, change)
    return caught.value.reason


def majorities(voters: frozenset[int]) -> list[set[int]]:
    ordered = sorted(voters)
    subsets = (
        {v for at, v in enumerate(ordered) if bits >> at & 1} for bits in range(1 << len(ordered))
    )
    return [each for each in subsets if len(each) >= rules.quorum(len(ordered))]


@given(st.lists(CHANGES, max_size=25))
def test_majorities_before_and_after_any_change_have_a_member_in_common(
    changes: list[Change],
) -> None:
    before = static_configuration((1, 2, 3))
    for change in changes:
        try:
            after = changed(before, change)
        except ChangeRefused:
            continue
        assert after.version == before.version + 1
        assert after.voters
        assert len(set(after.ids)) == len(after.ids)
        addresses = [member.address for member in after.members if member.address]
        assert len(set(addresses)) == len(addresses)
        for one in majorities(before.voters):
            assert all(one & other for other in majorities(after.voters))
        before = after


def test_each_change_does_what_it_says() -> None:
    first = first_configuration(MemberInfo(m, f"m{m}", f"h{m}:1", voter=True) for m in (2, 1))
    assert (first.version, first.ids, first.voters) == (0, (1, 2), {1, 2})
    grown = changed(first, AddLearner(70_000, "new", "h9:1"))
    assert (grown.version, grown.ids, grown.learners) == (1, (1, 2, 70_000), {70_000})
    promoted = changed(grown, Promote(70_000))
    assert (promoted.voters, promoted.learners) == ({1, 2, 70_000}, frozenset())
    moved = changed(promoted, UpdateAddress(1, "elsewhere:2"))
    assert moved.get(1) == MemberInfo(1, "m1", "elsewhere:2", voter=True)
    shrunk = changed(moved, Remove(1))
    assert (shrunk.ids, shrunk.get(1)) == ((2, 70_000), None)
    assert with_cluster_uid(shrunk, 5) == Configuration(5, 5, shrunk.members)


def test_what_makes_no_sense_is_refused() -> None:
    configuration = changed(static_configuration((1, 2)), AddLearner(3, "", "h3:1"))
    assert reason_of(configuration, AddLearner(3, "", "x:1")) is ChangeReason.ALREADY_MEMBER
    assert reason_of(configuration, AddLearner(4, "", "h3:1")) is ChangeReason.ADDRESS_TAKEN
    assert reason_of(configuration, UpdateAddress(1, "h3:1")) is ChangeReason.ADDRESS_TAKEN
    assert reason_of(configuration, Promote(1)) is ChangeReason.ALREADY_MEMBER
    for change in (Promote(9), Remove(9), UpdateAddress(9, "x:1")):
        assert reason_of(configuration, change) is ChangeReason.UNKNOWN_MEMBER
    alone = changed(configuration, Remove(2))
    assert reason_of(alone, Remove(1)) is ChangeReason.LAST_VOTER
    full = static_configuration(range(1, limits.MEMBERS_MAX + 1))
    assert reason_of(full, AddLearner(99, "", "x:1")) is ChangeReason.LIMIT


def test_a_promotion_needs_a_learner_that_is_heard_and_lacks_little() -> None:
    most = limits.CAUGHT_UP_LAG_ENTRIES_MAX
    check_promotion(4, lag_entries=most, heard_age_s=1.0, heard_s=1.0)
    for lag, age_s in ((most + 1, 0.0), (0, 1.1), (0, float("inf"))):
        with pytest.raises(ChangeRefused) as caught:
            check_promotion(4, lag_entries=lag, heard_age_s=age_s, heard_s=1.0)
        assert caught.value.reason is ChangeReason.NOT_CAUGHT_UP


def test_a_change_leaves_a_quorum_of_fit_voters() -> None:
    after = static_configuration((1, 2, 3))
    check_quorum(after, {1, 3, 9})
    with pytest.raises(ChangeRefused, match="1 of the 3 voters") as caught:
        check_quorum(after, {1, 9})
    assert caught.value.reason is ChangeReason.WOULD_BREAK_QUORUM


def test_a_configuration_comes_back_from_its_bytes_and_others_are_refused() -> None:
    configuration = changed(static_configuration((1, 2)), AddLearner(3, "näme", "[::1]:1"))
    assert decode_configuration(encode_configuration(configuration)) == configuration
    assert decode_configuration(encode_configuration(NO_MEMBERS)) == NO_MEMBERS
    for wrong in (b"", b"\x92\x02\x93\x00\x00\x90", b"\x92\x01\x93\x00\x00", b"\x90", b"\xc0"):
        with pytest.raises(UnknownConfiguration):
            decode_configuration(wrong)


def test_the_latest_configuration_counts_and_a_cut_restores_the_one_before() -> None:
    zero, one, two, three = (static_configuration(range(1, n)) for n in (2, 3, 4, 5))
    known = Configurations(zero)
    assert (known.current, known.index) == (zero, 0)
    known.append(4, one)
    known.append(9, two)
    assert (known.current, known.index) == (two, 9)
    assert [known.at(index) for index in (0, 3, 4, 8, 9, 99)] == [zero, zero, one, one, two, two]
    known.truncate_from(10)
    assert known.current == two
    known.truncate_from(9)
    assert (known.current, known.index) == (one, 4)
    known.append(6, three)
    known.drop_before(5)  # a checkpoint there
    assert (known.current, known.at(5), known.index) == (three, one, 6)
    known.truncate_from(1)
    assert (known.current, known.index) == (one, 4), "what the checkpoint holds is never cut"
