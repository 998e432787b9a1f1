"""sybline.v1.Admin: who may call, what is refused in which words, and what comes back."""

import base64
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from sybline import limits
from sybline.errors import DeadlinePassed, NoLeader, NotProposed, OutcomeUnknown
from sybline.replication.configuration import (
    AddLearner,
    ChangeReason,
    ChangeRefused,
    Promote,
    Remove,
    UpdateAddress,
    without,
)
from sybline.replication.log import MemberIdentity
from sybline.replication.pressure import Resource, Shortage
from sybline.replication.stop_verdict import StopReason
from sybline.state_machine.commands import UnassignRole
from sybline.v1 import admin_pb2 as pb
from sybline.v1 import admin_pb2_grpc
from tests.support.api_server import Api
from tests.support.client import Client
from tests.support.cluster import ADMIN, ADMIN_PASSWORD
from tests.support.error_details import details_of
from tests.support.memory_membership import JOINER, LAST_INDEX
from tests.support.refusals import refused

NO_AUTH = "no valid auth token provided"
NO_LEADER = "cannot communicate with non-leader nodes"
NEW = "host-9:1111"
REQUESTS = {
    "ListMembers": pb.ListMembersRequest(),
    "AddMember": pb.AddMemberRequest(address=NEW, expected_version=4),
    "IdentifyMember": pb.IdentifyMemberRequest(address=NEW),
    "PromoteMember": pb.PromoteMemberRequest(id=JOINER, expected_version=4),
    "RemoveMember": pb.RemoveMemberRequest(id=3, expected_version=4),
    "UpdateMember": pb.UpdateMemberRequest(id=3, address="host-3:2222", expected_version=4),
    "TransferLeadership": pb.TransferLeadershipRequest(),
    "MemberStatus": pb.MemberStatusRequest(),
    "MayStop": pb.MayStopRequest(id=2),
}
CHANGES = ("AddMember", "PromoteMember", "RemoveMember", "UpdateMember")
Call = Callable[[str, Any], Any]


@pytest.fixture
def call(client: Client) -> Call:
    """Call a method as the administrator."""
    return lambda method, request: call_as(client, method, request)


async def call_as(client: Client, method: str, request: Any) -> Any:
    stub = admin_pb2_grpc.AdminStub(client.channel)
    return await getattr(stub, method)(request, metadata=client.metadata, timeout=10)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    return str(details_of(error)["ErrorInfo"].reason)


# --- who may ---
def test_these_are_all_methods() -> None:
    [service] = pb.DESCRIPTOR.services_by_name.values()
    assert sorted(REQUESTS) == sorted(method.name for method in service.methods)


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_call_without_a_session_is_refused(api: Api, method: str) -> None:
    async with Client(api.address) as stranger:
        with refused("UNAUTHENTICATED", NO_AUTH):
            await call_as(stranger, method, REQUESTS[method])
    assert api.log.changes == api.log.transfers == []


@pytest.mark.parametrize("roles", [(), ("PRODUCER", "CONSUMER")])
async def test_who_may_not_manage_the_cluster_is_refused_everything(
    api: Api, roles: tuple[str, ...]
) -> None:
    await api.add_user("ann", *roles)
    async with api.client("ann") as ann:
        for method, request in REQUESTS.items():
            with refused("PERMISSION_DENIED", "ManageCluster") as info:
                await call_as(ann, method, request)
            assert reason_of(info.value) == "FORBIDDEN"
    assert api.log.changes == api.log.transfers == []


async def test_an_administrator_other_than_the_first_may(api: Api) -> None:
    await api.add_user("ann", "ADMIN")
    async with api.client("ann") as ann:
        assert (await call_as(ann, "MayStop", REQUESTS["MayStop"])).allowed


async def test_a_right_that_was_taken_elsewhere_is_known_before_anything_changes(api: Api) -> None:
    await api.add_user("ann", "ADMIN")
    async with api.client("ann") as ann:
        api.log.commit_elsewhere(UnassignRole(api.admin, "ann", "ADMIN"))
        for method in (*CHANGES, "TransferLeadership"):
            with refused("PERMISSION_DENIED"):
                await call_as(ann, method, REQUESTS[method])
    assert api.log.changes == api.log.transfers == []


# --- without a leader ---
def basic(username: str, password: str) -> tuple[tuple[str, str], ...]:
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return (("authorization", f"Basic {encoded}"),)


