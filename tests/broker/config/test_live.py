"""A configuration file that changes under a running member: live keys count at once, a bad file not at all."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs
from structlog.typing import EventDict

from sybline import limits
from sybline.config import ConfigError, load_settings
from sybline.config.live import LiveSettings, split_change
from sybline.config.loading import check_tree
from sybline.config.settings import KEYS, Settings, with_values
from tests.support.volumes import MountedVolume

START: dict[str, Any] = {"development": True, "queues": {"lease_s": 300}}


class Running:
    """Settings of a member whose file is a mounted ConfigMap."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self._volume = MountedVolume(directory, {"sybline.yaml": yaml.safe_dump(START).encode()})
        loaded = load_settings(directory / "sybline.yaml", environment)
        self.told: list[Settings] = []
        self.live = LiveSettings(loaded, on_change=self.told.append)

    async def write(self, content: dict[str, Any] | str) -> list[EventDict]:
        """Replace the file, look at it, and return what was logged."""
        text = content if isinstance(content, str) else yaml.safe_dump({**START, **content})
        self._volume.update({"sybline.yaml": text.encode()})
        with capture_logs() as lines:
            await self.live.check()
        return lines


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path / "config")


async def test_a_live_key_comes_into_force_while_the_member_runs(running: Running) -> None:
    before = running.live.sha256
    (line,) = await running.write({"queues": {"lease_s": 60}, "log": {"level": "debug"}})
    assert line["event"] == "settings_in_force"
    assert line["changes"] == ["queues.lease_s: 300 -> 60", "log.level: info -> debug"]
    assert running.live.in_force.queues.lease_s == 60
    assert running.told == [running.live.in_force]
    assert running.live.sha256 not in ("", before)
    assert (running.live.reloads, running.live.refusals) == (1, 0)


async def test_a_file_that_stays_is_not_taken_again(running: Running) -> None:
    with capture_logs() as lines:
        await running.live.check()
    assert lines == []
    assert running.live.reloads == 0


async def test_a_key_that_needs_a_restart_is_named_and_waits(running: Running) -> None:
    taken, waiting = await running.write({"raft": {"heartbeat_s": 0.2}, "queues": {"lease_s": 60}})
    assert taken["changes"] == ["queues.lease_s: 300 -> 60"]
    assert (waiting["event"], waiting["keys"]) == ("settings_need_restart", ["raft.heartbeat_s"])
    assert running.live.pending == ("raft.heartbeat_s",)
    assert running.live.in_force.raft.heartbeat_s == 0.15
    await running.write({})
    assert running.live.pending == ()
    assert running.live.in_force.queues.lease_s == 300


async def test_a_bad_file_is_refused_as_a_whole_and_said_once(running: Running) -> None:
    before = running.live.sha256
    (line,) = await running.write({"queues": {"lease_s": 9_999}, "log": {"level": "debug"}})
    assert line["event"] == "settings_refused"
    assert "9999" in running.live.refusal
    assert running.live.in_force.log.level == "info"
    assert running.live.sha256 == before
    assert running.told == []
    with capture_logs() as lines:
        await running.live.check()
    assert lines == []
    assert running.live.refusals == 1


@pytest.mark.parametrize("content", ["queues: [", "quues:\n  lease_s: 5\n", "[]", "\x00"])
async def test_what_a_start_refuses_a_running_member_refuses_too(
    running: Running, content: str
) -> None:
    (line,) = await running.write(content)
    assert line["event"] == "settings_refused"
    await running.write({"queues": {"lease_s": 5}})
    assert running.live.refusal == ""
    assert running.live.in_force.queues.lease_s == 5


async def test_a_file_that_is_gone_is_refused_and_the_old_settings_stay(tmp_path: Path) -> None:
    path = tmp_path / "sybline.yaml"
    path.write_text(yaml.safe_dump(START))
    live = LiveSettings(load_settings(path, {}), on_change=lambda _: None)
    path.unlink()
    for _ in range(2):
        await live.check()
    assert "cannot be read" in live.refusal
    assert live.refusals == 1
    assert live.in_force.queues.lease_s == 300


async def test_the_environment_wins_over_the_file_as_at_the_start(tmp_path: Path) -> None:
    running = Running(tmp_path / "config", SYBLINE_QUEUES__LEASE_S="7")
    (line,) = await running.write({"queues": {"lease_s": 60}})
    assert line["changes"] == []
    assert running.live.in_force.queues.lease_s == 7


async def test_without_a_file_there_is_nothing_to_follow() -> None:
    live = LiveSettings(load_settings(None, {"SYBLINE_DEVELOPMENT": "true"}), on_change=print)
    await live.check()
    assert (live.sha256, live.refusal, live.reloads) == ("", "", 0)


async def test_a_refusal_is_told_in_a_bounded_text(running: Running) -> None:
    await running.write("".join(f"key{number}: 1\n" for number in range(1_000)))
    assert len(running.live.refusal) == limits.SETTINGS_REFUSAL_CHARACTERS_MAX


def test_a_live_key_that_does_not_fit_what_stays_until_the_restart_waits_for_it() -> None:
    running = check_tree(
        {"development": True, "limits": {"body_bytes_max": "32MiB", "memory_high_mark_bytes": "1GiB"}},
        under="x",
    )  # fmt: skip
    wanted = with_values(
        running,
        {"limits.body_bytes_max": 1 << 20, "limits.memory_high_mark_bytes": 1 << 28, "queues.lease_s": 5.0},
    )  # fmt: skip
    split = split_change(running, wanted)
    assert split.live == {"queues.lease_s": 5.0}
    assert split.pending == ("limits.body_bytes_max", "limits.memory_high_mark_bytes")


def test_a_tree_in_a_document_is_judged_by_the_same_rules_and_named_after_its_place() -> None:
    with pytest.raises(ConfigError) as refused:
        check_tree(
            {"queues": {"lease_s": 0}, "raft": {"heartbeat_s": 9}, "logs": {}, "development": True},
            under="spec.config",
        )
    problems = refused.value.problems
    assert [line.partition(":")[0] for line in problems] == [
        "spec.config.logs", "spec.config.queues.lease_s", "spec.config.raft.heartbeat_s",
    ]  # fmt: skip


def test_what_is_bound_when_a_listener_or_the_log_is_opened_is_not_live() -> None:
    live = {path for path, key in KEYS.items() if key.is_live}
    assert live == {
        "log.level", "queues.lease_s", "sessions.token_duration_s",
        "limits.disk_low_mark_bytes", "limits.disk_low_mark_ratio",
        "limits.memory_high_mark_bytes", "limits.memory_high_mark_ratio",
    }  # fmt: skip
