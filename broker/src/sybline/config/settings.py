"""Everything that can be set: a frozen tree, each key with its default and what it is for.

`KEYS` lists the same keys flat, as "section.key", for those who read sources, print settings or check the
documentation. What is marked `Live` comes into force while a member runs (`config.live`), all else with its next start.
Settings that have to fit each other are checked by `rules`. Nothing here reads files or the environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo

from sybline import limits
from sybline.config import values

PREFIX: Final = "SYBLINE_"  # of every key in the environment


class Section(BaseModel):
    """A group of keys; nothing changes after loading."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class MemberSection(Section):
    """Who this member is, and who the others are."""

    bootstrap: values.Flag = Field(
        default=False,
        description="an empty data directory begins a cluster, with `member.peers`; else it waits to "
        "be added to one",
    )
    bootstrap_seed_file: values.OptionalFile = Field(
        default=None,
        description="while this file names this member (`member.name`), an empty data directory begins a "
        "cluster of one, which others are added to",
    )
    recovery_file: values.OptionalFile = Field(
        default=None,
        description="an order in this file lets the member of this disk go on alone, once, when a majority is lost "
        "for good (docs/operations/quorum-loss.md)",
    )
    id: values.OwnMemberId = Field(
        default=None,
        description="number of a first member, required with `member.bootstrap`; who joins draws one",
    )
    name: values.MemberName = Field(
        default="", description="what people call this member; without it, the host name"
    )
    address: values.OwnAddress = Field(
        default="",
        description="where other members reach this one; without it, host name and peer port",
    )
    cluster_id: values.ClusterId = Field(
        default="sybline", description="members with another one are refused"
    )
    peers: values.Peers = Field(
        default={},
        description="the other first members, equal on all of them; later, addresses to try beside "
        "those the cluster knows",
    )
    data_dir: values.DirectoryPath = Field(
        default=Path("node_data"), description="everything durable, for this member alone"
    )


class ListenSection(Section):
    """Where this member listens."""

    host: values.ListenHost = Field(
        default="0.0.0.0",  # noqa: S104  a broker in a container that listens on loopback serves nobody
        description="address of the three listeners; `::` for IPv6",
    )
    grpc_port: values.Port = Field(default=2221, description="clients")
    http_port: values.Port = Field(default=7878, description="health and metrics")
    peer_port: values.Port = Field(default=1111, description="the other members, nobody else")


class PeerSection(Section):
    """How members trust each other."""

    secret: values.Secret = Field(
        default=SecretStr(""),
        description="known to all members; required with peers and without TLS, outside development",
    )
    secret_file: values.OptionalFile = Field(
        default=None, description="file that holds `peer.secret`"
    )


class RaftSection(Section):
    """Times and distances of replication."""

    election_timeout_s: values.ElectionTimeout = Field(
        default=1.0, description="after so long without a leader a member stands for election"
    )
    heartbeat_s: values.Heartbeat = Field(
        default=0.15, description="how often an idle leader lets the others hear from it"
    )
    checkpoint_entries: values.CheckpointEntries = Field(
        default=limits.CHECKPOINT_ENTRIES_DEFAULT,
        description="log entries between checkpoints; durability does not depend on it",
    )


class StorageSection(Section):
    """How the log is kept."""

    compress_cold: values.Flag = Field(
        default=False,
        description="compress old messages when their files are rewritten; costs time when they are fetched",
    )


class AdminSection(Section):
    """The first administrator, created once when a cluster forms."""

    username: values.UserName = Field(
        default="sybline", description="name of the first administrator"
    )
    password: values.Secret = Field(
        default=SecretStr(""),
        description="of the first administrator; outside development one of the three is required",
    )
    password_file: values.OptionalFile = Field(
        default=None, description="file that holds `admin.password`, or gets the generated one"
    )
    generate_password: values.Flag = Field(
        default=False,
        description="write a random password into `admin.password_file` (mode 0600), once",
    )


class SessionsSection(Section):
    """Logins."""

    token_duration_s: values.Live[values.TokenDuration] = Field(
        default=limits.TOKEN_MS_DEFAULT / 1000,
        description="how long a token is valid, from the login on",
    )


class QueuesSection(Section):
    """Defaults of queues."""

    lease_s: values.Live[values.Lease] = Field(
        default=limits.LEASE_MS_DEFAULT / 1000,
        description="how long a fetched message stays with its session",
    )


class LimitsSection(Section):
    """What a member may use up before it refuses publishes."""

    body_bytes_max: values.BodyBytes = Field(
        default=limits.BODY_BYTES_DEFAULT,
        description="the largest body a client may publish through this member",
    )
    disk_low_mark_bytes: values.Live[values.DiskMark] = Field(
        default=limits.DISK_LOW_MARK_BYTES_DEFAULT,
        description="with less free, the disk is almost full; the smaller of both marks counts",
    )
    disk_low_mark_ratio: values.Live[values.DiskRatio] = Field(
        default=limits.DISK_LOW_MARK_RATIO_DEFAULT,
        description="the same as a share of the disk",
    )
    memory_high_mark_bytes: values.Live[values.MemoryMark] = Field(
        default=None,
        description="with more resident, memory is almost full; without it, the ratio decides",
    )
    memory_high_mark_ratio: values.Live[values.MemoryRatio] = Field(
        default=limits.MEMORY_HIGH_MARK_RATIO_DEFAULT,
        description="the same as a share of the memory of the machine, or of its control group",
    )


