"""Kinds of values: what each takes, in code and in words.

All values come as text, so that file, environment and command line follow one rule. Pure: no file is looked at.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

from sybline import limits
from sybline.addresses import check_host_name, check_ipv6, split_address

LIVE: Final = "live"  # beside a kind of value: a change comes into force while the member runs
Value = TypeVar("Value")
Live: TypeAlias = Annotated[Value, LIVE]

_USER_NAME: Final = re.compile(r"[!-~]+")
_USER_NAME_FORBIDDEN: Final = frozenset(":/%,")
_BYTE_UNITS: Final = {"KiB": limits.KIB, "MiB": limits.MIB, "GiB": 1024 * limits.MIB}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a key takes, in words for error lines and the documentation."""

    text: str


def check_secret_text(secret: str) -> None:
    """Refuse what is too long for a secret, or is not text.

    Raises:
        ValueError: it is.
    """
    if len(secret.encode()) > limits.SECRET_BYTES_MAX:
        raise ValueError("too long")


def _check_listen_host(host: str) -> str:
    if ":" in host:
        check_ipv6(host)
    else:
        check_host_name(host)
    return host


def _check_optional_host_name(name: str) -> str:
    if name:
        check_host_name(name)
    return name


def _check_optional_address(address: str) -> str:
    return _check_peer_address(address) if address else address


def _check_peer_address(address: str) -> str:
    split_address(address)
    return address


def _parse_peers(value: object) -> object:
    """Turn `2=host:port,3=host:port`, the form of the environment, into a mapping."""
    if not isinstance(value, str):
        return value
    peers: dict[str, str] = {}
    for item in value.split(","):
        member, _, address = item.partition("=")
        if member.strip() in peers:
            raise ValueError("a member is listed twice")
        peers[member.strip()] = address.strip()
    return peers


def _check_path(path: Path | None) -> Path | None:
    if "\0" in str(path):
        raise ValueError("no file system takes this")
    return path


def _check_user_name(name: str) -> str:
    if not _USER_NAME.fullmatch(name) or _USER_NAME_FORBIDDEN.intersection(name):
        raise ValueError("not a user name")
    return name


def _parse_bytes(value: object) -> object:
    """Turn `16MiB` into a number; anything else is left to the parser of numbers."""
    text = str(value)
    for unit, size in _BYTE_UNITS.items():
        number = text.removesuffix(unit).rstrip()
        if number != text and number.isdecimal():
            return int(number) * size
    return value


def _check_secret(secret: SecretStr) -> SecretStr:
    check_secret_text(secret.get_secret_value())
    return secret


