"""The variables of earlier versions, each one: kept, changed, ignored with a line, or refused (wire contract §12)."""

import re
from pathlib import Path

import pytest

from sybline.config import ConfigError, Loaded, load_settings
from sybline.config.loading import PLAIN_TEXT_WARNING
from sybline.config.original_names import ALIASES, NAMES, WITHOUT_EFFECT
from sybline.config.settings import show_setting, value_of

ENOUGH = {
    "SYBLINE_MEMBER__BOOTSTRAP": "true",
    "RAFT_NODE_ID": "1",
    "SYBLINE_ADMIN_PASSWORD": "password",
}
POD = {
    "K8S_AUTO": "true",
    "HOSTNAME": "broker-a-10",
    "REPLICA_COUNT": "11",
    "HEADLESS_SERVICE": "broker-a-members",
    "SYBLINE_ADMIN_PASSWORD": "password",
    "CLUSTER_SECRET": "secret",
}
KEPT = {
    "SERVER_PORT": ("3001", "3001"),
    "PROM_PORT": ("3002", "3002"),
    "RAFT_PORT": ("3003", "3003"),
    "LISTEN_HOST": ("127.0.0.1", "127.0.0.1"),
    "RAFT_NODE_ID": ("7", "7"),
    "DATA_DIR": ("/data", "/data"),
    "RAFT_VOL_DIR": ("/data", "/data"),
    "CLUSTER_SECRET": ("x", "(set)"),
    "CLUSTER_SECRET_FILE": ("FILE", "FILE"),
    "ELECTION_TIMEOUT": ("2", "2"),
    "HEARTBEAT_TIMEOUT": ("0.2", "0.2"),
    "SNAPSHOT_THRESHOLD": ("5000", "5000"),
    "SYBLINE_ADMIN_USER": ("root", "root"),
    "SYBLINE_ADMIN_PASSWORD": ("x", "(set)"),
    "SYBLINE_ADMIN_PASSWORD_FILE": ("FILE", "FILE"),
    "TOKEN_DURATION": ("3600", "3600"),
    "NODE_TTL": ("60", "60"),
    "TLS_ENABLED": ("true", "true"),
    "TLS_CERT_DIR": ("/certificates", "/certificates"),
    "TLS_CLIENT_AUTH": ("none", "none"),
    "SALT": ("x", "(set)"),
    "SALT_FILE": ("FILE", "FILE"),
}


def load(environment: dict[str, str]) -> Loaded:
    return load_settings(None, environment)


def problems(environment: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        load(environment)
    return error.value.problems


def warnings(environment: dict[str, str]) -> list[str]:
    return [line for line in load(environment).warnings if line != PLAIN_TEXT_WARNING]


def test_every_variable_has_its_row_here() -> None:
    peers = {"NODES", "ADDRESSES"}
    pods = {"K8S_AUTO", "HOSTNAME", "STATEFULSET_NAME", "REPLICA_COUNT", "HEADLESS_SERVICE"}
    refused = {"TLS_VERIFY_SKIP", "REDIS_IP"}
    assert {*KEPT, *WITHOUT_EFFECT, *peers, *pods, *refused} == NAMES


@pytest.mark.parametrize(("name", "key"), ALIASES)
def test_a_kept_variable_sets_its_key(name: str, key: str, tmp_path: Path) -> None:
    value, shown = (text.replace("FILE", str(tmp_path / "file")) for text in KEPT[name])
    (tmp_path / "file").write_text("content")
    environment = {**ENOUGH, name: value}
    if name == "SYBLINE_ADMIN_PASSWORD_FILE":
        del environment["SYBLINE_ADMIN_PASSWORD"]
    loaded = load(environment)
    assert show_setting(value_of(loaded.settings, key)) == shown
    assert loaded.names[key] == name
    assert loaded.warnings == (() if name == "TLS_ENABLED" else (PLAIN_TEXT_WARNING,))


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_variable_without_effect_costs_one_line(name: str) -> None:
    (line,) = warnings({**ENOUGH, name: "7"})
    assert line.startswith(f"{name}: has no effect: ")
    assert load({**ENOUGH, name: "7"}).settings == load(ENOUGH).settings


def test_empty_variables_are_none() -> None:
    loaded = load({**dict.fromkeys(NAMES, ""), **ENOUGH})
    assert loaded.settings == load(ENOUGH).settings
    assert loaded.warnings == (PLAIN_TEXT_WARNING,)


def test_empty_salt_is_no_pepper() -> None:
    assert load({**ENOUGH, "SALT": ""}).settings.passwords.pepper.get_secret_value() == ""


def test_nodes_and_addresses_are_the_other_members() -> None:
    environment = {**ENOUGH, "CLUSTER_SECRET": "s", "NODES": "2, 3", "ADDRESSES": "b, c:4"}
    assert load(environment).settings.member.peers == {2: "b:1111", 3: "c:4"}


def test_reg_k7_empty_nodes_make_a_cluster_of_one() -> None:
    assert load({**ENOUGH, "NODES": "", "ADDRESSES": ""}).settings.member.peers == {}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TLS_ENABLED", "maybe", "TLS_ENABLED: 'maybe' is not allowed; allowed: true or false"),
        ("TLS_CLIENT_AUTH", "maybe", "TLS_CLIENT_AUTH: 'maybe' is not allowed; allowed: required,"),
        ("TLS_VERIFY_SKIP", "1", "TLS_VERIFY_SKIP: true is not allowed: certificates are always"),
        (
            "REDIS_IP",
            "redis:6379",
            "REDIS_IP: 'redis:6379' is not allowed: the Redis session store",
        ),
        ("K8S_AUTO", "si", "K8S_AUTO: 'si' is not allowed; allowed: true or false"),
    ],
)
def test_what_is_not_there_yet_or_unsafe_stops_the_start(name: str, value: str, said: str) -> None:
    (line,) = problems({**ENOUGH, name: value})
    assert line.startswith(said)


