"""Members that go away, come back, fall behind or have to end: nothing is lost and only who must ends."""

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from sybline import limits
from sybline.errors import FailStop, OutcomeUnknown, Overloaded, SyblineError
from sybline.replication.codec import decode_command
from sybline.replication.member import Member
from sybline.replication.node import CheckpointDistance
from sybline.replication.pressure import Resource, Shortage
from sybline.replication.segment import with_allocation
from sybline.replication.storage_errors import CorruptData, DirectoryInUse
from sybline.state_machine.commands import BootstrapAdmin
from sybline.state_machine.replies import Done, Enqueued
from tests.support.members import (
    CALM,
    DEADLINE_S,
    Durations,
    Group,
    Root,
    engine_of,
    messages,
    number_of,
    outcome,
    propose,
    running,
    until,
)
from tests.support.replicas import PASSWORD

ADMIN = BootstrapAdmin("root", PASSWORD)


# --- failures of members ---
async def test_commands_in_flight_survive_the_loss_of_the_leader_and_are_applied_once(
    tmp_path: Path,
) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        await group.equal_states()
        enough = asyncio.Event()
        stored: list[int] = []

        async def publisher(member: Member, errors: list[SyblineError]) -> None:
            for _ in range(60):
                try:
                    stored.append(await root.publish(member))
                except SyblineError as error:
                    errors.append(error)
                if len(stored) > 300:
                    enough.set()

        survivors, lost = await group.followers(), leader
        survivors_errors: list[SyblineError] = []
        lost_errors: list[SyblineError] = []
        calls = [
            asyncio.create_task(publisher(member, survivors_errors))
            for member in survivors
            for _ in range(10)
        ]
        calls += [asyncio.create_task(publisher(lost, lost_errors)) for _ in range(10)]
        await enough.wait()
        await group.stop(number_of(lost))
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*calls)
        await group.equal_states()
        unknown = sum(isinstance(error, OutcomeUnknown) for error in lost_errors)
        assert survivors_errors == []
        assert lost_errors
        assert len(set(stored)) == len(stored) >= 1_200
        for member in survivors:
            assert len(stored) <= messages(member) <= len(stored) + unknown


