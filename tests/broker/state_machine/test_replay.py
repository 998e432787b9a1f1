"""The same log gives the same state: straight, out of any checkpoint, re-encoded, and in any process."""

import hashlib
import subprocess
import sys

import pytest

from sybline.replication import codec
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.replies import AnyReply, Refused
from tests.support.cluster import ROOT
from tests.support.command_log import Log, build_log

SEEDS = range(1, 7)
LENGTH = 160
LONG = 1_500


def replay(machine: StateMachine, log: Log) -> list[AnyReply]:
    """Apply a log and return its replies."""
    return [machine.apply(meta, command).reply for meta, command in log]


def digest(seed: int, length: int) -> str:
    """Return what stands for the state after a log, and for every answer on the way."""
    machine = StateMachine()
    replies = replay(machine, build_log(seed, length))
    return hashlib.sha256(machine.dump() + repr(replies).encode()).hexdigest()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_checkpoint_at_any_index_and_the_rest_of_the_log_lead_to_the_same_bytes(
    seed: int,
) -> None:
    log = build_log(seed, LENGTH)
    machine = StateMachine()
    checkpoints, replies = [machine.dump()], []
    for meta, command in log:
        replies.append(machine.apply(meta, command).reply)
        machine.check_invariants()
        checkpoints.append(machine.dump())
    for index, checkpoint in enumerate(checkpoints):
        restored = StateMachine.load(checkpoint)
        assert restored.dump() == checkpoint, f"seed {seed}, checkpoint at {index}"
        assert replay(restored, log[index:]) == replies[index:], f"seed {seed}, from {index}"
        restored.check_invariants()
        assert restored.dump() == checkpoints[-1], f"seed {seed}, from {index}"


@pytest.mark.parametrize("seed", SEEDS)
def test_commands_that_went_through_the_codec_lead_to_the_same_bytes(seed: int) -> None:
    log = build_log(seed, LONG)
    straight, decoded = StateMachine(), StateMachine()
    replies = replay(straight, log)
    for (meta, command), reply in zip(log, replies, strict=True):
        request = codec.encode_request(meta.origin, meta.sequence, meta.answered_below, command)
        payload = codec.stamp(request, meta.now_ms)
        assert (
            codec.encode_request(
                meta.origin, meta.sequence, meta.answered_below, codec.decode_command(payload)
            )
            == request
        )
        assert decoded.apply(meta, codec.decode_command(payload)).reply == reply
    assert decoded.dump() == straight.dump()


def test_the_logs_of_these_tests_do_enough() -> None:
    machine = StateMachine()
    replies = replay(machine, build_log(1, LONG))
    refused = sum(isinstance(reply, Refused) for reply in replies)
    assert 0.05 < refused / len(replies) < 0.7
    assert machine.internal_errors == 0
    counters = [stats.counters for stats in machine.queue_stats()]
    assert sum(each.delivered for each in counters) > 20
    kinds = {type(reply).__name__ for reply in replies}
    assert {"Enqueued", "CheckedOut", "Settled", "SessionOpened", "Moved", "Done"} <= kinds


def test_two_processes_with_different_hash_seeds_reach_the_same_digest() -> None:
    code = f"from tests.broker.state_machine.test_replay import digest; print(digest(3, {LONG}))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "4242")
    }
    assert len(digests) == 1
    assert digests.pop().strip() == digest(3, LONG)
