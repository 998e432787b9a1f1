"""Members that come and go, with real journals and sockets in one loop: growing, shrinking, lost disks, strangers."""

import asyncio
import math
import shutil
from pathlib import Path

import pytest

from sybline import limits
from sybline.errors import NoLeader, Unreachable
from sybline.replication import transport as transport_module
from sybline.replication.configuration import (
    AddLearner,
    ChangeReason,
    ChangeRefused,
    Promote,
    Remove,
    UpdateAddress,
)
from tests.support.members import CALM, DEADLINE_S, Group, Root, messages, number_of, running
from tests.support.ports import free_port
from tests.support.waiting import wait_for


async def refused(call: "asyncio.Future[object] | object", reason: ChangeReason) -> None:
    with pytest.raises(ChangeRefused) as caught:
        await call
    assert caught.value.reason is reason, caught.value.text


async def test_a_cluster_grows_from_one_to_five_and_back_and_loses_nothing(tmp_path: Path) -> None:
    async with running(Group(tmp_path, size=1)) as group:
        root = await Root.create(await group.leader())
        places, published = [1], 0

        async def publish() -> None:
            nonlocal published
            await root.publish(await group.leader())
            published += 1

        for _ in range(4):
            place = group.add_place()
            await group.start(place)
            places.append(place)
            await group.grow(place)
            await publish()
        configuration = await group.formed()
        assert len(configuration.voters) == 5
        drawn = configuration.ids[1:]
        assert all(limits.DRAWN_MEMBER_ID_MIN <= m < limits.DRAWN_MEMBER_ID_END for m in drawn)
        await group.equal_states()
        for place in places[:4]:  # the one it began with first; whoever leads hands over
            gone = group.running[place]
            await group.change(Remove(number_of(gone)))
            await wait_for(
                lambda m=gone: m.status().removed, what="it was told", deadline_s=DEADLINE_S
            )
            assert not gone.status().ready
            await group.stop(place)
            await publish()
        last = group.running[places[4]]
        assert last.membership().configuration.ids == (number_of(last),)
        assert messages(last) == published == 8
        await group.stop()
        await group.start(places[4])  # the only one left still is who it was
        await publish()