async def status_as(api: Api, metadata: tuple[tuple[str, str], ...]) -> pb.MemberStatusResponse:
    async with Client(api.address) as nobody:
        stub = admin_pb2_grpc.AdminStub(nobody.channel)
        found: pb.MemberStatusResponse = await stub.MemberStatus(
            REQUESTS["MemberStatus"], metadata=metadata, timeout=10
        )
    return found


async def test_without_a_leader_a_member_tells_its_status_to_who_knows_its_settings(
    api: Api,
) -> None:
    api.log.error = NoLeader("nobody leads")
    found = await status_as(api, basic(ADMIN, ADMIN_PASSWORD))
    assert [each.id for each in found.configured] == [1, 2, 3]
    assert found.member.id == 1


@pytest.mark.parametrize(
    "shown", [(ADMIN, "wrong"), ("ann", ADMIN_PASSWORD), ("", ""), (ADMIN + ":x", ADMIN_PASSWORD)]
)
async def test_a_wrong_password_tells_nothing(api: Api, shown: tuple[str, str]) -> None:
    with refused("UNAUTHENTICATED", "invalid login details"):
        await status_as(api, basic(*shown))
    assert api.metrics.failed_logins == 1


@pytest.mark.parametrize("value", ["Basic", "Basic %%%", "Basic YWJj", "Basic /w==", "Digest YTpi"])
async def test_what_is_no_password_is_no_way_in(api: Api, value: str) -> None:
    with refused("UNAUTHENTICATED", NO_AUTH):
        await status_as(api, (("authorization", value),))


async def test_guessing_at_it_is_slowed_down_like_guessing_at_a_login(api: Api) -> None:
    for _ in range(limits.FAILED_LOGINS_PER_MINUTE):
        with refused("UNAUTHENTICATED"):
            await status_as(api, basic(ADMIN, "wrong"))
    with refused("RESOURCE_EXHAUSTED", "too many failed logins"):
        await status_as(api, basic(ADMIN, ADMIN_PASSWORD))


async def test_no_other_call_takes_a_password(api: Api) -> None:
    async with Client(api.address) as nobody:
        stub = admin_pb2_grpc.AdminStub(nobody.channel)
        for method in REQUESTS.keys() - {"MemberStatus"}:
            with refused("UNAUTHENTICATED", NO_AUTH):
                await getattr(stub, method)(
                    REQUESTS[method], metadata=basic(ADMIN, ADMIN_PASSWORD), timeout=10
                )
    assert api.log.changes == api.log.transfers == []


# --- shape ---
@pytest.mark.parametrize(
    ("method", "request_", "field", "text"),
    [
        ("AddMember", pb.AddMemberRequest(expected_version=4), "address", "host:port"),
        (
            "AddMember",
            pb.AddMemberRequest(address="host-9", expected_version=4),
            "address",
            "host:port",
        ),
        (
            "AddMember",
            pb.AddMemberRequest(address="a b:1", expected_version=4),
            "address",
            "'a b:1'",
        ),
        (
            "AddMember",
            pb.AddMemberRequest(address="h:70000", expected_version=4),
            "address",
            "'h:70000'",
        ),
        (
            "AddMember",
            pb.AddMemberRequest(address="[::1:1", expected_version=4),
            "address",
            "'[::1:1'",
        ),
        ("AddMember", pb.AddMemberRequest(address=NEW), "expected_version", "is required"),
        (
            "AddMember",
            pb.AddMemberRequest(address=NEW, name="a\nb", expected_version=4),
            "name",
            "printable",
        ),
        (
            "AddMember",
            pb.AddMemberRequest(address=NEW, name="n" * 254, expected_version=4),
            "name",
            "up to 253",
        ),
        ("PromoteMember", pb.PromoteMemberRequest(expected_version=4), "id", "more than 0"),
        ("PromoteMember", pb.PromoteMemberRequest(id=3), "expected_version", "is required"),
        ("PromoteMember", pb.PromoteMemberRequest(id=1 << 48, expected_version=4), "id", "exceeds"),
        ("RemoveMember", pb.RemoveMemberRequest(expected_version=4), "id", "more than 0"),
        ("RemoveMember", pb.RemoveMemberRequest(id=3), "expected_version", "is required"),
        (
            "UpdateMember",
            pb.UpdateMemberRequest(address=NEW, expected_version=4),
            "id",
            "more than 0",
        ),
        ("UpdateMember", pb.UpdateMemberRequest(id=3, expected_version=4), "address", "host:port"),
        (
            "UpdateMember",
            pb.UpdateMemberRequest(id=3, address=NEW),
            "expected_version",
            "is required",
        ),
        ("IdentifyMember", pb.IdentifyMemberRequest(address="host-9"), "address", "host:port"),
        ("TransferLeadership", pb.TransferLeadershipRequest(target=1 << 48), "target", "exceeds"),
        ("MayStop", pb.MayStopRequest(), "id", "more than 0"),
    ],
)
async def test_a_field_that_cannot_be_is_named(
    api: Api, call: Call, method: str, request_: Any, field: str, text: str
) -> None:
    with refused("INVALID_ARGUMENT", text) as info:
        await call(method, request_)
    [violation] = details_of(info.value)["BadRequest"].field_violations
    assert violation.field == field
    assert api.log.changes == api.log.transfers == []


