"""Settings from file, environment and command line: precedence, and every problem at once."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sybline.config import ConfigError, Loaded, load_settings
from sybline.config.original_names import NAMES
from sybline.config.settings import KEYS, show_setting, value_of

ENOUGH = {
    "SYBLINE_MEMBER__BOOTSTRAP": "true",
    "RAFT_NODE_ID": "3",
    "SYBLINE_ADMIN_PASSWORD": "password",
}
WITH_PEERS = {**ENOUGH, "NODES": "1,2", "ADDRESSES": "one:1111,two", "CLUSTER_SECRET": "s"}
BODY, MEMORY = "SYBLINE_LIMITS__BODY_BYTES_MAX", "SYBLINE_LIMITS__MEMORY_HIGH_MARK_BYTES"
ROOT = Path(__file__).resolve().parents[3]


def load(environment: Mapping[str, str] = ENOUGH, **overrides: str) -> Loaded:
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_settings(None, environment, dotted)


def problems(environment: Mapping[str, str], path: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        load_settings(path, environment)
    return error.value.problems


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "member.yaml"
    path.write_text(text)
    return path


def test_reg_k1_the_client_port_is_2221_whatever_the_member_id_is() -> None:
    settings = load({**ENOUGH, "RAFT_NODE_ID": "3"}).settings
    assert (settings.member.id, settings.listen.grpc_port) == (3, 2221)


def test_the_command_line_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = write(tmp_path, "listen: {grpc_port: 3001, http_port: 3002, peer_port: 3003}")
    environment = {**ENOUGH, "SYBLINE_LISTEN__GRPC_PORT": "4001", "PROM_PORT": "4002"}
    loaded = load_settings(path, environment, {"listen.grpc_port": "5001"})
    listen = loaded.settings.listen
    assert (listen.grpc_port, listen.http_port, listen.peer_port) == (5001, 4002, 3003)
    assert listen.host == "0.0.0.0"
    assert loaded.names["listen.grpc_port"] == "--set listen.grpc_port"
    assert loaded.names["listen.http_port"] == "PROM_PORT"
    assert loaded.names["listen.peer_port"] == f"listen.peer_port ({path} line 1)"
    assert "listen.host" not in loaded.names


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, "log: {level: error}")
    assert load({**ENOUGH, "SYBLINE_CONFIG": str(path)}).settings.log.level == "error"


BASICS = {"member.id": "9", "development": "1", "admin.password": "p", "peer.secret": "s"}
NEEDS = {  # keys that mean nothing alone
    "tls.peer_cert_file": {"tls.peer_key_file": "/peers/tls.key"},
    "tls.peer_key_file": {"tls.peer_cert_file": "/peers/tls.crt"},
    "metrics.require_client_cert": {"tls.enabled": "true"},
}
VALUES = {  # as written: as shown again
    "development": ("yes", "true"),
    "member.bootstrap": ("yes", "true"),
    "member.id": ("7", "7"),
    "member.name": ("broker-0", "broker-0"),
    "member.bootstrap_seed_file": ("/etc/sybline/seed", "/etc/sybline/seed"),
    "member.recovery_file": ("/etc/sybline/recovery", "/etc/sybline/recovery"),
    "member.address": ("[fd00::7]:1111", "[fd00::7]:1111"),
    "member.cluster_id": ("orders", "orders"),
    "member.peers": ("2=two:2,1=one", "1=one:1111,2=two:2"),
    "member.data_dir": ("/data", "/data"),
    "listen.host": ("::1", "::1"),
    "listen.grpc_port": ("3001", "3001"),
    "listen.http_port": ("3002", "3002"),
    "listen.peer_port": ("3003", "3003"),
    "peer.secret": ("x", "(set)"),
    "peer.secret_file": ("FILE", "FILE"),
    "raft.election_timeout_s": ("2", "2"),
    "raft.heartbeat_s": ("0.25", "0.25"),
    "raft.checkpoint_entries": ("5000", "5000"),
    "admin.username": ("root", "root"),
    "admin.password": ("x", "(set)"),
    "admin.password_file": ("FILE", "FILE"),
    "admin.generate_password": ("on", "true"),
    "sessions.token_duration_s": ("3600", "3600"),
    "queues.lease_s": ("0.5", "0.5"),
    "limits.body_bytes_max": ("16 MiB", "16777216"),
    "limits.disk_low_mark_bytes": ("2GiB", "2147483648"),
    "limits.disk_low_mark_ratio": ("0.1", "0.1"),
    "limits.memory_high_mark_bytes": ("500000000", "500000000"),
    "limits.memory_high_mark_ratio": ("0.7", "0.7"),
    "passwords.pepper": ("x", "(set)"),
    "passwords.pepper_file": ("FILE", "FILE"),
    "tls.enabled": ("on", "true"),
    "tls.directory": ("/certificates", "/certificates"),
    "tls.ca_file": ("/tls/ca.crt", "/tls/ca.crt"),
    "tls.cert_file": ("/tls/tls.crt", "/tls/tls.crt"),
    "tls.key_file": ("/tls/tls.key", "/tls/tls.key"),
    "tls.client_auth": ("required", "required"),
    "tls.client_ca_file": ("/tls/clients.crt", "/tls/clients.crt"),
    "tls.peer_ca_file": ("/peers/ca.crt", "/peers/ca.crt"),
    "tls.peer_cert_file": ("/peers/tls.crt", "/peers/tls.crt"),
    "tls.peer_key_file": ("/peers/tls.key", "/peers/tls.key"),
    "tls.peer_identity": ("spiffe://prod/sybline", "spiffe://prod/sybline"),
    "tls.check_s": ("0.5", "0.5"),
    "storage.compress_cold": ("on", "true"),
    "metrics.require_client_cert": ("on", "true"),
    "grpc.reflection": ("no", "false"),
    "log.level": ("debug", "debug"),
}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_can_be_set_by_its_variable_in_the_file_and_most_by_the_command_line(
    key: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("content")
    value, shown = (text.replace("FILE", str(secret)) for text in VALUES[key])
    needed = {
        KEYS[other].environment_name: text
        for other, text in {**BASICS, **NEEDS.get(key, {})}.items()
        if other not in (key, key.removesuffix("_file"))
    }
    section, _, name = key.rpartition(".")
    path = write(tmp_path, f"{section}: {{{name}: '{value}'}}" if section else f"{name}: {value}")
    loads = [
        load_settings(None, {**needed, KEYS[key].environment_name: value}),
        load_settings(path, needed),
    ]
    if not KEYS[key].is_secret:
        loads.append(load_settings(None, needed, {key: value}))
    assert [show_setting(value_of(each.settings, key)) for each in loads] == [shown] * len(loads)


def test_all_problems_come_at_once_one_line_each_with_key_value_and_what_is_allowed(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        "listen:\n  grcp_port: 1\n  peer_port: [1]\nlog: loud\nmember: {id: 3, bootstrap: true, cluster_id: a b}\n",
    )
    environment = {
        "SERVER_PORT": "70000",
        "SYBLINE_LISTN__HOST": "x",
        "SYBLINE_RAFT__HEARTBEAT_S": "soon",
    }
    assert problems(environment, path) == (
        f"listen.grcp_port ({path} line 2): unknown key; did you mean listen.grpc_port?",
        f"listen.peer_port ({path} line 3): one value is expected; allowed: a port from 1 to 65535",
        f"log ({path} line 4): a group of keys is expected",
        "SYBLINE_LISTN__HOST: unknown key; did you mean SYBLINE_LISTEN__HOST?",
        f"member.cluster_id ({path} line 5): 'a b' is not allowed; "
        "allowed: 1 to 128 letters, digits, '.', '_' and '-'",
        "SERVER_PORT: '70000' is not allowed; allowed: a port from 1 to 65535",
        "SYBLINE_RAFT__HEARTBEAT_S: 'soon' is not allowed; "
        "allowed: seconds from 0.01, 3 of them at most one raft.election_timeout_s",
        "admin.password (SYBLINE_ADMIN_PASSWORD): missing; the first administrator needs a password: "
        "set it, or admin.password_file (SYBLINE_ADMIN_PASSWORD_FILE), or admin.generate_password",
    )


def test_a_setting_that_is_wrong_alone_is_not_compared_with_others() -> None:
    said = problems({**ENOUGH, "ELECTION_TIMEOUT": "-1", "HEARTBEAT_TIMEOUT": "30"})
    assert [line.split(":")[0] for line in said] == ["ELECTION_TIMEOUT"]


def test_a_first_member_needs_a_number_and_who_joins_does_not() -> None:
    environment = {"SYBLINE_ADMIN_PASSWORD": "x", "CLUSTER_SECRET": "s"}
    settings = load(environment).settings
    assert (settings.member.bootstrap, settings.member.id) == (False, None)
    said = problems({**environment, "SYBLINE_MEMBER__BOOTSTRAP": "true"})
    expected = "member.id (RAFT_NODE_ID): missing; with member.bootstrap each first member needs"
    assert said[0].startswith(expected)


def test_who_joins_needs_what_the_members_prove_to_each_other() -> None:
    (said,) = problems({"SYBLINE_ADMIN_PASSWORD": "x"})
    assert said.startswith("peer.secret (CLUSTER_SECRET): missing; a secret that all members share")
    assert load({"SYBLINE_ADMIN_PASSWORD": "x", "TLS_ENABLED": "true"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"HEARTBEAT_TIMEOUT": "0.4"},
            "HEARTBEAT_TIMEOUT: 0.4 is not allowed; allowed: at most 1/3",
        ),
        (
            {"ELECTION_TIMEOUT": "0.3"},
            "raft.heartbeat_s: 0.15 is not allowed; allowed: at most 1/3",
        ),
        ({"PROM_PORT": "2221"}, "listen.grpc_port, PROM_PORT: both are 2221"),
        ({"RAFT_PORT": "7878"}, "listen.http_port, RAFT_PORT: both are 7878"),
        ({"RAFT_NODE_ID": "2"}, "NODES, ADDRESSES: 2 is not allowed; allowed: ids of the other"),
        ({"ADDRESSES": "one:2221,two"}, "2221 is the client port (SERVER_PORT)"),
        ({"ADDRESSES": "one,one"}, "'one' is not allowed for members 1 and 2"),
        ({"ADDRESSES": "one:1111,one"}, "'one' is not allowed for members 1 and 2"),
        ({"ADDRESSES": "one"}, "2 ids and 1 addresses are not allowed"),
        ({"ADDRESSES": ""}, "2 ids and 0 addresses are not allowed"),
        ({"ADDRESSES": "one:x,two"}, "'one:x' is not allowed"),
        ({"ADDRESSES": "[::1:1111,two"}, "'[::1:1111' is not allowed"),
        ({"ADDRESSES": "one two,three"}, "'one two' is not allowed"),
        ({"ADDRESSES": ",two"}, "'' is not allowed"),
        ({"NODES": "1,x"}, "'x' is not allowed"),
        ({"NODES": "1,1"}, "allowed: each id once"),
        ({"CLUSTER_SECRET": ""}, "peer.secret (CLUSTER_SECRET): missing"),
        ({"SYBLINE_ADMIN_PASSWORD": ""}, "SYBLINE_ADMIN_PASSWORD"),
        ({"SYBLINE_ADMIN_USER": "a b"}, "SYBLINE_ADMIN_USER: 'a b' is not allowed"),
        ({"SYBLINE_ADMIN_USER": "a:b"}, "SYBLINE_ADMIN_USER: 'a:b' is not allowed"),
        ({"RAFT_NODE_ID": "0"}, "RAFT_NODE_ID: '0' is not allowed"),
        ({"RAFT_NODE_ID": "zero"}, "RAFT_NODE_ID: 'zero' is not allowed"),
        ({"ELECTION_TIMEOUT": "nan"}, "ELECTION_TIMEOUT: 'nan' is not allowed"),
        ({"ELECTION_TIMEOUT": "inf"}, "ELECTION_TIMEOUT: 'inf' is not allowed"),
        ({"NODE_TTL": "3601"}, "NODE_TTL: '3601' is not allowed"),
        ({BODY: "1"}, f"{BODY}: '1' is not allowed; allowed: bytes from 1024 to 33554432"),
        ({BODY: "33MiB"}, f"{BODY}: '33MiB' is not allowed"),
        ({BODY: "1 MB"}, f"{BODY}: '1 MB' is not allowed"),
        (
            {BODY: "32MiB"},
            f"{BODY}: 33554432 is not allowed; allowed: what reaches 2 members within",
        ),
        (
            {BODY: "16MiB", MEMORY: "192MiB"},
            f"{BODY}: 16777216 is not allowed; allowed: at most 1/16 of {MEMORY}, 201326592",
        ),
        ({MEMORY: "1MiB"}, f"{MEMORY}: '1MiB' is not allowed"),
        ({"SYBLINE_LIMITS__DISK_LOW_MARK_BYTES": "127MiB"}, "'127MiB' is not allowed"),
        ({"SYBLINE_LIMITS__DISK_LOW_MARK_RATIO": "0.6"}, "'0.6' is not allowed"),
        ({"TOKEN_DURATION": "0"}, "TOKEN_DURATION: '0' is not allowed"),
        ({"SNAPSHOT_THRESHOLD": "1.5"}, "SNAPSHOT_THRESHOLD: '1.5' is not allowed"),
        ({"LISTEN_HOST": "::zz"}, "LISTEN_HOST: '::zz' is not allowed"),
        ({"SYBLINE_LOG__LEVEL": "loud"}, "SYBLINE_LOG__LEVEL: 'loud' is not allowed"),
        ({"SYBLINE_REDIS__URL": "1"}, "SYBLINE_REDIS__URL: not available in this version"),
    ],
)
def test_each_rule_stops_the_start_and_says_which(changed: dict[str, str], said: str) -> None:
    assert any(said in line for line in problems({**WITH_PEERS, **changed}))


def test_a_large_body_needs_a_patient_cluster_or_none() -> None:
    patient = {**WITH_PEERS, BODY: "32MiB", "ELECTION_TIMEOUT": "1.1"}
    assert load(patient).settings.limits.body_bytes_max == 32 << 20
    assert load({**ENOUGH, BODY: "32MiB"}).settings.limits.body_bytes_max == 32 << 20
    hasty = {**WITH_PEERS, "ELECTION_TIMEOUT": "0.1", "HEARTBEAT_TIMEOUT": "0.02"}
    assert load(hasty).settings.limits.body_bytes_max == 4_193_280


def test_peers_without_a_port_get_the_own_peer_port() -> None:
    settings = load({**WITH_PEERS, "RAFT_PORT": "1500", "ADDRESSES": "[::1],two:7"}).settings
    assert settings.member.peers == {1: "[::1]:1500", 2: "two:7"}


def test_peers_read_the_same_from_file_and_environment(tmp_path: Path) -> None:
    path = write(tmp_path, "member:\n  peers:\n    1: one\n    2: two:7\n")
    from_file = load_settings(path, {**ENOUGH, "CLUSTER_SECRET": "s"})
    from_text = load({**ENOUGH, "CLUSTER_SECRET": "s", "SYBLINE_MEMBER__PEERS": "1=one, 2=two:7"})
    assert from_file.settings.member.peers == from_text.settings.member.peers
    assert from_file.settings.member.peers == {1: "one:1111", 2: "two:7"}


def test_values_in_the_file_are_text_and_empty_ones_are_none(tmp_path: Path) -> None:
    path = write(tmp_path, "admin: {password: 0123}\npasswords: {pepper: null}\nlog: {level: }\n")
    settings = load_settings(path, {"RAFT_NODE_ID": "1", "CLUSTER_SECRET": "s"}).settings
    assert settings.admin.password.get_secret_value() == "0123"
    assert settings.passwords.pepper.get_secret_value() == ""
    assert settings.log.level == "info"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: {grpc_port: 1", "line 1, column 22: not valid YAML"),
        ("a: b: hunter2", "not valid YAML"),
        ("password: *hunter2", "not valid YAML"),
        ("- a", "a group of sections is expected"),
        ("listen:\n  host: a\n  host: b", "'host' is given twice, again in line 3"),
        ("listen.host: a\nlisten: {host: b}", "listen.host ({path} line 2): given twice"),
        ("? [a]\n: b", "must be a text"),
        ("member: {peers: {2: [hunter2]}}", "member '2' needs one address"),
        ("member: {peers: [a]}", "a group of members is expected"),
        ("redis: {url: x}", "redis ({path} line 1): not available in this version"),
        (
            "hunter2: hunter2\nadmn: {password: x}",
            "admn ({path} line 2): unknown key; did you mean admin?",
        ),
        ("[" * 10_000, "nested too deeply"),
        ("#" * 1_100_000, "larger than 1048576 bytes"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_a_malformed_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    lines = [line for line in problems(ENOUGH, path) if said.format(path=path) in line]
    assert len(lines) == 1
    assert "hunter2" not in lines[0]


def test_a_file_that_is_not_there_or_not_text_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert problems(ENOUGH, missing) == (f"{missing}: cannot be read: No such file or directory",)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xff")
    assert problems(ENOUGH, binary) == (f"{binary}: not UTF-8",)


# --- secrets ---
def test_secrets_show_nowhere(tmp_path: Path) -> None:
    loaded = load({**WITH_PEERS, "SALT": "hunter2", "CLUSTER_SECRET": "hunter2"})
    assert "hunter2" not in repr(loaded)
    too_long = "hunter2" * 200
    environment = {
        **WITH_PEERS,
        "SALT": too_long,
        "CLUSTER_SECRET": too_long,
        "SYBLINE_ADMIN_PASWORD": "hunter2",
    }
    path = write(tmp_path, "admin: {pasword: hunter2}")
    said = problems(environment, path)
    assert len(said) == 4
    assert "hunter2" not in "".join(said)
    assert "SALT: (not shown) is not allowed; allowed: 1 to 1024 bytes of UTF-8" in said


def test_secrets_come_from_files_without_the_last_line_break(tmp_path: Path) -> None:
    for name in ("secret", "password", "pepper"):
        (tmp_path / name).write_text(f"the {name}\n")
    settings = load(
        {
            **WITH_PEERS,
            "CLUSTER_SECRET": "",
            "CLUSTER_SECRET_FILE": str(tmp_path / "secret"),
            "SYBLINE_ADMIN_PASSWORD": "",
            "SYBLINE_ADMIN_PASSWORD_FILE": str(tmp_path / "password"),
            "SALT_FILE": str(tmp_path / "pepper"),
        }
    ).settings
    assert settings.peer.secret.get_secret_value() == "the secret"
    assert settings.admin.password.get_secret_value() == "the password"
    assert settings.passwords.pepper.get_secret_value() == "the pepper"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"\xff", "it is not UTF-8"),
        (b"x" * 1025, "too long"),
    ],
)
def test_a_bad_secret_file_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    environment = {**WITH_PEERS, "CLUSTER_SECRET": "", "CLUSTER_SECRET_FILE": str(path)}
    assert problems(environment) == (
        next(line for line in problems(environment) if line.startswith("CLUSTER_SECRET_FILE: ")),
    )
    assert said in problems(environment)[0]


def test_a_secret_and_its_file_from_one_source_exclude_each_other() -> None:
    said = problems({**ENOUGH, "SYBLINE_ADMIN_PASSWORD_FILE": "/nowhere"})
    assert "SYBLINE_ADMIN_PASSWORD, SYBLINE_ADMIN_PASSWORD_FILE: give only one of the two" in said


def test_a_secret_from_a_stronger_source_replaces_the_file_of_a_weaker_one(tmp_path: Path) -> None:
    path = write(tmp_path, "admin: {password_file: /nowhere}")
    settings = load_settings(path, ENOUGH).settings
    assert settings.admin.password.get_secret_value() == "password"
    assert settings.admin.password_file is None


def test_a_secret_on_the_command_line_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        load(peer__secret="hunter2")
    assert error.value.problems == (
        "--set peer.secret: a secret on the command line shows in the process list; "
        "use peer.secret_file",
    )


def test_development_mode_needs_no_secrets() -> None:
    environment = {"RAFT_NODE_ID": "3", "NODES": "1", "ADDRESSES": "one"}
    loaded = load({**environment, "SYBLINE_DEVELOPMENT": "true"})
    assert loaded.settings.development
    assert loaded.warnings == ()


def test_a_generated_password_needs_a_file_and_is_not_read_from_it(tmp_path: Path) -> None:
    environment = {
        "RAFT_NODE_ID": "1",
        "CLUSTER_SECRET": "s",
        "SYBLINE_ADMIN__GENERATE_PASSWORD": "true",
    }
    assert "admin.password_file (SYBLINE_ADMIN_PASSWORD_FILE): missing" in problems(environment)[0]
    later = str(tmp_path / "later")
    settings = load({**environment, "SYBLINE_ADMIN_PASSWORD_FILE": later}).settings
    assert settings.admin.password.get_secret_value() == ""


def test_plain_text_outside_development_costs_a_warning() -> None:
    assert load().warnings == ("TLS is off: clients and members talk in plain text",)
    assert load({**ENOUGH, "TLS_ENABLED": "true"}).warnings == ()


def test_members_trust_each_other_by_tls_or_by_a_secret() -> None:
    without = {name: value for name, value in WITH_PEERS.items() if name != "CLUSTER_SECRET"}
    assert load({**without, "TLS_ENABLED": "true"}).settings.tls.enabled
    assert problems(without)[0].startswith("peer.secret (CLUSTER_SECRET): missing; a secret that")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"SYBLINE_TLS__PEER_CERT_FILE": "/c"},
            "tls.peer_key_file (SYBLINE_TLS__PEER_KEY_FILE): m",
        ),
        ({"SYBLINE_TLS__PEER_KEY_FILE": "/k"}, "tls.peer_cert_file (SYBLINE_TLS__PEER_CERT_FILE):"),
        (
            {"SYBLINE_METRICS__REQUIRE_CLIENT_CERT": "true"},
            "SYBLINE_METRICS__REQUIRE_CLIENT_CERT: true is not allowed without TLS",
        ),
        ({"SYBLINE_TLS__PEER_IDENTITY": "no uri"}, "SYBLINE_TLS__PEER_IDENTITY: 'no uri' is not"),
    ],
)
def test_halves_of_tls_settings_stop_the_start(given: dict[str, str], said: str) -> None:
    (line,) = problems({**ENOUGH, **given})
    assert line.startswith(said)


# --- never a traceback ---
TEXTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["1", "-1", "9" * 5000, "1e400", "nan", "true", "a:b", ",", "=", "1=a,2=b"]),
    st.sampled_from(["\ud800", "x" * 5000, "\0", "[::1]:9", "1.0", " 7 "]),
)
VARIABLES = sorted({*NAMES, *(key.environment_name for key in KEYS.values()), "SYBLINE_X__Y"})


def told(path: Path | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the problems; none when these are settings. Anything else raised is the failure."""
    try:
        load_settings(path, environment)
    except ConfigError as error:
        return error.problems
    return ()


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text needs Unicode's tables
@given(environment=st.dictionaries(st.sampled_from(VARIABLES), TEXTS, max_size=12))
def test_whatever_the_variables_hold_the_answer_is_settings_or_lines(
    environment: dict[str, str],
) -> None:
    assert all(line.isprintable() for line in told(None, environment))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    document=st.one_of(
        st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")),
        st.text(alphabet="abc:{}[]&*!|>'\"-?%@`,# \n\t~0", max_size=60).map(str.encode),
        st.binary(max_size=60),
    )
)
def test_whatever_the_file_holds_the_answer_is_settings_or_lines(
    tmp_path_factory: pytest.TempPathFactory, document: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(document)
    assert all(line.isprintable() for line in told(path, ENOUGH))


# --- documentation ---
def test_every_key_is_documented_with_default_bounds_and_meaning() -> None:
    document = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for key in KEYS.values():
        default = "required" if key.is_required else f"`{key.default}`" if key.default else ""
        live = "yes" if key.is_live else ""
        assert f"| `{key.path}` | {default} | {key.allowed} | {live} | {key.purpose} |" in document


def test_every_variable_of_earlier_versions_is_documented() -> None:
    document = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    table = document[document.index("## Variables of earlier versions") :]
    assert [name for name in sorted(NAMES) if f"`{name}`" not in table] == []


def test_the_example_file_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cluster-secret", "admin-password"):
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    settings = load_settings(ROOT / "docs/examples/member-1.yaml", {}).settings
    assert sorted(settings.member.peers) == [2, 3]
