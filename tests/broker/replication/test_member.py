"""Members with real journals and sockets in one loop: what `ReplicatedLog` promises while all is well, and without a
majority.
"""

import asyncio
from pathlib import Path

import pytest

from sybline import limits
from sybline.errors import DeadlinePassed, NoLeader, NotApplied, OutcomeUnknown, Overloaded
from sybline.replication.codec import decode_command
from sybline.replication.member import Member
from sybline.replication.resource_watch import ResourceUse
from sybline.state_machine.commands import BootstrapAdmin, Checkout
from sybline.state_machine.replies import CheckedOut, Done
from tests.support.members import (
    CALM,
    DEADLINE_S,
    FAST,
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


# --- proposing ---
async def test_any_member_takes_a_command_and_all_apply_it(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        for member in group.running.values():
            index = await root.publish(member)
            assert member.status().applied_index >= index
            assert decode_command(member.payload(index)) == root.message(b"body")
        await group.equal_states()
        assert {messages(member) for member in group.running.values()} == {3}
        followers = await group.followers()
        assert [member.counters.forwarded_out for member in followers] == [1, 1]
        assert leader.counters.forwarded_in == 2
        assert engine_of(leader).proposals.pending_bytes == 0


async def test_a_lone_member_leads_at_once(tmp_path: Path) -> None:
    async with running(Group(tmp_path, size=1)) as group:
        member = group.running[1]
        async with asyncio.timeout(FAST.election_s):
            assert await member.wait_for_leader(deadline_s=DEADLINE_S)
        root = await Root.create(member)
        await root.publish(member)
        assert await member.barrier(deadline_s=DEADLINE_S) == b""
        status = member.status()
        assert (status.role, status.leader, status.ready) == ("leader", 1, True)
        assert not await member.transfer_leadership(deadline_s=DEADLINE_S)


async def test_what_is_ready_in_one_turn_is_one_write_and_one_message(tmp_path: Path) -> None:
    durations = Durations()
    async with running(Group(tmp_path, timing=CALM, observer=durations)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        await group.equal_states()
        durations.syncs.clear()
        sent = engine_of(leader).transport.send
        kinds: list[int] = []

        def counted(peer: int, kind: int, body: bytes) -> bool:
            if len(body) > 5_000:
                kinds.append(kind)
            return sent(peer, kind, body)

        engine_of(leader).transport.send = counted
        await asyncio.gather(*(root.publish(leader) for _ in range(500)))
        assert len(kinds) == 2  # one to each follower
        assert len(durations.syncs) <= 2 * 3


async def test_full_segments_are_left_behind_without_a_refusal(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        body = b"b" * 16_384

        async def publisher() -> None:
            for _ in range(10):
                await root.publish(leader, body)

        await asyncio.gather(*(publisher() for _ in range(16)))
        assert engine_of(leader).journal.segments_total > 5
        assert messages(leader) == 160


async def test_a_caller_that_leaves_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        for member in (await group.leader(), *(await group.followers())):
            calls = [
                asyncio.create_task(member.propose(ADMIN, deadline_s=60)),
                asyncio.create_task(member.barrier(deadline_s=60)),
            ]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            assert len(engine_of(member).proposals) == len(engine_of(member).reads) == 0
            assert await propose(member, ADMIN) == Done(changed=False)


# --- without a majority ---
async def hang_followers(group: Group) -> Member:
    """Let the followers do nothing any more, with open connections, and return the leader."""
    for member in await group.followers():
        engine_of(member).turns.stop()
    return await group.leader()


async def test_without_a_majority_every_call_ends_in_time(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await hang_followers(group)
        handed_over = asyncio.create_task(leader.propose(ADMIN, deadline_s=0.2))
        assert type(await outcome(handed_over)) is DeadlinePassed
        await until(lambda: leader.status().leader is None, "it no longer leads")
        refused = asyncio.create_task(leader.propose(ADMIN, deadline_s=0.3))
        assert type(await outcome(refused)) is NoLeader
        read = asyncio.create_task(leader.barrier(deadline_s=0.3))
        assert type(await outcome(read)) is NoLeader
        assert not await leader.wait_for_leader(deadline_s=0.1)
        assert not await leader.transfer_leadership(deadline_s=0.1)
        assert not leader.status().quorum_confirmed
        assert len(engine_of(leader).proposals) == len(engine_of(leader).reads) == 0


async def test_more_than_may_wait_is_refused_at_once(tmp_path: Path) -> None:
    async with running(Group(tmp_path), 1) as group:
        member = group.running[1]
        body = b"x" * (4 * limits.MIB)
        root = Root()
        calls = [
            asyncio.create_task(member.propose(root.message(body), deadline_s=60))
            for _ in range(20)
        ]
        await asyncio.sleep(0)
        refused = [call for call in calls if call.done()]
        assert 0 < len(refused) < 20
        assert {type(await outcome(call)) for call in refused} == {Overloaded}
        await group.stop()
        waiting = [call for call in calls if call not in refused]
        outcomes = [await outcome(call) for call in waiting]
        assert all(isinstance(found, NotApplied) for found in outcomes)


async def test_stopping_tells_everybody_who_waits(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await hang_followers(group)
        handed_over = asyncio.create_task(leader.propose(ADMIN, deadline_s=60))
        read = asyncio.create_task(leader.barrier(deadline_s=60))
        await until(lambda: leader.status().leader is None, "it no longer leads")
        waiting = asyncio.create_task(leader.wait_for_leader(deadline_s=60))
        await asyncio.sleep(0)
        await group.stop(number_of(leader))
        assert type(await outcome(handed_over)) is OutcomeUnknown
        assert type(await outcome(read)) is NoLeader
        assert await outcome(waiting) is False
        late = asyncio.create_task(leader.propose(ADMIN, deadline_s=60))
        assert isinstance(await outcome(late), NotApplied)


# --- reads ---
async def test_a_barrier_sees_what_was_acknowledged_anywhere_before(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        members = list(group.running.values())
        for number in range(60):
            writer, reader = members[number % 3], members[(number // 3) % 3]
            await root.publish(writer)
            await reader.barrier(deadline_s=DEADLINE_S)
            assert messages(reader) == number + 1


async def test_a_note_is_answered_by_the_leader_alone(tmp_path: Path) -> None:
    group = Group(tmp_path, on_note=lambda number: lambda note: note + b" to %d" % number)
    async with running(group):
        leader = number_of(await group.leader())
        for member in group.running.values():
            answer = await member.barrier(deadline_s=DEADLINE_S, note=b"hello")
            assert answer == b"hello to %d" % leader
            assert await member.barrier(deadline_s=DEADLINE_S) == b""


async def test_only_applied_entries_are_read(tmp_path: Path) -> None:
    async with running(Group(tmp_path, size=1)) as group:
        member = group.running[1]
        root = await Root.create(member)
        index = await root.publish(member)
        assert decode_command(member.payload(index)) == root.message(b"body")
        for no_command in (0, 1, index + 1):
            with pytest.raises(KeyError):
                member.payload(no_command)


# --- leadership ---
async def test_leadership_is_handed_over(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        publishing = asyncio.create_task(root.publish(leader))
        assert await leader.transfer_leadership(deadline_s=DEADLINE_S)
        await publishing
        assert leader.status().role == "follower"
        second = await group.leader()
        target = next(m for m in group.running if m not in (number_of(second), number_of(leader)))
        assert await second.transfer_leadership(deadline_s=DEADLINE_S, target=target)
        assert number_of(await group.leader()) == target
        assert not await group.running[target].transfer_leadership(deadline_s=0.2, target=9)
        assert await leader.transfer_leadership(deadline_s=0.2)  # another one leads as it is


async def test_before_the_start_a_member_says_that_it_is_not_ready(tmp_path: Path) -> None:
    member = Group(tmp_path).build(1)
    assert (member.status().ready, member.status().leader) == (False, None)
    assert (member.log_bytes, member.log_live_bytes, member.resources) == (0, 0, ResourceUse())
    assert member.shortage() is None
    with pytest.raises(NoLeader):
        await member.propose(ADMIN, deadline_s=1)
    await member.stop()


# --- time ---
async def test_an_idle_cluster_writes_nothing(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        await Root.create(leader)
        await group.equal_states()
        before = [(m.status().last_index, m.log_bytes) for m in group.running.values()]
        round_before = engine_of(leader).node._round
        await until(lambda: engine_of(leader).node._round > round_before + 20, "20 heartbeats")
        assert [(m.status().last_index, m.log_bytes) for m in group.running.values()] == before
        assert leader.counters.ticks_proposed == 0


async def test_what_is_due_happens_without_a_call(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        leader = await group.leader()
        root = await Root.create(leader)
        await root.publish(leader)
        fetched = await propose(leader, Checkout(root.caller, "q", 10, limits.MIB, 200))
        assert isinstance(fetched, CheckedOut)
        assert messages(leader) == 0
        await until(lambda: all(messages(m) for m in group.running.values()), "given back")
        assert leader.counters.ticks_proposed >= 1
        assert sum(m.counters.ticks_proposed for m in await group.followers()) == 0