async def test_version_0_may_be_expected(api: Api, call: Call) -> None:
    with refused("ABORTED"):
        await call("RemoveMember", pb.RemoveMemberRequest(id=3, expected_version=0))


# --- looking ---
async def test_the_leaders_view_shows_every_member(api: Api, call: Call) -> None:
    api.log.lags = {2: 7, 3: limits.CAUGHT_UP_LAG_ENTRIES_MAX + 1}
    api.log.heard_ages_s = {2: 0.25, 3: math.inf}
    view = (await call("ListMembers", pb.ListMembersRequest())).membership
    assert (view.confirmed, view.committed, view.leader, view.observer, view.term) == (
        True, True, 1, 1, 5,
    )  # fmt: skip
    assert (view.configuration.version, view.configuration.cluster_uid) == (4, 77)
    first, second, third = view.members
    assert (first.member.id, first.leads, first.healthy, first.caught_up) == (1, True, True, True)
    assert (second.member.name, second.member.address) == ("m2", "host-2:1111")
    assert second.member.role == pb.MEMBER_ROLE_VOTER
    assert (second.lag_entries, second.match_index, second.heard_age_ms) == (7, LAST_INDEX - 7, 250)
    assert (second.healthy, second.caught_up) == (True, True)
    assert (third.healthy, third.caught_up, third.connected) == (False, False, False)
    assert not third.HasField("heard_age_ms")


async def test_a_followers_own_view_leaves_out_what_only_a_leader_knows(
    api: Api, call: Call
) -> None:
    api.log.leading = 2
    view = (await call("ListMembers", pb.ListMembersRequest(own_view=True))).membership
    assert (view.confirmed, view.observer, view.leader, view.age_ms) == (False, 1, 2, 200)
    assert not any(
        each.HasField(field)
        for each in view.members
        for field in ("match_index", "lag_entries", "heard_age_ms")
    )
    assert not any(each.healthy or each.caught_up for each in view.members)


async def test_without_a_leader_only_the_own_view_is_to_be_had(api: Api, call: Call) -> None:
    api.log.leading = None
    with refused("UNAVAILABLE", NO_LEADER):
        await call("ListMembers", pb.ListMembersRequest())
    view = (await call("ListMembers", pb.ListMembersRequest(own_view=True))).membership
    assert (view.leader, len(view.members)) == (0, 3)


async def test_the_status_says_what_the_member_is(api: Api, call: Call) -> None:
    status = await call("MemberStatus", pb.MemberStatusRequest())
    assert (status.member.id, status.member.role) == (1, pb.MEMBER_ROLE_VOTER)
    assert (status.ready, status.not_ready_because, status.removed) == (True, "", False)
    assert (status.version, status.configuration_version) == ("0.1.0", 4)
    assert status.raft_role == pb.RAFT_ROLE_LEADER
    assert status.last_index >= status.applied_index > 0
    assert (status.log_bytes, status.log_live_bytes) == (3 << 20, 1 << 20)
    assert status.disk_free_bytes == 5 << 30
    assert status.publishes_refused_because == ""


async def test_the_status_tells_what_is_wrong(api: Api, call: Call) -> None:
    api.facts = replace(api.facts, not_ready_because="no leader is known")
    api.log.short = Shortage(2, Resource.DISK)
    api.log.configuration = without(api.log.configuration, 1)
    api.log.is_removed = True
    status = await call("MemberStatus", pb.MemberStatusRequest())
    assert (status.ready, status.not_ready_because) == (False, "no leader is known")
    assert status.publishes_refused_because == "disk is almost full on member 2"
    assert (status.member.id, status.removed) == (1, True)
    assert status.member.role == pb.MEMBER_ROLE_UNSPECIFIED


