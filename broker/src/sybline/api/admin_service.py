"""The service sybline.v1.Admin: its methods by name (proto/sybline/v1/admin.proto)."""

from collections.abc import Iterator
from typing import Any, Final

from sybline.api.credentials import Credentials
from sybline.api.gate import Gate
from sybline.api.handlers import Edge, Method, Service
from sybline.api.members import Members
from sybline.api.parts import ApiParts
from sybline.v1 import admin_pb2 as admin

ADMIN_SERVICE_NAME: Final = "sybline.v1.Admin"


def build_admin_service(parts: ApiParts, gate: Gate, edge: Edge) -> Service:
    """Return the service."""
    return Service(ADMIN_SERVICE_NAME, edge, _methods(Members(parts, gate, Credentials(parts))))


def _methods(members: Members) -> Iterator[Method[Any]]:
    """Yield all methods, in the order of the contract."""
    yield Method("ListMembers", admin.ListMembersRequest.FromString, members.list_members)
    yield Method("AddMember", admin.AddMemberRequest.FromString, members.add_member)
    yield Method("IdentifyMember", admin.IdentifyMemberRequest.FromString, members.identify_member)
    yield Method("PromoteMember", admin.PromoteMemberRequest.FromString, members.promote_member)
    yield Method("RemoveMember", admin.RemoveMemberRequest.FromString, members.remove_member)
    yield Method("UpdateMember", admin.UpdateMemberRequest.FromString, members.update_member)
    yield Method(
        "TransferLeadership",
        admin.TransferLeadershipRequest.FromString,
        members.transfer_leadership,
    )
    yield Method(
        "MemberStatus",
        admin.MemberStatusRequest.FromString,
        members.member_status,
        needs_session=False,  # it has another way in, too
    )
    yield Method("MayStop", admin.MayStopRequest.FromString, members.may_stop)
