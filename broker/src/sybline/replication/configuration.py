"""Who the members are: one version of the membership, the changes that lead to the next, and its bytes. Pure.

A configuration is an entry of the log, and the latest entry counts, committed or not (thesis 4.1). Each change touches
one member, so a majority before and a majority after it have a member in common. Whether a change may be made *now*
(`change_rules.py`) is another question than whether it makes sense, which is answered here.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct, structs

from sybline import limits
from sybline.errors import NotApplied

FORMAT_VERSION: Final = 1
MemberNumber = Annotated[int, Meta(ge=1, lt=limits.DRAWN_MEMBER_ID_END)]
Name = Annotated[str, Meta(max_length=limits.HOST_CHARACTERS_MAX)]
Address = Annotated[str, Meta(max_length=limits.ADDRESS_CHARACTERS_MAX)]


class UnknownConfiguration(Exception):
    """The bytes are not a configuration that this version knows."""


class ChangeReason(Enum):
    """Why a change is refused."""

    VERSION = "version"
    PENDING = "pending"
    UNKNOWN_MEMBER = "unknown member"
    ALREADY_MEMBER = "already member"
    NOT_CAUGHT_UP = "not caught up"
    WOULD_BREAK_QUORUM = "would break quorum"
    LEADS = "leads"
    LAST_VOTER = "last voter"
    ADDRESS_TAKEN = "address taken"
    LIMIT = "limit"


class ChangeRefused(NotApplied):
    """A change of members was definitely not made."""

    status = "FAILED_PRECONDITION"
    retry_safe: ClassVar[bool] = False  # the same request finds the same reason

    def __init__(self, reason: ChangeReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class MemberInfo(Struct, frozen=True):
    """One member."""

    id: MemberNumber
    name: Name
    address: Address  # "host:port" for the other members; "": not known
    voter: bool  # else a learner: it gets the log, and counts nowhere


class AddLearner(Struct, frozen=True, tag="add"):
    """Let a member in."""

    id: MemberNumber
    name: Name
    address: Address


class Promote(Struct, frozen=True, tag="promote"):
    """Make a learner a voter."""

    id: MemberNumber


class Remove(Struct, frozen=True, tag="remove"):
    """Take a member out."""

    id: MemberNumber


class UpdateAddress(Struct, frozen=True, tag="address"):
    """Tell where a member is from now on."""

    id: MemberNumber
    address: Address


Change: TypeAlias = AddLearner | Promote | Remove | UpdateAddress


class Configuration(Struct, frozen=True):
    """One version of the membership."""

    version: int  # rises by one with each change
    cluster_uid: int  # drawn once, by the first leader that saw every first member; 0: not yet
    members: tuple[MemberInfo, ...]  # in the order of joining

    @property
    def voters(self) -> frozenset[int]:
        """Return the ids of those who elect and whose disks count."""
        return frozenset(member.id for member in self.members if member.voter)

    @property
    def learners(self) -> frozenset[int]:
        """Return the ids of those who only get the log."""
        return frozenset(member.id for member in self.members if not member.voter)

    @property
    def ids(self) -> tuple[int, ...]:
        """Return all ids, in the order of joining."""
        return tuple(member.id for member in self.members)

    def get(self, member: int) -> MemberInfo | None:
        """Return a member's entry; None: it is none."""
        return next((each for each in self.members if each.id == member), None)


NO_MEMBERS: Final = Configuration(0, 0, ())  # what a joiner knows


def first_configuration(members: Iterable[MemberInfo], cluster_uid: int = 0) -> Configuration:
    """Return what a new cluster begins with: equal for all its members, whatever order they are given in.

    `cluster_uid`: for a member that begins alone, and has nobody to agree on a number with.
    """
    return Configuration(0, cluster_uid, tuple(sorted(members, key=lambda member: member.id)))


def static_configuration(voters: Iterable[int], cluster_uid: int = 0) -> Configuration:
    """Return a first configuration of voters whose names and addresses nobody needs."""
    members = (MemberInfo(voter, "", "", voter=True) for voter in voters)
    return first_configuration(members, cluster_uid)