@pytest.mark.parametrize("name", ["TLS_ENABLED", "TLS_VERIFY_SKIP", "K8S_AUTO"])
def test_a_switch_that_is_off_changes_nothing(name: str) -> None:
    assert load({**ENOUGH, name: "false"}).settings == load(ENOUGH).settings


def test_two_names_for_one_key_the_first_wins_with_a_line() -> None:
    environment = {**ENOUGH, "DATA_DIR": "/a", "RAFT_VOL_DIR": "/b"}
    assert load(environment).settings.member.data_dir == Path("/a")
    assert warnings(environment) == ["RAFT_VOL_DIR: has no effect: DATA_DIR is set, too"]
    newer = {**ENOUGH, "DATA_DIR": "/a", "SYBLINE_MEMBER__DATA_DIR": "/c"}
    assert load(newer).settings.member.data_dir == Path("/c")
    assert warnings(newer) == ["DATA_DIR: has no effect: SYBLINE_MEMBER__DATA_DIR is set, too"]


# --- Kubernetes ---
def test_reg_k3_eleven_replicas_know_each_other_by_ordinal() -> None:
    for ordinal in range(11):
        member = load({**POD, "HOSTNAME": f"broker-a-{ordinal}"}).settings.member
        assert member.id == ordinal + 1
        assert member.peers == {
            other + 1: f"broker-a-{other}.broker-a-members:1111"
            for other in range(11)
            if other != ordinal
        }


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"HOSTNAME": "laptop"},
            "HOSTNAME: 'laptop' is not allowed; allowed: with K8S_AUTO, <STATE",
        ),
        ({"HOSTNAME": ""}, "HOSTNAME: '' is not allowed"),
        (
            {"STATEFULSET_NAME": "other"},
            "HOSTNAME: 'broker-a-10' is not allowed; allowed: with K8S_",
        ),
        (
            {"REPLICA_COUNT": "10"},
            "HOSTNAME: 'broker-a-10' is not allowed; allowed: an ordinal below",
        ),
        ({"REPLICA_COUNT": "many"}, "REPLICA_COUNT: 'many' is not allowed"),
        ({"REPLICA_COUNT": "0"}, "REPLICA_COUNT: '0' is not allowed"),
        ({"REPLICA_COUNT": "9" * 5000}, "REPLICA_COUNT: '999"),
        ({"HEADLESS_SERVICE": ""}, "HEADLESS_SERVICE: missing"),
        ({"HEADLESS_SERVICE": "a b"}, "K8S_AUTO: 'broker-a-0.a b' is not allowed"),
    ],
)
def test_a_pod_that_cannot_know_its_peers_does_not_start(
    changed: dict[str, str], said: str
) -> None:
    assert any(line.startswith(said) for line in problems({**POD, **changed}))


def test_what_k8s_auto_computes_is_not_taken_from_elsewhere() -> None:
    environment = {**POD, "RAFT_NODE_ID": "4", "NODES": "1", "ADDRESSES": "x"}
    assert load(environment).settings.member.id == 11
    assert warnings(environment) == [
        "NODES: has no effect: K8S_AUTO computes the peers",
        "ADDRESSES: has no effect: K8S_AUTO computes the peers",
        "RAFT_NODE_ID: has no effect: K8S_AUTO makes this member 11",
    ]


def test_pod_variables_without_k8s_auto_cost_a_line_each_but_for_the_host_name() -> None:
    environment = {**ENOUGH, "HOSTNAME": "laptop", "REPLICA_COUNT": "3", "STATEFULSET_NAME": "a"}
    assert [re.split(":", line)[0] for line in warnings(environment)] == [
        "STATEFULSET_NAME",
        "REPLICA_COUNT",
    ]


def test_what_kubernetes_sets_for_a_service_named_sybline_is_no_setting() -> None:
    links = {
        "SYBLINE_SERVICE_HOST": "10.0.0.1",
        "SYBLINE_SERVICE_PORT": "2221",
        "SYBLINE_SERVICE_PORT_GRPC": "2221",
        "SYBLINE_PORT": "tcp://10.0.0.1:2221",
        "SYBLINE_PORT_2221_TCP": "tcp://10.0.0.1:2221",
        "SYBLINE_PORT_2221_TCP_ADDR": "10.0.0.1",
        "SYBLINE_MEMBERS_SERVICE_HOST": "10.0.0.2",
    }
    assert load({**ENOUGH, **links}).settings == load(ENOUGH).settings