async def test_the_view_is_the_leaders_on_every_member(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        formed = await group.formed()
        assert formed.voters == {1, 2, 3}
        assert [info.name for info in formed.members].count(f"member-{number_of(leader)}") == 1
        for member in group.running.values():
            view = await member.ask_leader_membership(deadline_s=DEADLINE_S)
            assert (view.member, view.leader) == (number_of(leader), number_of(leader))
            assert view.configuration == formed
            assert view.view_age_s < DEADLINE_S
            assert [each.info for each in view.members] == list(formed.members)
            others = [each for each in view.members if each.info.id != number_of(leader)]
            assert all(each.connected and each.heard_age_s < DEADLINE_S for each in others)
            assert all(each.match_index and each.lag_entries <= 1 for each in others)
        follower = (await group.followers())[0]
        own = follower.membership()
        assert (own.member, own.configuration) == (number_of(follower), formed)
        assert {e.heard_age_s for e in own.members if e.info.id != own.member} == {math.inf}


async def test_leadership_moves_from_any_member_to_the_one_that_is_wanted(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        for _ in range(2):
            leader = await group.leader()
            asked, target = await group.followers()
            assert await asked.transfer_leadership(deadline_s=DEADLINE_S, target=number_of(target))
            assert number_of(await group.leader()) == number_of(target)
        leader = await group.leader()
        assert await leader.transfer_leadership(deadline_s=DEADLINE_S, target=number_of(leader))
        assert await (await group.followers())[0].transfer_leadership(deadline_s=DEADLINE_S)
        assert await group.leader() is not leader


async def test_what_makes_no_sense_or_would_stop_the_cluster_is_refused(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        formed = await group.formed()
        first, second = await group.followers()
        version = formed.version

        async def change(what: object, at: int = version, *, force: bool = False) -> object:
            return await first.change_members(
                what,
                expected_version=at,
                force=force,
                deadline_s=DEADLINE_S,
            )

        await refused(change(Promote(99)), ChangeReason.UNKNOWN_MEMBER)
        await refused(change(Remove(99)), ChangeReason.UNKNOWN_MEMBER)
        await refused(change(Promote(1)), ChangeReason.ALREADY_MEMBER)
        await refused(change(AddLearner(1, "", "h:1")), ChangeReason.ALREADY_MEMBER)
        await refused(change(Remove(2), version + 1), ChangeReason.VERSION)
        taken = formed.members[0].address
        await refused(change(UpdateAddress(2, taken)), ChangeReason.ADDRESS_TAKEN)
        await refused(change(AddLearner(70_000, "", taken)), ChangeReason.ADDRESS_TAKEN)
        silent = await change(AddLearner(70_000, "never there", "127.0.0.1:1"))
        version = silent.version
        await refused(change(Promote(70_000), version), ChangeReason.NOT_CAUGHT_UP)
        leader = await group.leader()  # another one, perhaps, than when the cluster formed
        first, second = await group.followers()
        gone = number_of(second)
        place = next(p for p, m in group.running.items() if m is second)
        await group.stop(place)
        healthy = Remove(number_of(first))
        await wait_for(
            lambda: not next(p for p in leader.status().peers if p.member == gone).connected,
            what="the leader misses it", deadline_s=DEADLINE_S,
        )  # fmt: skip
        await refused(change(healthy, version), ChangeReason.WOULD_BREAK_QUORUM)
        after = await change(Remove(gone), version)  # the one that is down may go
        assert after.voters == {number_of(leader), number_of(first)}


async def test_the_last_voter_stays(tmp_path: Path) -> None:
    async with running(Group(tmp_path, size=1)) as group:
        await group.formed()
        await refused(group.change(Remove(1)), ChangeReason.LAST_VOTER)
        await refused(group.change(Remove(1), force=True), ChangeReason.LAST_VOTER)


async def test_without_a_leader_nothing_is_changed(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        formed = await group.formed()
        await group.stop(1, 2)
        change = group.running[3].change_members(
            Remove(1), expected_version=formed.version, deadline_s=1.5
        )
        with pytest.raises(NoLeader):
            await change


async def test_who_waits_to_be_added_does_nothing_by_itself(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        place = group.add_place()
        await group.start(place)
        joiner = group.running[place]
        assert not await joiner.wait_for_leader(deadline_s=1.0)
        view = joiner.membership()
        assert (view.configuration.ids, view.term, view.removed) == ((), 0, False)
        assert not joiner.status().is_voter
        number = number_of(joiner)
        await group.stop(place)
        await group.start(place)
        assert number_of(group.running[place]) == number, "the number is the disk's"
        member = await group.add_learner(place)
        assert member == number
        await group.leader()
        assert await group.running[place].wait_for_leader(deadline_s=DEADLINE_S)
        assert leader.membership().configuration.learners == {number}


# --- lost disks and strangers ---
async def test_a_first_member_that_lost_its_disk_never_votes_as_who_it_was(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        root = await Root.create(await group.leader())
        await group.formed()
        await group.equal_states()
        lost = (await group.followers())[0]
        place = number_of(lost)
        term = (await group.leader()).status().term
        await group.stop(place)
        shutil.rmtree(group.data_dir(place))
        await group.start(place)  # with the settings it had: it would begin a cluster
        await wait_for(lambda: group.deaths[place], what="it ends", deadline_s=DEADLINE_S)
        assert "known" not in group.deaths[place][0]
        assert "is empty, but member" in group.deaths[place][0]
        await group.stop(place)
        leader = await group.leader()
        assert leader.status().term == term
        # Nor does it as long as only a member is there that knows no better.
        await group.change(Remove(place))
        shutil.rmtree(group.data_dir(place))
        await group.start(place, bootstrap=False)
        member = await group.grow(place)
        assert member >= limits.DRAWN_MEMBER_ID_MIN
        await root.publish(group.running[place])
        await group.equal_states()
        assert len((await group.formed()).voters) == 3


async def test_first_members_with_empty_disks_wait_for_the_others(tmp_path: Path) -> None:
    async with running(Group(tmp_path), 1, 2) as group:
        one = group.running[1]
        assert not await one.wait_for_leader(deadline_s=1.5)
        assert one.status().term == 0
        await group.start(3)
        assert await group.leader()


async def test_two_clusters_of_one_name_refuse_each_other(tmp_path: Path) -> None:
    async with (
        running(Group(tmp_path / "a", timing=CALM)) as ours,
        running(Group(tmp_path / "b")) as theirs,
    ):
        await ours.formed()
        await theirs.formed()
        await ours.stop(3)
        await theirs.stop(3)
        shutil.rmtree(ours.data_dir(3))
        shutil.move(theirs.data_dir(3), ours.data_dir(3))
        await ours.leader()  # the third may have led
        terms = {m.status().term for m in ours.running.values()}
        stranger = ours.build(3)  # theirs, where the third of ours should be
        await stranger.start()
        try:
            await wait_for(
                lambda: stranger.counters.handshakes_refused > 2,
                what="refused", deadline_s=DEADLINE_S,
            )  # fmt: skip
            assert not await stranger.wait_for_leader(deadline_s=0.5)
            assert {m.status().term for m in ours.running.values()} == terms
        finally:
            await stranger.stop()


async def test_somebody_at_an_address_is_asked_who_it_is(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        formed = await group.formed()
        one = group.running[1]
        found = await one.identify(group.address(2), deadline_s=DEADLINE_S)
        assert (found.id, found.name, found.cluster_uid) == (2, "member-2", formed.cluster_uid)
        with pytest.raises(Unreachable):
            await one.identify(f"127.0.0.1:{free_port()}", deadline_s=DEADLINE_S)
        with pytest.raises(Unreachable):
            await one.identify("nonsense", deadline_s=DEADLINE_S)
        async with running(Group(tmp_path / "other", size=1)) as other:
            stranger = other.build(1, cluster="another")
            other.ports[1] = free_port()
            stranger = other.build(1, cluster="another")
            await stranger.start()
            with pytest.raises(Unreachable, match="another cluster id"):
                await one.identify(other.address(1), deadline_s=DEADLINE_S)
            await stranger.stop()


# --- addresses ---
async def test_a_member_may_move_to_another_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "STAND_IN_S", 0.3)
    async with running(Group(tmp_path)) as group:
        root = await Root.create(await group.leader())
        await group.formed()
        await group.stop(3)
        group.ports[3] = free_port()
        await group.start(3)  # nobody knows where it is, so it dials
        await group.leader()
        await group.change(UpdateAddress(3, group.address(3)))
        assert (await group.formed()).members[2].address == group.address(3)
        for place in (1, 2):
            await group.stop(place)
            await group.start(place)
            await group.leader()
        await root.publish(group.running[3])
        await group.equal_states()


async def test_a_member_that_missed_every_change_finds_those_who_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "STAND_IN_S", 0.3)
    async with running(Group(tmp_path)) as group:
        root = await Root.create(await group.leader())
        await group.formed()
        await group.stop(3)
        places = [group.add_place(), group.add_place()]
        for place in places:
            await group.start(place)
            await group.grow(place)
        for place in (1, 2):
            gone = group.running[place]
            await group.change(Remove(number_of(gone)))
            await group.stop(place)
        await root.publish(await group.leader())
        await group.start(3)
        await group.leader()
        await group.equal_states()
        assert messages(group.running[3]) == 1


async def test_a_member_removed_while_it_was_away_learns_it_when_it_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "STAND_IN_S", 0.3)
    async with running(Group(tmp_path)) as group:
        await group.formed()
        await group.stop(3)
        await group.change(Remove(3))
        term = (await group.leader()).status().term
        await group.start(3)
        gone = group.running[3]
        await wait_for(lambda: gone.status().removed, what="it is told", deadline_s=DEADLINE_S)
        assert not gone.status().ready
        assert (await group.leader()).status().term == term
