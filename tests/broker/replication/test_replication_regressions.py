"""Defects of the earlier implementation in replication and storage, by the ids of the regression list."""

import asyncio
import random
from array import array
from pathlib import Path

import pytest

from sybline.clock import SystemClock
from sybline.replication.codec import decode_command
from sybline.replication.configuration import static_configuration
from sybline.replication.journal import Journal
from sybline.replication.machine_state import MachineState
from sybline.replication.member import Member
from sybline.replication.messages import RaftMessage, RequestVote, Vote
from sybline.replication.node import RaftNode
from sybline.replication.state_dump import SavedState, WholeDump
from sybline.replication.timing import Timing
from sybline.state_machine.live_bodies import LiveRuns
from tests.simulation.disk import SimulatedDisk
from tests.support.journal_model import journal_on
from tests.support.members import CALM, DEADLINE_S, Group, Root, messages, propose, running
from tests.support.node_table import Silent
from tests.support.waiting import wait_for

CALLS = 2_000


async def test_reg_b1_each_of_thousands_of_concurrent_calls_gets_its_own_reply(
    tmp_path: Path,
) -> None:
    async with running(Group(tmp_path, timing=CALM)) as group:
        root = await Root.create(await group.leader())
        await group.equal_states()
        members = list(group.running.values())

        async def publish(number: int) -> tuple[int, bytes]:
            body = b"%d" % number
            return await root.publish(members[number % len(members)], body), body

        async with asyncio.timeout(2 * DEADLINE_S):
            replies = await asyncio.gather(*map(publish, range(CALLS)))
        await group.equal_states()
        assert len({index for index, _ in replies}) == CALLS
        for index, body in replies:
            assert decode_command(members[0].payload(index)) == root.message(body)


class NoState:
    """A state that nothing is applied to."""

    def apply(self, index: int, term: int, payload: bytes) -> None: ...

    def begin_dump(self, _first_page: int) -> WholeDump:
        return WholeDump(b"")

    def restore(self, saved: SavedState) -> None: ...

    def live_bodies(self, _start: int, end: int, _runs_max: int) -> LiveRuns:
        return LiveRuns(array("Q"), array("I"), 0, end)

    def thin(self, payload: bytes, _live: object) -> bytes | None:
        return payload


def build_node(journal: Journal, sent: list[tuple[int, RaftMessage]]) -> RaftNode:
    """Return member 1 of three, which has just started."""
    node = RaftNode(
        member=1, journal=journal, state=NoState(), clock=SystemClock(),
        send=lambda peer, message: sent.append((peer, message)), rng=random.Random(1),
        timing=Timing(), listener=Silent(),
    )  # fmt: skip
    for peer in (2, 3):
        node.peer_connected(peer)
    return node


def test_reg_r5a_a_member_restarted_between_two_elections_of_a_term_votes_once() -> None:
    disk, sent = SimulatedDisk(random.Random(1)), []
    node = build_node(journal_on(disk, first=static_configuration((1, 2, 3))), sent)
    node.receive(2, RequestVote(term=7, last=0, last_term=0, transfer=False))
    assert sent == [(2, Vote(7, granted=True))]
    for power in (False, True):
        disk.crash(power=power)
        sent.clear()
        node = build_node(journal_on(disk, first=static_configuration((1, 2, 3))), sent)
        node.receive(3, RequestVote(term=7, last=0, last_term=0, transfer=False))
        node.receive(2, RequestVote(term=7, last=0, last_term=0, transfer=False))
        assert sent == [(3, Vote(7, granted=False)), (2, Vote(7, granted=True))]


def test_reg_r10_the_last_of_several_terms_and_votes_is_there_after_a_restart() -> None:
    disk = SimulatedDisk(random.Random(1))
    journal = journal_on(disk)
    for term, vote in ((1, 1), (2, None), (2, 3), (9, 2)):
        journal.set_vote(term, vote)
        disk.crash(power=True)
        journal = journal_on(disk)
        assert (journal.current_term, journal.voted_for) == (term, vote)


async def test_reg_r3_committed_entries_never_change_while_the_leader_does(tmp_path: Path) -> None:
    async with running(Group(tmp_path)) as group:
        root = await Root.create(await group.leader())
        await group.equal_states()
        stored: dict[int, bytes] = {}
        stop = asyncio.Event()

        async def publish(worker: int) -> None:
            number = 0
            while not stop.is_set():
                body = b"%d-%d" % (worker, number)
                member = list(group.running.values())[worker % len(group.running)]
                stored[await root.publish(member, body)] = body
                number += 1

        workers = [asyncio.create_task(publish(worker)) for worker in range(6)]
        lagging = (await group.followers())[0].status().member
        for _ in range(4):
            wanted = len(stored) + 50
            await wait_for(
                lambda w=wanted: len(stored) >= w, what="publishes", deadline_s=DEADLINE_S
            )
            leader = await group.leader()
            assert await leader.transfer_leadership(deadline_s=DEADLINE_S)
        stop.set()
        await asyncio.gather(*workers)
        await group.stop(lagging)
        for number in range(20):
            body = b"while away %d" % number
            stored[await root.publish(await group.leader(), body)] = body
        await group.stop()
        await group.start()
        await group.leader()
        await group.equal_states()
        for member in group.running.values():
            for index, body in stored.items():
                assert decode_command(member.payload(index)) == root.message(body)


async def test_reg_r7b_a_member_catches_up_during_live_writes_strictly_in_log_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(Group(tmp_path)) as group:
        root = await Root.create(await group.leader())
        away = (await group.followers())[0].status().member
        await group.equal_states()
        await group.stop(away)
        leader = await group.leader()
        await asyncio.gather(*(root.publish(leader) for _ in range(300)))
        applied = watch_applies(monkeypatch)
        live = [asyncio.create_task(propose(leader, root.message(b"live"))) for _ in range(300)]
        await group.start(away)
        await asyncio.gather(*live)
        await group.equal_states()
        assert {messages(member) for member in group.running.values()} == {600}
        late = applied[id(state_of(group.running[away]))]
        assert len(late) >= 300
        assert late == list(range(late[0], late[0] + len(late)))


def watch_applies(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Note the index of every command that any member's state gets, from now on."""
    seen: dict[int, list[int]] = {}
    original = MachineState.apply

    def apply(self: MachineState, index: int, term: int, payload: bytes) -> None:
        seen.setdefault(id(self), []).append(index)
        original(self, index, term, payload)

    monkeypatch.setattr(MachineState, "apply", apply)
    return seen


def state_of(member: Member) -> MachineState:
    engine = member._engine
    assert engine is not None
    return engine.state