class PasswordsSection(Section):
    """How passwords are stored."""

    pepper: values.Secret = Field(
        default=SecretStr(""),
        description="goes into every password hash; on all members the same, for ever",
    )
    pepper_file: values.OptionalFile = Field(
        default=None, description="file that holds `passwords.pepper`"
    )


class TlsSection(Section):
    """Certificates of the three listeners."""

    enabled: values.Flag = Field(
        default=False, description="TLS on all three listeners; nobody is answered in plain text"
    )
    directory: values.DirectoryPath = Field(
        default=Path("cert"),
        description="where `ca-cert.pem`, `cert.pem` and `key.pem` are that no key here names",
    )
    ca_file: values.OptionalFile = Field(
        default=None, description="the CAs that `tls.cert_file` comes from"
    )
    cert_file: values.OptionalFile = Field(
        default=None, description="this member's certificate, and intermediates after it"
    )
    key_file: values.OptionalFile = Field(
        default=None, description="its private key, without a password"
    )
    client_auth: values.ClientAuth = Field(
        default="optional", description="whether gRPC clients must show a certificate"
    )
    client_ca_file: values.OptionalFile = Field(
        default=None,
        description="the CAs that certificates of clients come from; without it, `tls.ca_file`",
    )
    peer_ca_file: values.OptionalFile = Field(
        default=None,
        description="the CAs of certificates between members; without it, `tls.ca_file`",
    )
    peer_cert_file: values.OptionalFile = Field(
        default=None, description="what other members see; without it, `tls.cert_file`"
    )
    peer_key_file: values.OptionalFile = Field(
        default=None, description="the private key of `tls.peer_cert_file`"
    )
    peer_identity: values.PeerIdentity = Field(
        default="",
        description="URI name that only members' certificates carry; "
        "without it, `sybline://<member.cluster_id>/peer`",
    )
    check_s: values.TlsCheck = Field(
        default=limits.TLS_CHECK_S_DEFAULT, description="how often the files are looked at"
    )


class MetricsSection(Section):
    """The metrics page."""

    require_client_cert: values.Flag = Field(
        default=False, description="show metrics only to who has a client certificate"
    )


class GrpcSection(Section):
    """The client listener."""

    reflection: values.Flag = Field(default=True, description="let tools list the services")


class LogSection(Section):
    """What is logged on standard error."""

    level: values.Live[values.LogLevel] = Field(
        default="info", description="the least important events that are logged"
    )


class Settings(Section):
    """All settings of one member."""

    development: values.Flag = Field(
        default=False,
        description="for trying things out: the admin password is `sybline` unless set, "
        "members may talk without a secret",
    )
    member: MemberSection
    listen: ListenSection = ListenSection()
    peer: PeerSection = PeerSection()
    raft: RaftSection = RaftSection()
    storage: StorageSection = StorageSection()
    admin: AdminSection = AdminSection()
    sessions: SessionsSection = SessionsSection()
    queues: QueuesSection = QueuesSection()
    limits: LimitsSection = LimitsSection()
    passwords: PasswordsSection = PasswordsSection()
    tls: TlsSection = TlsSection()
    metrics: MetricsSection = MetricsSection()
    grpc: GrpcSection = GrpcSection()
    log: LogSection = LogSection()


@dataclass(frozen=True, slots=True)
class Key:
    """One setting, seen flat."""

    path: str
    allowed: str
    purpose: str
    default: str  # "" means none
    is_required: bool
    is_secret: bool
    is_live: bool  # a change comes into force without a restart

    @property
    def environment_name(self) -> str:
        """Return the variable that sets it."""
        return PREFIX + self.path.upper().replace(".", "__")


def show_setting(value: object) -> str:
    """Return a value as one would write it; secrets stay hidden, no value is ""."""
    match value:
        case SecretStr():
            return "(set)" if value.get_secret_value() else ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.10g}"
        case Mapping():
            return ",".join(f"{member}={address}" for member, address in sorted(value.items()))
        case None:
            return ""
    return str(value)


def value_of(settings: Settings, path: str) -> object:
    """Return the value of the key "section.key"."""
    found: object = settings
    for part in path.split("."):
        found = getattr(found, part)
    return found


def with_values(settings: Settings, chosen: Mapping[str, object]) -> Settings:
    """Return settings in which these keys, as "section.key", have these values."""
    for path, value in chosen.items():
        section, _, name = path.partition(".")
        changed = getattr(settings, section).model_copy(update={name: value})
        settings = settings.model_copy(update={section: changed})
    return settings


def _build_key(path: str, field: FieldInfo) -> Key:
    return Key(
        path=path,
        allowed=next(each.text for each in field.metadata if isinstance(each, values.Allowed)),
        purpose=field.description or "",
        default="" if field.is_required() else show_setting(field.default),
        is_required=field.is_required(),
        is_secret=isinstance(field.default, SecretStr),
        is_live=values.LIVE in field.metadata,
    )


def _list_keys() -> dict[str, Key]:
    keys = []
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            keys += [_build_key(f"{name}.{n}", f) for n, f in section.model_fields.items()]
        else:
            keys.append(_build_key(name, field))
    return {key.path: key for key in keys}


KEYS: Final[Mapping[str, Key]] = _list_keys()
SECTIONS: Final = frozenset(path.partition(".")[0] for path in KEYS if "." in path)
