"""What is said of a pod that does not get to run stands still while nothing changes: else a status would never rest."""

from typing import Any

import pytest

from sybline_operator.json_object import Json
from sybline_operator.observe import _trouble


def waiting(reason: str, message: str, **more: Any) -> Json:
    return {"image": "x:1", "state": {"waiting": {"reason": reason, "message": message}}, **more}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            waiting("ErrImagePull", "dial tcp: lookup nowhere: no such host"),
            waiting("ImagePullBackOff", 'Back-off pulling image "x:1"'),
        ),
        (
            waiting("CrashLoopBackOff", "back-off 10s", lastState={"terminated": {"exitCode": 2}}),
            waiting("CrashLoopBackOff", "back-off 20s", lastState={"terminated": {"exitCode": 2}}),
        ),
    ],
)
def test_states_that_take_turns_are_told_in_the_same_words(one: Json, other: Json) -> None:
    assert _trouble({}, one) == _trouble({}, other) != ""


@pytest.mark.parametrize(
    ("reason", "text"), [("Unschedulable", "0/3 nodes"), ("SchedulerError", "")]
)
def test_only_a_pod_that_fits_nowhere_is_in_trouble_with_the_scheduler(
    reason: str, text: str
) -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": "0/3 nodes",
    }
    assert _trouble({"conditions": [condition]}, {}) == text


def test_a_container_that_is_being_made_is_in_no_trouble() -> None:
    assert _trouble({}, waiting("ContainerCreating", "")) == ""


@pytest.mark.parametrize(
    ("ended_at", "is_ready", "text"),
    [
        (
            "2026-01-01T00:00:03Z",
            False,
            "ended soon after its start with status 1, and was started again",
        ),
        ("2026-01-01T00:00:03Z", True, ""),
        ("2026-01-01T08:00:00Z", False, ""),  # it served for hours, and catches up again
    ],
)
def test_a_container_that_ends_again_and_again_is_in_trouble_while_it_runs_for_a_moment_too(
    ended_at: str, is_ready: bool, text: str
) -> None:
    before = {"exitCode": 1, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": ended_at}
    container = {"state": {"running": {}}, "ready": is_ready, "lastState": {"terminated": before}}
    assert _trouble({}, container) == text
