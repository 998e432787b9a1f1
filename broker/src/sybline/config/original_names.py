"""The environment variables of earlier versions: which key each sets, and what became of the others.

Nothing of them is dropped silently: a variable sets a key, or stops the start with a reason, or costs one warning.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from sybline import limits
from sybline.config.problems import not_allowed, show
from sybline.config.settings import KEYS
from sybline.config.sources import ALTERNATIVES, Given, Reading

# The first name that is set wins.
ALIASES: Final[tuple[tuple[str, str], ...]] = (
    ("SERVER_PORT", "listen.grpc_port"),
    ("PROM_PORT", "listen.http_port"),
    ("RAFT_PORT", "listen.peer_port"),
    ("LISTEN_HOST", "listen.host"),
    ("RAFT_NODE_ID", "member.id"),
    ("DATA_DIR", "member.data_dir"),
    ("RAFT_VOL_DIR", "member.data_dir"),
    ("CLUSTER_SECRET", "peer.secret"),
    ("CLUSTER_SECRET_FILE", "peer.secret_file"),
    ("ELECTION_TIMEOUT", "raft.election_timeout_s"),
    ("HEARTBEAT_TIMEOUT", "raft.heartbeat_s"),
    ("SNAPSHOT_THRESHOLD", "raft.checkpoint_entries"),
    ("SYBLINE_ADMIN_USER", "admin.username"),
    ("SYBLINE_ADMIN_PASSWORD", "admin.password"),
    ("SYBLINE_ADMIN_PASSWORD_FILE", "admin.password_file"),
    ("TOKEN_DURATION", "sessions.token_duration_s"),
    ("NODE_TTL", "queues.lease_s"),
    ("TLS_ENABLED", "tls.enabled"),
    ("TLS_CERT_DIR", "tls.directory"),
    ("TLS_CLIENT_AUTH", "tls.client_auth"),
    ("SALT", "passwords.pepper"),
    ("SALT_FILE", "passwords.pepper_file"),
)
_NO_REDIS: Final = "the Redis session store is not available in this version"
_NO_K8S: Final = "it has no effect unless K8S_AUTO is true"
_OWN_BATCHES: Final = (
    "the broker groups commands by itself; "
    f"at most {limits.APPEND_ENTRIES_MAX} entries and {limits.APPEND_BYTES_MAX} bytes a message"
)
WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "RAFT_BATCH_LIMIT": _OWN_BATCHES,
    "BATCH_LIMIT": _OWN_BATCHES,
    "HOST_IP": "members know each other by their peer addresses",
    "STREAM_BUILD_TIMEOUT": "members reconnect by themselves",
    "STREAM_BUILD_ATTEMPTS": "members reconnect by themselves",
    "APPEND_TIMEOUT": "it follows from the heartbeat",
    "CACHE_LIMIT": "caches have fixed bounds",
    "SNAPSHOT_RETENTION_COUNT": "one checkpoint is kept, and the log since then",
    "LEADER_LEASE_TIMEOUT": "it follows from the election time-out",
    "REDIS_DATABASE": _NO_REDIS,
    "REDIS_PASSWORD": _NO_REDIS,
    "REDIS_PASSWORD_FILE": _NO_REDIS,
    "REDIS_MODE": _NO_REDIS,
    "REDIS_USERNAME": _NO_REDIS,
    "REDIS_TLS": _NO_REDIS,
    "REDIS_PREFIX": _NO_REDIS,
}
PEER_NAMES: Final = ("NODES", "ADDRESSES")
K8S_NAMES: Final = (
    "STATEFULSET_NAME",
    "REPLICA_COUNT",
    "HEADLESS_SERVICE",
)  # HOSTNAME is everywhere
REFUSED: Final = ("TLS_VERIFY_SKIP", "REDIS_IP")
NAMES: Final = frozenset(
    {name for name, _ in ALIASES}
    | {*WITHOUT_EFFECT, *PEER_NAMES, *K8S_NAMES, *REFUSED, "K8S_AUTO", "HOSTNAME"}
)

_POD_NAME: Final = re.compile(r"(.+)-(0|[1-9][0-9]{0,4})")
_BOOL: Final = TypeAdapter(bool)


def original_name_of(key: str) -> str | None:
    """Return the variable that users of earlier versions know for a key."""
    return next((name for name, aliased in ALIASES if aliased == key), None)


def read_original_names(environment: Mapping[str, str]) -> Reading:
    """Return what the variables of earlier versions say; empty ones say nothing."""
    present = {name: environment[name] for name in NAMES if environment.get(name)}
    reading = Reading()
    _read_aliases(present, reading)
    if _read_flag(present, "K8S_AUTO", reading):
        _read_stateful_set(present, reading)
    else:
        _read_peers(present, reading)
        reading.warnings += [f"{name}: {_NO_K8S}" for name in K8S_NAMES if name in present]
    _read_refused(present, reading)
    reading.warnings += [
        f"{name}: has no effect: {why}" for name, why in WITHOUT_EFFECT.items() if name in present
    ]
    return reading


def _read_aliases(present: Mapping[str, str], reading: Reading) -> None:
    for name, key in ALIASES:
        if name not in present:
            continue
        first = reading.given.setdefault(key, Given(name, present[name]))
        if first.value != present[name]:
            reading.warnings.append(f"{name}: has no effect: {first.name} is set, too")


def _read_flag(present: Mapping[str, str], name: str, reading: Reading) -> bool:
    if name not in present:
        return False
    try:
        return _BOOL.validate_python(present[name])
    except ValidationError:
        reading.problems.append(not_allowed(name, present[name], "true or false"))
        return False


def _read_refused(present: Mapping[str, str], reading: Reading) -> None:
    if _read_flag(present, "TLS_VERIFY_SKIP", reading):
        reading.problems.append(
            "TLS_VERIFY_SKIP: true is not allowed: certificates are always verified; "
            "give the members a CA certificate instead"
        )
    if "REDIS_IP" in present:
        reading.problems.append(
            f"REDIS_IP: {show(present['REDIS_IP'])} is not allowed: {_NO_REDIS}; "
            "without it the members replicate sessions themselves"
        )


def _read_peers(present: Mapping[str, str], reading: Reading) -> None:
    ids, addresses = (
        [item.strip() for item in present[name].split(",")] if name in present else []
        for name in PEER_NAMES
    )
    name = ", ".join(PEER_NAMES)
    if len(ids) != len(addresses):
        reading.problems.append(
            f"{name}: {len(ids)} ids and {len(addresses)} addresses are not allowed; "
            "allowed: two lists of the same length, the ids and the peer addresses of the other members"
        )
    elif len(set(ids)) != len(ids):
        reading.problems.append(
            f"{name}: {show(present['NODES'])} is not allowed; allowed: each id once"
        )
    elif ids:
        peers = dict(zip(ids, addresses, strict=True))
        reading.given["member.peers"] = Given(name, peers)


def _read_stateful_set(present: Mapping[str, str], reading: Reading) -> None:
    """Compute id and peers from the pod's name: member id = ordinal + 1, on every pod alike."""
    reading.warnings += [
        f"{name}: has no effect: K8S_AUTO computes the peers"
        for name in PEER_NAMES
        if name in present
    ]
    pod = _read_pod_name(present, reading)
    replicas = _read_replica_count(present, reading)
    service = present.get("HEADLESS_SERVICE")
    if service is None:
        reading.problems.append(
            "HEADLESS_SERVICE: missing; K8S_AUTO needs the name of the StatefulSet's headless Service"
        )
    if pod is None or replicas is None or service is None:
        return
    name, ordinal = pod
    if ordinal >= replicas:
        reading.problems.append(
            f"HOSTNAME: {show(present['HOSTNAME'])} is not allowed; "
            f"allowed: an ordinal below REPLICA_COUNT, {replicas}"
        )
        return
    given = reading.given.get("member.id")
    if given is not None and given.value != str(ordinal + 1):
        reading.warnings.append(
            f"{given.name}: has no effect: K8S_AUTO makes this member {ordinal + 1}"
        )
    reading.given["member.id"] = Given("K8S_AUTO", str(ordinal + 1))
    reading.given["member.peers"] = Given(
        "K8S_AUTO",
        {str(o + 1): f"{name}-{o}.{service}" for o in range(replicas) if o != ordinal},
    )