# --- the verdict ---
async def test_a_stop_is_judged_on_the_leaders_view(api: Api, call: Call) -> None:
    verdict = await call("MayStop", pb.MayStopRequest(id=2))
    assert (verdict.allowed, verdict.reason) == (True, pb.STOP_REASON_ALLOWED)
    assert list(verdict.evidence.fit_without_it) == [1, 3]
    assert (verdict.evidence.voters, verdict.evidence.quorum) == (3, 2)
    assert verdict.evidence.membership.confirmed
    assert verdict.evidence.heard_age_ms_max == 1000
    assert verdict.evidence.lag_entries_max == limits.CAUGHT_UP_LAG_ENTRIES_MAX


async def test_a_leader_is_to_hand_over_first(api: Api, call: Call) -> None:
    verdict = await call("MayStop", pb.MayStopRequest(id=1))
    assert (verdict.allowed, verdict.reason) == (False, pb.STOP_REASON_LEADS)
    assert verdict.evidence.hand_over_to in (2, 3)


async def test_without_a_leader_nobody_may_be_stopped(api: Api, call: Call) -> None:
    api.log.leading = None
    verdict = await call("MayStop", pb.MayStopRequest(id=2))
    assert (verdict.allowed, verdict.reason) == (False, pb.STOP_REASON_VIEW_UNCONFIRMED)
    assert len(verdict.evidence.membership.members) == 3


def test_every_reason_of_a_verdict_has_its_value() -> None:
    names = {f"STOP_REASON_{reason.name}" for reason in StopReason}
    assert names == set(pb.StopReason.keys()) - {"STOP_REASON_UNSPECIFIED"}


# --- changing ---
async def test_a_member_is_added_under_the_id_that_it_says(api: Api, call: Call) -> None:
    answer = await call("AddMember", pb.AddMemberRequest(address=NEW, expected_version=4))
    assert api.log.changes == [(AddLearner(JOINER, "nine", NEW), False)]
    assert (answer.id, answer.configuration.version) == (JOINER, 5)
    added = answer.configuration.members[-1]
    assert (added.id, added.address, added.role) == (JOINER, NEW, pb.MEMBER_ROLE_LEARNER)


async def test_a_member_is_added_under_the_name_that_it_is_given(api: Api, call: Call) -> None:
    request = pb.AddMemberRequest(address=NEW, name="rack 7", expected_version=4)
    assert (await call("AddMember", request)).configuration.members[-1].name == "rack 7"


async def test_nobody_is_added_who_does_not_say_who_it_is(api: Api, call: Call) -> None:
    with refused("FAILED_PRECONDITION", "no member answers at 'host-8:1111'") as info:
        await call("AddMember", pb.AddMemberRequest(address="host-8:1111", expected_version=4))
    assert reason_of(info.value) == "UNREACHABLE"
    assert api.log.changes == []


async def test_who_listens_at_an_address_is_told_whatever_it_belongs_to(
    api: Api, call: Call
) -> None:
    api.log.listeners[NEW] = MemberIdentity(JOINER, "nine", cluster_uid=78)
    found = await call("IdentifyMember", pb.IdentifyMemberRequest(address=NEW))
    assert (found.id, found.name, found.cluster_uid) == (JOINER, "nine", 78)
    with refused("FAILED_PRECONDITION", "no member answers at 'host-8:1111'") as info:
        await call("IdentifyMember", pb.IdentifyMemberRequest(address="host-8:1111"))
    assert reason_of(info.value) == "UNREACHABLE"


async def test_a_member_of_another_cluster_is_not_added(api: Api, call: Call) -> None:
    api.log.listeners[NEW] = MemberIdentity(JOINER, "nine", cluster_uid=78)
    with refused("FAILED_PRECONDITION", "another cluster") as info:
        await call("AddMember", pb.AddMemberRequest(address=NEW, expected_version=4))
    assert reason_of(info.value) == "STRANGER"
    api.log.listeners[NEW] = MemberIdentity(JOINER, "nine", cluster_uid=77)
    await call("AddMember", pb.AddMemberRequest(address=NEW, expected_version=4))


async def test_each_change_reaches_the_leader_as_it_was_asked_for(api: Api, call: Call) -> None:
    await call("AddMember", pb.AddMemberRequest(address=NEW, expected_version=4))
    await call("PromoteMember", pb.PromoteMemberRequest(id=JOINER, expected_version=5))
    await call("UpdateMember", pb.UpdateMemberRequest(id=3, address="h:3", expected_version=6))
    answer = await call(
        "RemoveMember", pb.RemoveMemberRequest(id=2, expected_version=7, force=True)
    )
    assert api.log.changes[1:] == [
        (Promote(JOINER), False),
        (UpdateAddress(3, "h:3"), False),
        (Remove(2), True),
    ]
    assert [(m.id, m.role) for m in answer.configuration.members] == [
        (1, pb.MEMBER_ROLE_VOTER),
        (3, pb.MEMBER_ROLE_VOTER),
        (JOINER, pb.MEMBER_ROLE_VOTER),
    ]