# --- changes ---
def changed(configuration: Configuration, change: Change) -> Configuration:
    """Return the configuration after a change.

    Raises:
        ChangeRefused: the change makes no sense in this configuration.
    """
    match change:
        case AddLearner():
            return with_learner(configuration, change.id, change.name, change.address)
        case Promote():
            return with_promoted(configuration, change.id)
        case Remove():
            return without(configuration, change.id)
        case UpdateAddress():
            return with_address(configuration, change.id, change.address)


def with_learner(
    configuration: Configuration, member: int, name: str, address: str
) -> Configuration:
    """Return the configuration with one more learner.

    Raises:
        ChangeRefused: ALREADY_MEMBER, ADDRESS_TAKEN, LIMIT.
    """
    if configuration.get(member) is not None:
        raise ChangeRefused(ChangeReason.ALREADY_MEMBER, f"member {member} is in the cluster")
    if len(configuration.members) >= limits.MEMBERS_MAX:
        text = f"the cluster has {limits.MEMBERS_MAX} members, as many as it can have"
        raise ChangeRefused(ChangeReason.LIMIT, text)
    _check_address_is_free(configuration, member, address)
    learner = MemberInfo(member, name, address, voter=False)
    return _next(configuration, (*configuration.members, learner))


def with_promoted(configuration: Configuration, member: int) -> Configuration:
    """Return the configuration with a learner as a voter.

    Raises:
        ChangeRefused: UNKNOWN_MEMBER, ALREADY_MEMBER (it votes).
    """
    found = _find(configuration, member)
    if found.voter:
        raise ChangeRefused(ChangeReason.ALREADY_MEMBER, f"member {member} is a voter")
    return _replaced(configuration, structs.replace(found, voter=True))


def without(configuration: Configuration, member: int) -> Configuration:
    """Return the configuration without a member.

    Raises:
        ChangeRefused: UNKNOWN_MEMBER, LAST_VOTER.
    """
    _find(configuration, member)
    if configuration.voters == {member}:
        text = f"member {member} is the only voter: nobody could lead without it"
        raise ChangeRefused(ChangeReason.LAST_VOTER, text)
    kept = tuple(each for each in configuration.members if each.id != member)
    return _next(configuration, kept)


def with_address(configuration: Configuration, member: int, address: str) -> Configuration:
    """Return the configuration with another address of a member.

    Raises:
        ChangeRefused: UNKNOWN_MEMBER, ADDRESS_TAKEN.
    """
    found = _find(configuration, member)
    _check_address_is_free(configuration, member, address)
    return _replaced(configuration, structs.replace(found, address=address))


def with_cluster_uid(configuration: Configuration, uid: int) -> Configuration:
    """Return the configuration of a cluster that has formed."""
    return structs.replace(configuration, version=configuration.version + 1, cluster_uid=uid)


def _find(configuration: Configuration, member: int) -> MemberInfo:
    found = configuration.get(member)
    if found is None:
        raise ChangeRefused(ChangeReason.UNKNOWN_MEMBER, f"there is no member {member}")
    return found


def _check_address_is_free(configuration: Configuration, member: int, address: str) -> None:
    for each in configuration.members:
        if address and each.address == address and each.id != member:
            text = f"member {each.id} has the address {address}"
            raise ChangeRefused(ChangeReason.ADDRESS_TAKEN, text)


def _replaced(configuration: Configuration, member: MemberInfo) -> Configuration:
    members = (member if each.id == member.id else each for each in configuration.members)
    return _next(configuration, tuple(members))


def _next(configuration: Configuration, members: tuple[MemberInfo, ...]) -> Configuration:
    return structs.replace(configuration, version=configuration.version + 1, members=members)


# --- bytes ---
_encoder = msgspec.msgpack.Encoder()
_decoder: "msgspec.msgpack.Decoder[tuple[int, Configuration]]" = msgspec.msgpack.Decoder(
    tuple[int, Configuration]
)


def encode_configuration(configuration: Configuration) -> bytes:
    """Return the payload of a CONFIGURATION entry: [format number, configuration]."""
    return _encoder.encode((FORMAT_VERSION, configuration))


def decode_configuration(data: bytes) -> Configuration:
    """Return the configuration in a payload.

    Raises:
        UnknownConfiguration: not one that this version knows.
    """
    try:
        version, configuration = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise UnknownConfiguration(str(error)) from error
    if version != FORMAT_VERSION:
        text = f"format version {version}, this program knows {FORMAT_VERSION}"
        raise UnknownConfiguration(text)
    return configuration
