"""Settings of a running member: what its file says is in force within seconds, or refused, and it still stops well."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.admin_cli import members
from tests.support.client import Client, logged_in
from tests.support.cluster import Cluster
from tests.support.volumes import MountedVolume
from tests.support.waiting import wait_for, wait_until

pytestmark = pytest.mark.integration
NOTICED_S = 15.0  # a look every two seconds, on a loaded machine


def config(level: str, lease_s: float, **more: Any) -> dict[str, bytes]:
    tree = {"log": {"level": level}, "queues": {"lease_s": lease_s}, **more}
    return {"sybline.yaml": yaml.safe_dump(tree).encode()}


async def test_a_changed_file_is_in_force_without_a_restart_and_a_bad_one_is_refused(
    own_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    volume = MountedVolume(tmp_path / "config", config("error", 300))
    path = str(tmp_path / "config" / "sybline.yaml")
    cluster = own_cluster(members=1, settings={"SYBLINE_CONFIG": path})
    await cluster.start_and_wait()
    process = cluster[1].process

    async def status() -> Any:
        return await members(cluster[1].address, "status")

    async def metric(name: str) -> float:
        return (await cluster.metrics(1))[name]

    async with await logged_in(cluster[1].address) as first:
        await first.create_queue("q")
        await first.publish("q", b"one")
        old = (await status())["config_sha256"]

        volume.update(config("info", 0.1, raft={"heartbeat_s": 0.2}))
        await wait_until(
            lambda: _reached(metric, "sybline_settings_reloads_total", 1),
            what="the file is in force", deadline_s=NOTICED_S,
        )  # fmt: skip
        told = await status()
        assert told["config_sha256"] != old
        assert told["settings_pending"] == ["raft.heartbeat_s"]
        text = cluster[1].log_text()
        assert "settings_in_force" in text, "the new level counts already"
        assert "member_ready" not in text, "it did not at the start"
        assert len(await first.fetch("q")) == 1, "leased for a tenth of a second"
        async with await logged_in(cluster[1].address) as second:
            await wait_until(
                lambda: _fetched(second), what="the short lease has ended", deadline_s=NOTICED_S
            )

        volume.update(config("loud", 0.1))
        await wait_until(
            lambda: _reached(metric, "sybline_settings_reloads_refused_total", 1),
            what="the bad file is refused", deadline_s=NOTICED_S,
        )  # fmt: skip
        refused = await status()
        assert "log.level" in refused["settings_refused_because"]
        assert refused["config_sha256"] == told["config_sha256"]
        assert "settings_refused" in cluster[1].log_text()
    assert cluster[1].process is process
    assert await cluster.stop_all() == {1: 0}
    await wait_for(
        lambda: "member_stopped" in cluster[1].log_text(), what="its last line", deadline_s=5
    )


async def _reached(metric: Callable[[str], Any], name: str, count: int) -> bool:
    return bool(await metric(name) == count)


async def _fetched(client: Client) -> bool:
    return len(await client.fetch("q")) == 1
