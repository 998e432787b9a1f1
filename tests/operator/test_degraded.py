"""What the status says of members that are not well: the name, the reason, and what only the administrator can do."""

from dataclasses import replace
from typing import Any

import pytest

from sybline_operator.degraded import Ailment, troubles
from sybline_operator.member_rows import member_rows
from sybline_operator.names import Names
from sybline_operator.observation import (
    ClaimSeen,
    MemberStatusSeen,
    Observed,
    PodSeen,
    Recorded,
)
from sybline_operator.observe import pod_seen
from sybline_operator.reasons import Refusal
from sybline_operator.reconcile import look_again_s
from sybline_operator.status import Fact
from tests.operator.test_budget import members
from tests.operator.world import NAMES

NOW = "2026-01-01T00:00:00Z"
NO_ROOM = "0/3 nodes are available: 3 Insufficient cpu."
TIED = (
    "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match "
    "PersistentVolume's node affinity."
)


def well(voters: int = 3) -> Observed:
    """A cluster at rest, each member asked at its pod."""
    seen = members(voters)
    names = [NAMES.pod(ordinal) for ordinal in range(voters)]
    return replace(
        seen,
        statuses={name: said(at + 1) for at, name in enumerate(names)},
        claims={NAMES.claim_of(name): claim(name, f"claim-{name}") for name in names},
    )


def said(member: int, **told: Any) -> MemberStatusSeen:
    """Return what a member says of itself."""
    status = MemberStatusSeen(
        id=member, cluster_uid=77, configuration_version=1, removed=False, ready=True,
        not_ready_because="", version="0.1.0", term=1, last_index=9, commit_index=9,
        publishes_refused_because="", config_sha256="", settings_pending=(),
        settings_refused_because="",
    )  # fmt: skip
    return replace(status, **told)


def claim(name: str, uid: str) -> ClaimSeen:
    return ClaimSeen(NAMES.claim_of(name), uid, 1, 1, True, node="node3")


def with_pod(seen: Observed, ordinal: int, **changed: Any) -> Observed:
    """Return what is seen with another state of one pod, which does not answer."""
    pods = tuple(replace(pod, **changed) if pod.ordinal == ordinal else pod for pod in seen.pods)
    statuses = {k: v for k, v in seen.statuses.items() if k != NAMES.pod(ordinal)}
    return replace(seen, pods=pods, statuses=statuses)


def test_a_cluster_that_is_well_has_no_trouble() -> None:
    assert troubles(well(), 3) == []


def test_a_full_disk_is_told_with_the_name_of_its_member() -> None:
    full = "disk is almost full on member 2"
    seen = replace(well(), statuses={NAMES.pod(0): said(1, publishes_refused_because=full)})
    [trouble] = troubles(seen, 3)
    assert trouble.reason is Refusal.PUBLISHES_REFUSED
    assert trouble.text == "publishes are refused: disk is almost full on orders-1"


def test_a_pod_on_a_silent_node_is_told_with_what_to_do_if_it_is_gone_for_good() -> None:
    seen = with_pod(well(), 2, ready=False, is_lost=True, trouble="node3 does not answer")
    [trouble] = troubles(seen, 3)
    assert trouble.reason is Refusal.NODE_LOST
    assert "orders-2: node3 does not answer" in trouble.text
    assert "delete the claim data-orders-2" in trouble.text


def test_a_pod_whose_disk_is_on_a_lost_node_is_told_with_the_node() -> None:
    seen = with_pod(well(), 2, ready=False, running=False, node="", trouble=TIED)
    [trouble] = troubles(seen, 3)
    assert trouble.reason is Refusal.DISK_UNREACHABLE
    assert "if node3 is lost for good, delete the claim data-orders-2" in trouble.text


def test_for_want_of_room_nobody_is_advised_to_delete_a_disk() -> None:
    seen = with_pod(well(), 2, ready=False, running=False, node="", trouble=NO_ROOM)
    [trouble] = troubles(seen, 3)
    assert trouble.reason is Refusal.POD_CANNOT_START
    assert "delete" not in trouble.text


