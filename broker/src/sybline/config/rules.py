"""Settings that have to fit each other. Pure: a setting that is wrong alone is the parser's business."""

from collections.abc import Callable, Iterator
from itertools import combinations

from sybline import limits
from sybline.config.original_names import original_name_of
from sybline.config.problems import Problem, show
from sybline.config.settings import KEYS, Settings
from sybline.config.values import split_peer_address

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
    if own in settings.member.peers:
        yield Problem(
            f"{name_of(key)}: {own} is not allowed; allowed: ids of the other members, "
            f"{name_of('member.id')} is {own}",
            frozenset({key, "member.id"}),
        )
    client_port = settings.listen.grpc_port
    owners: dict[tuple[str, int], int] = {}
    for member, address in settings.member.peers.items():
        host, port = split_peer_address(address)
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
    if settings.member.peers and not (peer.secret.get_secret_value() or peer.secret_file):
        yield Problem(
            missing("peer.secret", "a secret that all members share is required with peers"),
            frozenset({"peer.secret", "peer.secret_file", "member.peers", "development"}),
        )
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
