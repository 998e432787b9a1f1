"""Pages lead to the same state as one dump: at every index, while commands go on, and across failed checkpoints."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sybline.state_machine import origins, pieces, queue, runs
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.pages import Capture, Reader
from tests.support.command_log import Log, build_log

LENGTH = 160


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let short logs fill many chunks."""
    monkeypatch.setattr(runs, "CHUNK_RUNS", 4)
    monkeypatch.setattr(pieces, "CHUNK_PIECES", 4)
    monkeypatch.setattr(origins, "CHUNK_RECORDS", 4)
    monkeypatch.setattr(queue, "_PARKED_PER_PAGE", 4)


class Disk:
    """The pages that a member has stored, and those its last checkpoint needs."""

    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.next_page = 1
        self.root = b""
        self.written = 0

    def collect(self, capture: Capture, bytes_max: int) -> None:
        for number, data in capture.collect(bytes_max):
            assert number not in self.pages, "a number is never used again"
            self.pages[number] = data
            self.written += 1

    def finish(self, capture: Capture, *, saved: bool) -> None:
        while not capture.is_whole:
            self.collect(capture, 1)
        self.next_page = capture.next_page
        capture.end(saved=saved)
        if saved:
            needed = set(capture.pages())
            assert needed <= set(self.pages)
            self.pages = {number: self.pages[number] for number in needed}
            self.root = capture.root()

    def load(self, *, is_kept: bool = True) -> StateMachine:
        return StateMachine.load_capture(self.root, Reader(self.pages.__getitem__, is_kept=is_kept))


def capture_whole(machine: StateMachine, disk: Disk) -> None:
    disk.finish(machine.begin_capture(disk.next_page), saved=True)


@pytest.mark.parametrize("seed", range(1, 7))
def test_the_pages_of_every_index_lead_to_the_state_of_that_index(seed: int) -> None:
    machine, disk = StateMachine(), Disk()
    for meta, command in build_log(seed, LENGTH):
        machine.apply(meta, command)
        capture_whole(machine, disk)
        restored = disk.load()
        assert restored.dump() == machine.dump()
        restored.check_invariants()
        assert restored.next_due_ms() == machine.next_due_ms()


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_a_capture_is_of_its_moment_while_commands_go_on(seed: int) -> None:
    log, choices = build_log(seed, LENGTH), random.Random(seed)
    machine, disk = StateMachine(), Disk()
    at = 0
    while at < len(log):
        at = run(machine, log, at, choices.randint(1, 20))
        expected = machine.dump()
        capture = machine.begin_capture(disk.next_page)
        while not capture.is_whole and choices.random() < 0.9:
            disk.collect(capture, choices.choice([1, 100, 1000]))
            at = run(machine, log, at, choices.randint(0, 5))
        saved = choices.random() < 0.8
        disk.finish(capture, saved=saved)
        if saved:
            restored = disk.load()
            assert restored.dump() == expected
            restored.check_invariants()
            if choices.random() < 0.5:  # a restart: the rest of the log is applied again
                run(restored, log, restored.applied_index, at - restored.applied_index)
                assert restored.dump() == machine.dump()
                machine = restored


def run(machine: StateMachine, log: Log, at: int, count: int) -> int:
    """Apply further commands of a log and return how many are applied."""
    for meta, command in log[at : at + count]:
        machine.apply(meta, command)
    return min(at + count, len(log))


def test_what_did_not_change_is_not_written_again() -> None:
    machine, disk = StateMachine(), Disk()
    for meta, command in build_log(3, LENGTH):
        machine.apply(meta, command)
    capture_whole(machine, disk)
    assert disk.written > 10
    disk.written = 0
    capture_whole(machine, disk)
    assert disk.written == 0
    restored = disk.load()
    capture_whole(restored, disk)
    assert disk.written == 0


def test_pages_that_were_not_kept_are_all_written_again() -> None:
    machine, disk = StateMachine(), Disk()
    for meta, command in build_log(3, LENGTH):
        machine.apply(meta, command)
    capture_whole(machine, disk)
    pages = len(disk.pages)
    restored = disk.load(is_kept=False)
    disk.written = 0
    capture_whole(restored, disk)
    assert disk.written == pages
    assert disk.load().dump() == machine.dump()
