"""Which bodies the queues need: told by ranges and in slices, it is what the whole state says."""

import random
from typing import Any

import pytest

from sybline import limits
from sybline.state_machine.live_bodies import live_bodies
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.queue import Queue
from tests.support.command_log import build_log
from tests.support.replicas import Replicas

PER_ENTRY = limits.BATCH_MESSAGES_MAX


def held_by(queue: Queue) -> dict[int, int]:
    """Return the body sizes of all messages of a queue, by position."""
    found: dict[int, int] = {}
    pieces = (*queue.returned, *queue.leased, *queue.parked.pieces)
    rows = [(run.key, run.messages, run.size_bytes) for run in queue.fresh.iterate()]
    rows += [(piece.key, piece.count, piece.size_bytes) for piece in pieces]
    for key, count, size in rows:
        for segment in queue.origins.by_key(key, count):
            for position in range(segment.position, segment.position + segment.messages):
                found[position] = size
    return found


def needed_by(machine: StateMachine) -> dict[int, int]:
    """Return the sizes of all needed bodies, by position."""
    found: dict[int, int] = {}
    for queue in machine._state.queues.values():
        found |= held_by(queue)
    return found


def told_in_slices(machine: StateMachine, first: int, end: int, runs_max: int) -> tuple[Any, int]:
    """Return positions and bytes, asked for in slices."""
    positions: list[int] = []
    total, start = 0, first
    while start < end:
        live = live_bodies(machine._state, start, end, runs_max)
        assert start < live.end <= end
        for position, count in zip(live.positions, live.counts, strict=True):
            positions += range(position, position + count)
        total += live.body_bytes
        start = live.end
    return positions, total


@pytest.mark.parametrize("seed", range(25))
def test_every_slice_tells_what_the_whole_state_holds(seed: int) -> None:
    rng = random.Random(seed)
    machine = StateMachine()
    for number, (meta, command) in enumerate(build_log(seed, 400)):
        machine.apply(meta, command)
        if number % 40:
            continue
        needed = needed_by(machine)
        first, end = sorted(rng.sample(range(PER_ENTRY * (meta.index + 2)), 2))
        for start, stop in ((0, PER_ENTRY * (meta.index + 1)), (first, end)):
            inside = {p: size for p, size in needed.items() if start <= p < stop}
            told, total = told_in_slices(machine, start, stop, rng.choice((1, 20, 5_000)))
            assert told == sorted(inside)
            assert total == sum(inside.values())


def test_a_message_in_several_queues_counts_once() -> None:
    replicas = Replicas()
    for name in ("a", "b", "c"):
        replicas.declare(name, key="shared")
    positions = replicas.publish("shared", 5, body=b"x" * 7)
    replicas.settle(replicas.root, "a", replicas.fetch(replicas.root, "a", 3))
    told, total = told_in_slices(replicas.machine, 0, positions[-1] + 1, 100)
    assert (told, total) == (positions, 35)


def test_moved_messages_keep_the_bodies_of_where_they_were_published() -> None:
    replicas = Replicas()
    replicas.declare("a", dead_letter=True)
    positions = replicas.publish("a", 6, body=b"12345")
    replicas.discard(replicas.root, "a", replicas.fetch(replicas.root, "a")[1:4])
    replicas.settle(replicas.root, "a", [positions[0], *positions[4:]])
    end = PER_ENTRY * (replicas.index + 1)
    assert told_in_slices(replicas.machine, 0, end, 100) == (positions[1:4], 15)
