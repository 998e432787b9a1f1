"""`spec.config`: judged by the broker's own rules, and written so that nobody starts with more than was let through."""

from typing import Any

import pytest
import yaml

from sybline.config import check_tree
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.manifests.configuration import (
    CONFIG_KEY,
    config_map,
    restart_settings,
    settings_file,
)
from sybline_operator.names import Names
from sybline_operator.resource.spec import SpecError, parse_spec


def wanted(**config: Any) -> Wanted:
    return Wanted(
        parse_spec({"config": config}),
        Names("shop", "orders"),
        Owner("orders", "0b6e"),
        "sybline:1",
    )


def written(wanted: Wanted, before: Wanted | None = None, present: str = "") -> dict[str, Any]:
    """Return what members are to read while the pods are made as `before` wants them."""
    starting_with = None if before is None else restart_settings(before)
    tree: dict[str, Any] = yaml.safe_load(
        settings_file(wanted, starting_with=starting_with, present=present)
    )
    check_tree(tree, under="file")
    return tree


def test_all_that_the_broker_would_refuse_is_told_at_once_and_by_key() -> None:
    with pytest.raises(SpecError) as refused:
        parse_spec(
            {
                "replicas": 2,
                "config": {
                    "queues": {"lease_s": 9_999},
                    "raft": {"heartbeat_s": 0.5},
                    "quues": {"lease_s": 5},
                    "listen": {"grpc_port": 1},
                },
            }
        )
    named = [problem.split(" ")[0].rstrip(":") for problem in refused.value.problems]
    assert sorted(named) == [
        "spec.config.listen", "spec.config.queues.lease_s", "spec.config.quues",
        "spec.config.raft.heartbeat_s", "spec.replicas",
    ]  # fmt: skip


def test_a_time_zone_that_nobody_knows_is_refused() -> None:
    windows = [{"start": "02:00", "hours": 2, "timeZone": "Europe/Nowhere"}]
    with pytest.raises(SpecError, match=r"windows\.0\.timeZone: .*no time zone"):
        parse_spec({"restarts": {"windows": windows}})


def test_members_read_the_spec_and_what_the_operator_sets() -> None:
    tree = written(wanted(queues={"lease_s": 5}, raft={"heartbeat_s": 0.2}))
    assert (tree["queues"], tree["raft"]) == ({"lease_s": 5}, {"heartbeat_s": 0.2})
    assert tree["member"]["cluster_id"] == "shop.orders"


def test_a_live_key_reaches_the_file_at_once_and_one_that_needs_a_restart_with_the_restart() -> (
    None
):
    before = wanted(raft={"heartbeat_s": 0.1}, limits={"disk_low_mark_ratio": 0.1})
    after = wanted(
        raft={"heartbeat_s": 0.2}, queues={"lease_s": 5}, limits={"body_bytes_max": 5_000}
    )
    tree = written(after, before)
    assert tree["raft"] == {"heartbeat_s": 0.1}
    assert tree["queues"] == {"lease_s": 5}
    assert "limits" not in tree
    assert written(after, after)["limits"] == {"body_bytes_max": 5_000}


def test_a_live_key_that_does_not_fit_what_members_start_with_waits_for_the_restart() -> None:
    before = wanted(limits={"body_bytes_max": "32MiB"}, queues={"lease_s": 7})
    after = wanted(limits={"memory_high_mark_bytes": "256MiB"}, queues={"lease_s": 5})
    present = settings_file(before, starting_with=None, present="")
    assert written(after, before, present) == yaml.safe_load(present)
    assert written(after, before, "no: [yaml")["limits"] == {"body_bytes_max": "32MiB"}
    assert written(after, after)["queues"] == {"lease_s": 5}


def test_the_file_is_what_the_config_map_holds() -> None:
    desired = wanted(queues={"lease_s": 5})
    assert config_map(desired, "text")["data"] == {CONFIG_KEY: "text"}