def _read_pod_name(present: Mapping[str, str], reading: Reading) -> tuple[str, int] | None:
    expected = present.get("STATEFULSET_NAME")
    match = _POD_NAME.fullmatch(present.get("HOSTNAME", ""))
    if match is None or expected not in (None, match[1]):
        reading.problems.append(
            not_allowed(
                "HOSTNAME",
                present.get("HOSTNAME", ""),
                f"with K8S_AUTO, {expected or '<STATEFULSET_NAME>'}-<ordinal>",
            )
        )
        return None
    return match[1], int(match[2])


def _read_replica_count(present: Mapping[str, str], reading: Reading) -> int | None:
    text = present.get("REPLICA_COUNT", "")
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= limits.MEMBERS_MAX:
        return int(text[:9])
    allowed = f"with K8S_AUTO, a whole number from 1 to {limits.MEMBERS_MAX}"
    reading.problems.append(not_allowed("REPLICA_COUNT", text, allowed))
    return None


def names_that_set(keys: Iterable[str]) -> frozenset[str]:
    """Return every variable that has a say in one of the keys, or in what excludes it."""
    wanted = set(keys)
    wanted |= {plain for plain, file in ALTERNATIVES.items() if file in wanted}
    names = {KEYS[key].environment_name for key in wanted}
    names |= {name for name, key in ALIASES if key in wanted}
    if "member.peers" in wanted:
        names |= {*PEER_NAMES, *K8S_NAMES, "K8S_AUTO"}
    return frozenset(names)