def test_a_voter_that_lags_is_named_although_its_pod_is_ready() -> None:
    [trouble] = troubles(members(3, lagging=1), 3)
    assert trouble.reason is Ailment.MEMBERS_UNFIT
    assert trouble.text == "orders-2 lags"


def test_the_worst_is_the_reason_and_all_are_told() -> None:
    seen = with_pod(well(5), 1, ready=False, running=False)
    seen = with_pod(seen, 4, ready=False, is_lost=True, trouble="node3 does not answer")
    found = troubles(seen, 5)
    assert [trouble.reason for trouble in found] == [Refusal.NODE_LOST, Ailment.PODS_MISSING]


def test_a_cluster_that_is_not_well_is_looked_at_more_often() -> None:
    well, ill = Fact("Degraded", False, "AllFit"), Fact("Degraded", True, "PublishesRefused")
    rest, ailing = look_again_s([well], is_done=True), look_again_s([ill], is_done=True)
    assert look_again_s([ill], is_done=False) < ailing < rest


# --- rows ---
def row(seen: Observed, ordinal: int) -> dict[str, Any]:
    return next(each for each in member_rows(seen) if each["name"] == NAMES.pod(ordinal))


def test_a_row_names_program_node_and_disk() -> None:
    found = row(well(), 1)
    assert found["version"] == "0.1.0"
    assert found["node"] == "node1"
    assert found["claimUid"] == "claim-orders-1"
    assert found["lagEntries"] == 0
    assert found["trouble"] == ""


def test_the_disk_of_a_member_stays_the_one_that_was_recorded() -> None:
    known = {2: Recorded(NAMES.pod(1), "old")}
    away = replace(with_pod(well(), 1, ready=False, running=False), recorded=known)
    assert row(away, 1)["claimUid"] == "old"
    assert "its claim was made anew" in row(away, 1)["trouble"]


def test_a_member_alone_has_whatever_disk_it_has() -> None:
    seen = replace(well(1), recorded={1: Recorded(NAMES.pod(0), "old")})
    assert row(seen, 0)["claimUid"] == "claim-orders-0"


def test_a_pod_that_answers_for_another_member_proves_nothing() -> None:
    known = {2: Recorded(NAMES.pod(1), "old")}
    other = replace(well(), recorded=known, statuses={NAMES.pod(1): said(9)})
    assert row(other, 1)["claimUid"] == "old"
    assert row(other, 1)["version"] == ""


def test_without_a_leader_the_record_is_kept() -> None:
    known = {each: Recorded(NAMES.pod(each - 1), f"claim-{each}") for each in (1, 2, 3)}
    seen = replace(well(), membership=None, statuses={}, recorded=known)
    rows = member_rows(seen)
    assert [each["memberId"] for each in rows] == ["1", "2", "3"]
    assert [each["claimUid"] for each in rows] == ["claim-1", "claim-2", "claim-3"]
    assert {each["role"] for each in rows} == {"unknown"}


def test_pods_that_nothing_is_known_of_have_rows_too() -> None:
    seen = replace(members(2), membership=None)
    assert [each["name"] for each in member_rows(seen)] == [NAMES.pod(0), NAMES.pod(1)]
    assert all("memberId" not in each for each in member_rows(seen))


# --- a pod as Kubernetes tells of it ---
def pod_body(*, ready: str, containers_ready: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "orders-2", "uid": "u"},
        "spec": {"nodeName": "node3"},
        "status": {
            "conditions": [
                {"type": "Ready", "status": ready},
                {"type": "ContainersReady", "status": containers_ready},
            ],
            "containerStatuses": [
                {"name": "broker", "ready": True, "state": {"running": {}}},
            ],
        },
    }


@pytest.mark.parametrize(
    ("ready", "containers_ready", "lost"),
    [("True", "True", False), ("False", "False", False), ("False", "True", True)],
)
def test_a_node_that_fell_silent_is_told_from_a_pod_that_is_not_ready(
    ready: str, containers_ready: str, lost: bool
) -> None:
    found: PodSeen = pod_seen(pod_body(ready=ready, containers_ready=containers_ready), 2, NOW)
    assert found.is_lost is lost
    assert ("node3 does not answer" in found.trouble) is lost
    assert Names("here", "orders").pod(2) == found.name