CODES = {
    ChangeReason.VERSION: "ABORTED",
    ChangeReason.PENDING: "FAILED_PRECONDITION",
    ChangeReason.UNKNOWN_MEMBER: "NOT_FOUND",
    ChangeReason.ALREADY_MEMBER: "ALREADY_EXISTS",
    ChangeReason.NOT_CAUGHT_UP: "FAILED_PRECONDITION",
    ChangeReason.WOULD_BREAK_QUORUM: "FAILED_PRECONDITION",
    ChangeReason.LEADS: "FAILED_PRECONDITION",
    ChangeReason.LAST_VOTER: "FAILED_PRECONDITION",
    ChangeReason.ADDRESS_TAKEN: "ALREADY_EXISTS",
    ChangeReason.LIMIT: "RESOURCE_EXHAUSTED",
}


@pytest.mark.parametrize("reason", ChangeReason)
async def test_a_refused_change_says_why_in_code_text_and_details(
    api: Api, call: Call, reason: ChangeReason
) -> None:
    api.log.change_error = ChangeRefused(reason, "because of the moon")
    with refused(CODES[reason], "because of the moon") as info:
        await call("RemoveMember", pb.RemoveMemberRequest(id=3, expected_version=4))
    details = details_of(info.value)
    assert details["ErrorInfo"].reason == reason.name
    assert details["ErrorInfo"].metadata["member"] == "3"
    passes = reason in (ChangeReason.PENDING, ChangeReason.NOT_CAUGHT_UP)
    assert ("RetryInfo" in details) == passes


@pytest.mark.parametrize(
    ("raised", "code", "reason"),
    [
        (NoLeader("none"), "UNAVAILABLE", "NO_LEADER"),
        (OutcomeUnknown("lost"), "UNKNOWN", "OUTCOME_UNKNOWN"),
        (DeadlinePassed("late"), "DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN"),
        (NotProposed("draining"), "UNAVAILABLE", "NOT_APPLIED"),
    ],
)
@pytest.mark.parametrize("method", CHANGES)
async def test_a_change_without_an_answer_says_whether_it_may_be_made(
    api: Api, call: Call, method: str, raised: Any, code: str, reason: str
) -> None:
    api.log.change_error = raised
    with refused(code) as info:
        await call(method, REQUESTS[method])
    assert reason_of(info.value) == reason


async def test_a_change_that_was_made_without_an_answer_is_not_made_twice(
    api: Api, call: Call
) -> None:
    api.log.lost_change = OutcomeUnknown("the leader changed")
    request = pb.RemoveMemberRequest(id=3, expected_version=4)
    with refused("UNKNOWN"):
        await call("RemoveMember", request)
    with refused("ABORTED"):
        await call("RemoveMember", request)
    assert api.log.configuration.version == 5


# --- leadership ---
@pytest.mark.parametrize("target", [0, 3])
async def test_leadership_moves_to_who_is_named_or_to_the_fittest(
    api: Api, call: Call, target: int
) -> None:
    answer = await call("TransferLeadership", pb.TransferLeadershipRequest(target=target))
    assert answer.leader == (target or 2)
    assert api.log.transfers == [target or None]


async def test_a_learner_and_a_stranger_cannot_lead(api: Api, call: Call) -> None:
    await call("AddMember", pb.AddMemberRequest(address=NEW, expected_version=4))
    with refused("FAILED_PRECONDITION", "is a learner") as info:
        await call("TransferLeadership", pb.TransferLeadershipRequest(target=JOINER))
    assert reason_of(info.value) == "NOT_A_VOTER"
    with refused("NOT_FOUND", "there is no member 8") as info:
        await call("TransferLeadership", pb.TransferLeadershipRequest(target=8))
    assert reason_of(info.value) == "UNKNOWN_MEMBER"
    assert api.log.transfers == []


async def test_a_transfer_that_nobody_takes_is_refused(api: Api, call: Call) -> None:
    api.log.can_transfer = False
    with refused("FAILED_PRECONDITION", "did not move away from member 1") as info:
        await call("TransferLeadership", pb.TransferLeadershipRequest())
    assert reason_of(info.value) == "NOT_TRANSFERRED"