Flag: TypeAlias = Annotated[bool, Allowed("true or false")]
Port: TypeAlias = Annotated[
    int, Field(ge=1, le=limits.PORT_MAX), Allowed(f"a port from 1 to {limits.PORT_MAX}")
]
ListenHost: TypeAlias = Annotated[
    str, AfterValidator(_check_listen_host), Allowed("a host name or an IP address")
]
OwnMemberId: TypeAlias = Annotated[
    int | None,
    Field(ge=1, le=limits.MEMBER_ID_MAX),
    Allowed(f"a whole number from 1 to {limits.MEMBER_ID_MAX}"),
]
MemberName: TypeAlias = Annotated[
    str, AfterValidator(_check_optional_host_name), Allowed("a host name")
]
OwnAddress: TypeAlias = Annotated[
    str, AfterValidator(_check_optional_address), Allowed("host[:peer port]")
]
MemberId: TypeAlias = Annotated[
    int,
    Field(ge=1, le=limits.MEMBER_ID_MAX),
    Allowed(f"a whole number from 1 to {limits.MEMBER_ID_MAX}"),
]
PeerAddress: TypeAlias = Annotated[str, AfterValidator(_check_peer_address)]
Peers: TypeAlias = Annotated[
    Mapping[MemberId, PeerAddress],
    BeforeValidator(_parse_peers),
    Field(max_length=limits.MEMBERS_MAX - 1),
    Allowed(
        f"up to {limits.MEMBERS_MAX - 1} other members, each an id (1 to {limits.MEMBER_ID_MAX}) and "
        "host[:peer port]; as one text 2=host:1111,3=host:1111"
    ),
]
ClusterId: TypeAlias = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=limits.CLUSTER_ID_BYTES_MAX, pattern=r"^[A-Za-z0-9._-]+$"
    ),
    Allowed(f"1 to {limits.CLUSTER_ID_BYTES_MAX} letters, digits, '.', '_' and '-'"),
]
DirectoryPath: TypeAlias = Annotated[
    Path, AfterValidator(_check_path), Allowed("the path of a directory")
]
OptionalFile: TypeAlias = Annotated[
    Path | None, AfterValidator(_check_path), Allowed("the path of a file")
]
Secret: TypeAlias = Annotated[
    SecretStr,
    AfterValidator(_check_secret),
    Allowed(f"1 to {limits.SECRET_BYTES_MAX} bytes of UTF-8"),
]
UserName: TypeAlias = Annotated[
    str,
    Field(max_length=limits.USER_NAME_BYTES_MAX),
    AfterValidator(_check_user_name),
    Allowed(
        f"1 to {limits.USER_NAME_BYTES_MAX} printable ASCII characters "
        "without space, ':', '/', '%' and ','"
    ),
]
ElectionTimeout: TypeAlias = Annotated[
    float,
    Field(ge=limits.ELECTION_TIMEOUT_S_MIN, le=limits.ELECTION_TIMEOUT_S_MAX),
    Allowed(f"seconds from {limits.ELECTION_TIMEOUT_S_MIN:g} to {limits.ELECTION_TIMEOUT_S_MAX:g}"),
]
Heartbeat: TypeAlias = Annotated[
    float,
    Field(ge=limits.HEARTBEAT_S_MIN, le=limits.ELECTION_TIMEOUT_S_MAX),
    Allowed(
        f"seconds from {limits.HEARTBEAT_S_MIN:g}, "
        f"{limits.HEARTBEATS_PER_ELECTION_MIN} of them at most one raft.election_timeout_s"
    ),
]
CheckpointEntries: TypeAlias = Annotated[
    int,
    Field(ge=limits.CHECKPOINT_ENTRIES_MIN, le=limits.CHECKPOINT_ENTRIES_MAX),
    Allowed(
        f"a whole number from {limits.CHECKPOINT_ENTRIES_MIN} to {limits.CHECKPOINT_ENTRIES_MAX}"
    ),
]
TokenDuration: TypeAlias = Annotated[
    float,
    Field(ge=1, le=limits.TOKEN_DURATION_S_MAX),
    Allowed(f"seconds from 1 to {limits.TOKEN_DURATION_S_MAX:.0f}"),
]
Lease: TypeAlias = Annotated[
    float,
    Field(ge=limits.LEASE_S_MIN, le=limits.LEASE_S_MAX),
    Allowed(f"seconds from {limits.LEASE_S_MIN:g} to {limits.LEASE_S_MAX:g}"),
]
BodyBytes: TypeAlias = Annotated[
    int,
    BeforeValidator(_parse_bytes),
    Field(ge=limits.BODY_BYTES_MIN, le=limits.BODY_BYTES_MAX),
    Allowed(
        f"bytes from {limits.BODY_BYTES_MIN} to {limits.BODY_BYTES_MAX}, as in 16777216 or 16MiB"
    ),
]
DiskMark: TypeAlias = Annotated[
    int,
    BeforeValidator(_parse_bytes),
    Field(ge=limits.DISK_LOW_MARK_BYTES_MIN, le=limits.DISK_LOW_MARK_BYTES_MAX),
    Allowed(
        f"bytes from {limits.DISK_LOW_MARK_BYTES_MIN} to {limits.DISK_LOW_MARK_BYTES_MAX}, "
        "as in 1073741824 or 1GiB"
    ),
]
DiskRatio: TypeAlias = Annotated[
    float,
    Field(ge=limits.DISK_LOW_MARK_RATIO_MIN, le=limits.DISK_LOW_MARK_RATIO_MAX),
    Allowed(f"from {limits.DISK_LOW_MARK_RATIO_MIN:g} to {limits.DISK_LOW_MARK_RATIO_MAX:g}"),
]
MemoryMark: TypeAlias = Annotated[
    int | None,
    BeforeValidator(_parse_bytes),
    Field(ge=limits.MEMORY_HIGH_MARK_BYTES_MIN, le=limits.MEMORY_HIGH_MARK_BYTES_MAX),
    Allowed(
        f"bytes from {limits.MEMORY_HIGH_MARK_BYTES_MIN} to {limits.MEMORY_HIGH_MARK_BYTES_MAX}, "
        "as in 2147483648 or 2GiB"
    ),
]
MemoryRatio: TypeAlias = Annotated[
    float,
    Field(ge=limits.MEMORY_HIGH_MARK_RATIO_MIN, le=limits.MEMORY_HIGH_MARK_RATIO_MAX),
    Allowed(f"from {limits.MEMORY_HIGH_MARK_RATIO_MIN:g} to {limits.MEMORY_HIGH_MARK_RATIO_MAX:g}"),
]
ClientAuth: TypeAlias = Annotated[
    Literal["required", "optional", "none"], Allowed("required, optional or none")
]
PeerIdentity: TypeAlias = Annotated[
    str,
    StringConstraints(
        max_length=limits.TLS_IDENTITY_BYTES_MAX, pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$"
    ),
    Allowed(f"a URI of up to {limits.TLS_IDENTITY_BYTES_MAX} printable ASCII characters"),
]
TlsCheck: TypeAlias = Annotated[
    float,
    Field(ge=limits.TLS_CHECK_S_MIN, le=limits.TLS_CHECK_S_MAX),
    Allowed(f"seconds from {limits.TLS_CHECK_S_MIN:g} to {limits.TLS_CHECK_S_MAX:g}"),
]
LogLevel: TypeAlias = Annotated[
    Literal["debug", "info", "warning", "error"], Allowed("debug, info, warning or error")
]