async def test_a_lost_leader_is_replaced_before_its_time_out(tmp_path: Path) -> None:
    async with running(Group(tmp_path, timing=CALM)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        follower = (await group.followers())[0]
        await root.publish(follower)
        await group.stop(number_of(leader))
        loop = asyncio.get_running_loop()
        lost_s = loop.time()
        await root.publish(follower)
        assert loop.time() - lost_s < 1.0


async def test_a_restart_finds_everything(tmp_path: Path) -> None:
    group = Group(tmp_path)
    async with running(group):
        root = await Root.create(await group.leader())
        for _ in range(50):
            await root.publish(group.running[1])
        await group.equal_states()
        before = group.running[1].machine.dump()
    async with running(group):
        await group.leader()
        await group.equal_states()
        assert group.running[1].machine.dump() == before
        assert messages(group.running[3]) == 50
        await root.publish(group.running[3])


async def test_a_member_that_was_away_gets_what_it_missed(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        root = await Root.create(await group.leader())
        await group.stop(3)
        await group.leader()
        await root.publish(group.running[1])
        await group.start(3)
        await group.leader()
        await group.equal_states()
        await root.publish(group.running[3])
        assert group.running[3].counters.snapshots_installed == 0


async def leave_behind(group: Group, root: Root, last: int) -> None:
    """Publish and settle until the leader's log begins behind an index."""
    leader = await group.leader()
    journal = engine_of(leader).journal
    while journal.first <= last + 1:
        await asyncio.gather(*(root.publish(leader, b"b" * 9_000) for _ in range(60)))
        await root.settle_all(leader)


async def test_a_member_that_was_away_for_long_gets_a_checkpoint(tmp_path: Path) -> None:
    durations = Durations()
    distance = CheckpointDistance(entries=50)
    async with running(Group(tmp_path, checkpoint=distance, observer=durations)) as group:
        root = await Root.create(await group.leader())
        await group.equal_states()
        away = number_of((await group.followers())[0])
        behind = group.running[away].status().last_index
        await group.stop(away)
        await leave_behind(group, root, behind)
        kept = await root.publish(await group.leader(), b"still in the queue")
        await group.start(away)
        member = group.running[away]
        await group.leader()
        await group.equal_states()
        assert member.counters.snapshots_installed == 1
        assert durations.checkpoints
        assert decode_command(member.payload(kept)) == root.message(b"still in the queue")
        await root.publish(member)
        await group.stop(away)
        await group.start(away)
        await group.leader()
        await group.equal_states()
        assert messages(group.running[away]) == 2


async def test_who_waits_while_a_checkpoint_takes_over_gets_the_reply_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distance = CheckpointDistance(entries=50)
    async with running(Group(tmp_path, checkpoint=distance)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        await group.equal_states()
        member = (await group.followers())[0]
        inbox = engine_of(member).transport._receiver
        take, append_kind = inbox.frame, 20

        def frame(peer: int, kind: int, body: bytes) -> None:
            if kind != append_kind:
                take(peer, kind, body)

        monkeypatch.setattr(inbox, "frame", frame)  # it hears no entries for a while
        behind = member.status().last_index
        waiting = asyncio.create_task(member.propose(root.message(b"once"), deadline_s=30))
        await until(lambda: messages(leader) == 1, "applied elsewhere")
        group.running.pop(number_of(member))
        await leave_behind(group, root, behind + 1)
        group.running[number_of(member)] = member
        monkeypatch.undo()
        assert isinstance(await outcome(waiting), Enqueued)
        assert member.counters.snapshots_installed >= 1, "a slow one is followed by the next"
        await group.equal_states()


# --- the disk ---
async def test_publishes_are_refused_in_the_name_of_the_member_whose_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full: set[str] = set()

    def usage(directory: Path) -> SimpleNamespace:
        return SimpleNamespace(total=10**12, free=1 if directory.name in full else 10**11)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(limits, "RESOURCES_INTERVAL_S", 0.02)
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        low = number_of(leader)
        members = list(group.running.values())
        full.add(f"test-{low}")
        full_disk = Shortage(low, Resource.DISK)
        await until(lambda: all(m.shortage() == full_disk for m in members), "all name it")
        assert await leader.transfer_leadership(deadline_s=DEADLINE_S)
        await group.leader()
        assert [m.shortage() for m in members] == [None] * 3
        full.clear()
        await until(lambda: leader.resources.disk_free_bytes == 10**11, "measured again")


async def test_a_full_log_takes_commands_while_there_is_room_and_refuses_them_until_there_is_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RESOURCES_INTERVAL_S", 0.02)
    async with running(Group(tmp_path, size=1)) as group:
        member = group.running[1]
        await Root.create(member)
        journal = engine_of(member).journal
        writer, reserve = journal._writer, journal._writer._reserve
        writer._reserve, writer.is_full = None, True
        monkeypatch.setattr(writer, "prepare_reserve", lambda _path: False)
        assert await propose(member, ADMIN) == Done(changed=False)
        tail = journal._index.tail
        tail.header = with_allocation(tail.header, tail.length)
        assert isinstance(await outcome(asyncio.create_task(propose(member, ADMIN))), Overloaded)
        await until(lambda: member.shortage() == Shortage(1, Resource.DISK), "it is known")
        monkeypatch.undo()
        await until(lambda: member.shortage() is None, "there is room again")
        assert await propose(member, ADMIN) == Done(changed=False)
        assert reserve is not None
        reserve.close()


# --- who may not take part, and how a member ends ---
async def test_a_member_of_another_cluster_is_refused(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        await group.leader()
        await group.stop(3)
        await group.leader()
        stranger = group.build(3, cluster="other")
        await stranger.start()
        try:
            await until(lambda: stranger.counters.handshakes_refused > 1, "refused")
            assert not await stranger.wait_for_leader(deadline_s=0.1)
        finally:
            await stranger.stop()
        assert (await group.leader()).status().term == group.running[1].status().term
        shutil.rmtree(tmp_path / "test-3")
        (tmp_path / "other-3").rename(tmp_path / "test-3")
        with pytest.raises(CorruptData, match="belongs to member 3 of cluster 'other'"):
            await group.build(3).start()


async def test_a_start_that_fails_releases_what_it_took(tmp_path: Path) -> None:
    async with running(Group(tmp_path), 1) as group:
        with pytest.raises(DirectoryInUse):
            await group.build(1).start()
        taken = group.build(2)
        group.ports[2], port = group.ports[1], group.ports[2]
        with pytest.raises(OSError, match="in use"):
            await group.build(2).start()
        group.ports[2] = port
        await taken.start()
        assert taken.peer_port == port
        await taken.stop()


async def test_an_error_while_changing_ends_exactly_that_member(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        broken = (await group.followers())[0]
        await group.equal_states()

        def apply(*_: object) -> None:
            raise ZeroDivisionError("a decided change failed")

        broken.machine.apply = apply
        index = await root.publish(leader)
        number = number_of(broken)
        await until(lambda: bool(group.deaths[number]), "it ended")
        (reason,) = group.deaths[number]
        assert "ZeroDivisionError: a decided change failed" in reason
        assert f"while applying entry {index}" in reason
        await root.publish(leader)
        assert sum(map(len, group.deaths.values())) == 1
        assert broken.status().applied_index == index


@pytest.mark.parametrize("error", [OSError(5, "input/output error"), FailStop("broken")])
async def test_a_sync_that_fails_ends_exactly_that_member_and_is_not_repeated(
    tmp_path: Path, error: BaseException
) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        number = number_of(leader)
        tries: list[object] = []

        def run_sync(batch: object) -> None:
            tries.append(batch)
            raise error

        engine_of(leader).journal.run_sync = run_sync
        call = asyncio.create_task(leader.propose(root.message(b"body"), deadline_s=60))
        await until(lambda: bool(group.deaths[number]), "it ended")
        assert len(tries) == 1
        assert not call.done()  # nothing is confirmed after a failed sync
        await group.stop(number)
        assert isinstance(await outcome(call), OutcomeUnknown)
        await root.publish(await group.leader())
        assert len(group.deaths[number]) == 1


async def test_a_damaged_entry_is_not_served_but_ends_the_member(tmp_path: Path) -> None:
    async with running(Group(tmp_path, size=1)) as group:
        member = group.running[1]
        root = await Root.create(member)
        index = await root.publish(member)

        def entry(_: int) -> None:
            raise CorruptData(tmp_path, 7, "a record fails its checksum")

        engine_of(member).journal.entry = entry
        with pytest.raises(KeyError):
            member.payload(index)
        assert "fails its checksum" in group.deaths[1][0]


async def test_a_bug_in_a_background_task_ends_the_member(tmp_path: Path) -> None:
    async with running(Group(tmp_path, size=1)) as group:
        member = group.running[1]

        async def measure() -> None:
            raise RuntimeError("nobody expected this")

        engine_of(member).resources.measure = measure
        await until(lambda: bool(group.deaths[1]), "it ended")
