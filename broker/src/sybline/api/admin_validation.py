"""Shape of every field of every request of sybline.v1.Admin. Pure; like `validation`."""

import re
from typing import Final, Protocol

from sybline import limits
from sybline.addresses import split_address
from sybline.api.validation import invalid
from sybline.v1 import admin_pb2

_PRINTABLE: Final = re.compile(r"[!-~]+( [!-~]+)*")


class _ExpectsVersion(Protocol):
    @property
    def expected_version(self) -> int: ...

    def HasField(self, field_name: str) -> bool: ...


def check_id(member: int, *, field: str = "id") -> None:
    """Refuse what is no member's id."""
    if not member:
        raise invalid(field, "id must be the id of a member, more than 0")
    if member >= limits.DRAWN_MEMBER_ID_END:
        most = limits.DRAWN_MEMBER_ID_END - 1
        raise invalid(field, "id {} exceeds the largest id, {}", member, most)


def check_version(request: _ExpectsVersion) -> None:
    """Refuse a change that does not say which configuration it is based on."""
    if not request.HasField("expected_version"):
        text = "expected_version is required: the version that ListMembers showed"
        raise invalid("expected_version", text)


def check_address(address: str) -> None:
    """Refuse what is not `host:port`."""
    try:
        _, port = split_address(address)
    except ValueError:
        port = None
    if port is None:
        text = "address must be host:port, as the other members reach it: {}"
        raise invalid("address", text, address)


def check_name(name: str) -> None:
    """Refuse what cannot be shown as a member's name; empty means its own."""
    if name and (len(name) > limits.HOST_CHARACTERS_MAX or not _PRINTABLE.fullmatch(name)):
        text = "name must be up to {} printable ASCII characters: {}"
        raise invalid("name", text, limits.HOST_CHARACTERS_MAX, name)


def check_new_member(request: admin_pb2.AddMemberRequest) -> None:
    """Check AddMember."""
    check_address(request.address)
    check_name(request.name)
    check_version(request)


def check_change(
    request: admin_pb2.PromoteMemberRequest | admin_pb2.RemoveMemberRequest,
) -> None:
    """Check PromoteMember and RemoveMember."""
    check_id(request.id)
    check_version(request)


def check_update(request: admin_pb2.UpdateMemberRequest) -> None:
    """Check UpdateMember."""
    check_id(request.id)
    check_address(request.address)
    check_version(request)


def check_transfer(request: admin_pb2.TransferLeadershipRequest) -> None:
    """Check TransferLeadership; no target means the fittest."""
    if request.target:
        check_id(request.target, field="target")
