"""Single decisions of a node that no invariant of the simulator can judge."""

from dataclasses import replace

import pytest

from sybline import limits
from tests.simulation.disk import UNLIMITED
from tests.simulation.schedules import Stage
from tests.simulation.tags import TAG

pytestmark = pytest.mark.simulation


def test_a_proposal_that_meets_a_lost_leadership_is_refused_but_not_as_overload() -> None:
    stage = Stage()
    stage.lead(1, 2, 3)
    stage.exchange(1, 2)
    stage.exchange(1, 3)
    node = stage.nodes[1]
    overloaded: list[bool] = []
    node.propose(TAG.pack(1), overloaded.append)
    assert overloaded == []
    node._follow(node.term + 1, None)
    node.tick()
    assert overloaded == [False]


def test_a_checkpoint_that_found_the_disk_full_waits_before_it_tries_again() -> None:
    stage = Stage(forgetful=(1,))
    stage.lead(1, 2, 3)
    for _ in range(60):
        stage.propose(1, 1)
        stage.exchange(1, 2)
        stage.exchange(1, 3)
    disk = stage.disks[1]
    disk.capacity = disk.used()
    assert stage.finish_background(1) == 1
    node = stage.nodes[1]
    for _ in range(5):
        node.tick()
    assert stage.finish_background(1) == 0, "each try costs a dump of the whole state"
    disk.capacity = UNLIMITED
    stage.clock.jumped_s += 10.0
    node.tick()
    assert stage.finish_background(1) == 1
    assert stage.journal(1).checkpoint_index == node.applied_index


def test_a_checkpoint_is_due_after_much_work_for_a_restart_does_it_again() -> None:
    stage = Stage()
    stage.lead(1, 2, 3)
    node = stage.nodes[1]
    node._checkpoint = replace(node._checkpoint, work_s=0.2)
    apply = node._state.apply

    def slow(index: int, term: int, payload: bytes) -> None:
        stage.clock.jumped_s += 0.06
        apply(index, term, payload)

    node._state.apply = slow
    due_after = []
    for _ in range(10):
        stage.propose(1, 1)
        stage.exchange(1, 2)
        stage.exchange(1, 3)
        due_after.append(stage.finish_background(1) > 0)
    assert due_after.index(True) in (3, 4)
    assert any(due_after[5:]), "the next one after as much work again"


def test_a_large_entry_is_not_sent_again_before_it_can_have_arrived() -> None:
    stage = Stage()
    stage.lead(1, 2, 3)
    stage.exchange(1, 2)
    stage.exchange(1, 3)
    size_bytes = 8 * limits.APPEND_BYTES_MAX
    stage.nodes[1]._queue_command(bytes(size_bytes), lambda _result, _error: None)
    stage.nodes[1].tick()
    arrives_after_s = size_bytes / limits.LARGE_ENTRY_BYTES_PER_S

    def copies_sent(after_s: float) -> int:
        stage.clock.jumped_s += after_s
        stage.nodes[1].tick()
        return sum(len(body) >= size_bytes for _, body in stage._under_way[1, 2])

    assert copies_sent(after_s=0.0) == 1
    assert [copies_sent(after_s=arrives_after_s / 5) for _ in range(4)] == [1] * 4
    assert copies_sent(after_s=arrives_after_s / 4) == 2
    assert copies_sent(after_s=arrives_after_s / 2) == 2, "nor while it is probed for"
