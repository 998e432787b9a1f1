"""A member without room for the leader's image stays a follower, asks again later, and is not fed meanwhile."""

import errno
from collections.abc import Iterator
from unittest import mock

import pytest

from sybline import limits
from sybline.errors import FailStop
from sybline.replication.messages import SnapshotChunk, SnapshotReply, decode
from tests.simulation.configurations import QUICK
from tests.simulation.disk import UNLIMITED, SimulatedDisk
from tests.simulation.schedules import Stage

pytestmark = pytest.mark.simulation
LEADER, BEHIND = 1, 5
HEARTBEAT_S = QUICK.heartbeat_s
RETRY_HEARTBEATS = 25


@pytest.fixture(autouse=True)
def images_of_many_chunks_and_short_pauses() -> Iterator[None]:
    with (
        mock.patch.object(limits, "INSTALL_CHUNK_BYTES", 300),
        mock.patch.object(limits, "INSTALL_SPARE_BYTES", 0),
        mock.patch.object(limits, "INSTALL_RETRY_S", RETRY_HEARTBEATS * HEARTBEAT_S),
    ):
        yield


@pytest.fixture
def stage() -> Stage:
    """Member 1 leads and has dropped the log that member 5 lacks."""
    stage = Stage(forgetful=(LEADER,))
    stage.lead(LEADER, 2, 3)
    for _ in range(60):
        stage.propose(LEADER, 1)
        stage.exchange(LEADER, 2)
        stage.exchange(LEADER, 3)
    stage.finish_background(LEADER)
    stage.lose()
    return stage


def pass_heartbeats(stage: Stage, count: int) -> list[SnapshotChunk]:
    """Let the leader speak so often, and return the chunks that it sent to the member behind."""
    chunks = []
    for _ in range(count):
        stage.clock.jumped_s += HEARTBEAT_S
        stage.remind(LEADER, BEHIND)
        for other in (2, 3):
            stage.exchange(LEADER, other, rounds=1)
        messages = [decode(*frame) for frame in stage._under_way.get((LEADER, BEHIND), [])]
        chunks += [message for message in messages if isinstance(message, SnapshotChunk)]
        stage.exchange(LEADER, BEHIND, rounds=1)
    return chunks


def fill(disk: SimulatedDisk, *, but: int = 0) -> None:
    disk.capacity = disk.used() + but


def installs(stage: Stage) -> bool:
    pass_heartbeats(stage, 4)
    stage.exchange(LEADER, BEHIND)
    stage.finish_background(BEHIND)
    return stage.nodes[BEHIND].applied_index >= stage.journal(LEADER).checkpoint_index > 0


def test_an_image_that_cannot_fit_is_not_begun_and_no_data_is_sent(stage: Stage) -> None:
    fill(stage.disks[BEHIND])
    pass_heartbeats(stage, 1)
    assert stage.nodes[BEHIND].lacks_room
    later = pass_heartbeats(stage, 20)
    assert len(later) == 20, "chunks are the heartbeats of a member that takes an image"
    assert {chunk.data for chunk in later} == {b""}
    assert stage.nodes[BEHIND].role == "follower"
    assert stage.nodes[BEHIND].leader == LEADER


def test_it_is_installed_once_there_is_room_and_not_before_the_pause_is_over(stage: Stage) -> None:
    fill(stage.disks[BEHIND])
    pass_heartbeats(stage, 2)
    stage.disks[BEHIND].capacity = UNLIMITED
    assert not installs(stage)
    pass_heartbeats(stage, RETRY_HEARTBEATS)
    assert installs(stage)
    pass_heartbeats(stage, RETRY_HEARTBEATS)
    assert not stage.nodes[BEHIND].lacks_room


def test_a_disk_that_fills_up_while_an_image_arrives_loses_the_image_and_nothing_else(
    stage: Stage,
) -> None:
    disk = stage.disks[BEHIND]
    names = set(disk.durable_files(stage.journal(BEHIND)._path.parent))
    pass_heartbeats(stage, 1)  # begun
    fill(disk, but=100)
    stage.exchange(LEADER, BEHIND)
    assert stage.nodes[BEHIND].lacks_room
    assert set(disk.durable_files(stage.journal(BEHIND)._path.parent)) == names
    disk.capacity = UNLIMITED
    pass_heartbeats(stage, RETRY_HEARTBEATS)
    assert installs(stage)


def test_a_disk_that_is_full_when_the_image_is_verified_loses_the_image_alone(stage: Stage) -> None:
    no_space = OSError(errno.ENOSPC, "No space left on device")
    pass_heartbeats(stage, 1)
    stage.exchange(LEADER, BEHIND)
    with mock.patch("sybline.replication.install.adopt_tail", side_effect=no_space):
        assert stage.finish_background(BEHIND) == 1
    assert stage.nodes[BEHIND].lacks_room
    pass_heartbeats(stage, RETRY_HEARTBEATS)
    assert installs(stage)


def test_another_error_of_the_disk_ends_the_member(stage: Stage) -> None:
    broken = OSError(errno.EIO, "Input/output error")
    with (
        mock.patch.object(type(stage.journal(BEHIND)), "begin_install", side_effect=broken),
        pytest.raises(FailStop, match="Input/output error"),
    ):
        pass_heartbeats(stage, 1)


def test_a_paused_follower_gets_the_newest_image_so_that_the_leader_need_not_keep_old_files(
    stage: Stage,
) -> None:
    fill(stage.disks[BEHIND])
    pass_heartbeats(stage, 2)
    before = stage.journal(LEADER).checkpoint_index
    for _ in range(60):
        stage.propose(LEADER, 1)
        stage.exchange(LEADER, 2)
        stage.exchange(LEADER, 3)
    stage.finish_background(LEADER)
    assert stage.journal(LEADER).checkpoint_index > before
    pass_heartbeats(stage, 2)
    image = stage.nodes[LEADER]._progress[BEHIND].image
    assert image is not None
    assert image.index == stage.journal(LEADER).checkpoint_index


def test_a_reply_without_a_pause_says_so() -> None:
    assert SnapshotReply(1, 2, 3, 4, 5, 6).pause_ms == 0
