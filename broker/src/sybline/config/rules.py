"""Settings that have to fit each other. Pure: a setting that is wrong alone is the parser's business."""

from collections.abc import Callable, Iterator
from itertools import combinations

from sybline import limits
from sybline.addresses import split_address
from sybline.config.original_names import original_name_of
from sybline.config.problems import Problem, show
from sybline.config.settings import KEYS, Settings

Names = Callable[[str], str]  # key to how it was written


def missing(key: str, why: str) -> str:
    """Return the line of a key that must be set."""
    return f"{key} ({original_name_of(key) or KEYS[key].environment_name}): missing; {why}"


def check_together(settings: Settings, name_of: Names) -> Iterator[Problem]:
    """Yield every rule that the settings break."""
    yield from _check_heartbeat(settings, name_of)
    yield from _check_ports(settings, name_of)
    yield from _check_peers(settings, name_of)
    yield from _check_secrets(settings)
    yield from _check_tls(settings, name_of)
    yield from _check_body(settings, name_of)


def _check_heartbeat(settings: Settings, name_of: Names) -> Iterator[Problem]:
    heartbeat, election = "raft.heartbeat_s", "raft.election_timeout_s"
    beats = limits.HEARTBEATS_PER_ELECTION_MIN
    if beats * settings.raft.heartbeat_s > settings.raft.election_timeout_s:
        yield Problem(
            f"{name_of(heartbeat)}: {settings.raft.heartbeat_s:g} is not allowed; allowed: "
            f"at most 1/{beats} of {name_of(election)}, {settings.raft.election_timeout_s:g}",
            frozenset({heartbeat, election}),
        )


def _check_ports(settings: Settings, name_of: Names) -> Iterator[Problem]:
    listen = settings.listen
    ports = {
        "listen.grpc_port": listen.grpc_port,
        "listen.http_port": listen.http_port,
        "listen.peer_port": listen.peer_port,
    }
    for one, other in combinations(ports, 2):
        if ports[one] == ports[other]:
            yield Problem(
                f"{name_of(one)}, {name_of(other)}: both are {ports[one]}; "
                "allowed: a port of its own for each",
                frozenset({one, other}),
            )


def _check_peers(settings: Settings, name_of: Names) -> Iterator[Problem]:
    key, own = "member.peers", settings.member.id
    if settings.member.bootstrap and own is None:
        yield Problem(
            missing("member.id", "with member.bootstrap each first member needs its number"),
            frozenset({"member.id", "member.bootstrap"}),
        )
    if own in settings.member.peers:
        yield Problem(
            f"{name_of(key)}: {own} is not allowed; allowed: ids of the other members, "
            f"{name_of('member.id')} is {own}",
            frozenset({key, "member.id"}),
        )
    client_port = settings.listen.grpc_port
    owners: dict[tuple[str, int], int] = {}
    for member, address in settings.member.peers.items():
        host, port = split_address(address)
        if port == client_port:
            yield Problem(
                f"{name_of(key)}: {show(address)} is not allowed: {client_port} is the client port "
                "(SERVER_PORT); allowed: host[:peer port], the RAFT_PORT of the other member",
                frozenset({key, "listen.grpc_port"}),
            )
        first = owners.setdefault((host, port or settings.listen.peer_port), member)
        if first != member:
            yield Problem(
                f"{name_of(key)}: {show(address)} is not allowed for members {first} and {member}; "
                "allowed: an address of its own for each",
                frozenset({key, "listen.peer_port"}),
            )


def _check_secrets(settings: Settings) -> Iterator[Problem]:
    """Outside development nothing is open to whoever comes by."""
    peer, admin = settings.peer, settings.admin
    has_password = bool(admin.password.get_secret_value() or admin.password_file)
    if admin.generate_password and not has_password:
        yield Problem(
            missing("admin.password_file", "admin.generate_password needs to know where to write"),
            frozenset({"admin.password_file", "admin.generate_password"}),
        )
    if settings.development:
        return
    has_proof = bool(settings.tls.enabled or peer.secret.get_secret_value() or peer.secret_file)
    is_alone = settings.member.bootstrap and not settings.member.peers
    if not (is_alone or has_proof):
        yield Problem(
            missing(
                "peer.secret",
                "a secret that all members share is required with peers and to join, or TLS",
            ),
            frozenset(
                {
                    "peer.secret", "peer.secret_file", "member.peers", "member.bootstrap",
                    "tls.enabled", "development",
                }
            ),
        )  # fmt: skip
    if not (has_password or admin.generate_password):
        yield Problem(
            missing(
                "admin.password",
                "the first administrator needs a password: set it, or admin.password_file "
                "(SYBLINE_ADMIN_PASSWORD_FILE), or admin.generate_password",
            ),
            frozenset(
                {"admin.password", "admin.password_file", "admin.generate_password", "development"}
            ),
        )


def _check_body(settings: Settings, name_of: Names) -> Iterator[Problem]:
    """A body larger than usual must fit into memory many times over, and reach the others before they elect."""
    key, body_bytes = "limits.body_bytes_max", settings.limits.body_bytes_max
    mark, mark_bytes = "limits.memory_high_mark_bytes", settings.limits.memory_high_mark_bytes
    if mark_bytes is not None and body_bytes * limits.MEMORY_PER_BODY_MIN > mark_bytes:
        yield Problem(
            f"{name_of(key)}: {body_bytes} is not allowed; allowed: at most "
            f"1/{limits.MEMORY_PER_BODY_MIN} of {name_of(mark)}, {mark_bytes}",
            frozenset({key, mark}),
        )
    election, followers = "raft.election_timeout_s", len(settings.member.peers)
    sent_s = body_bytes * followers / limits.PEER_BYTES_PER_S
    if body_bytes > limits.BODY_BYTES_DEFAULT and 2 * sent_s > settings.raft.election_timeout_s:
        yield Problem(
            f"{name_of(key)}: {body_bytes} is not allowed; allowed: what reaches {followers} members "
            f"within half of {name_of(election)}, {settings.raft.election_timeout_s:g} s, "
            f"over 1 Gbit/s: it takes {sent_s:.2g} s",
            frozenset({key, election, "member.peers"}),
        )


def _check_tls(settings: Settings, name_of: Names) -> Iterator[Problem]:
    tls = settings.tls
    certificate, key = "tls.peer_cert_file", "tls.peer_key_file"
    if (tls.peer_cert_file is None) != (tls.peer_key_file is None):
        given, lacking = (certificate, key) if tls.peer_cert_file else (key, certificate)
        yield Problem(
            missing(lacking, f"{name_of(given)} needs the other half of its pair"),
            frozenset({certificate, key}),
        )
    asked = "metrics.require_client_cert"
    if settings.metrics.require_client_cert and not tls.enabled:
        yield Problem(
            f"{name_of(asked)}: true is not allowed without TLS; allowed: with tls.enabled",
            frozenset({asked, "tls.enabled"}),
        )
