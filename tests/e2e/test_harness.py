"""The parts of the end-to-end harness that need no cluster: where one comes from, commands, figures."""

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e import cluster
from tests.e2e.__main__ import all_scenarios, choose
from tests.e2e.audit import AuditTrail, account
from tests.e2e.images import ROOT, content_tag
from tests.e2e.kube import Failed
from tests.e2e.life import Life, Scenario, is_at_rest
from tests.e2e.measure import Row, metric
from tests.e2e.processes import follow, stream
from tests.e2e.readme import DONE_HERE, commands
from tests.e2e.report import Table
from tests.support.checker import Finding, Report


# --- where Kubernetes comes from ---
@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Take away everything that gives a cluster."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cluster, "LOCAL", tmp_path / "nowhere")
    return monkeypatch


def program(directory: Path, name: str, status: int) -> None:
    file = directory / name
    file.write_text(f"#!{shutil.which('sh', path='/bin:/usr/bin')}\nexit {status}\n")
    file.chmod(0o755)


def test_a_given_kubeconfig_comes_before_everything(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("KUBECONFIG", "/some/where")
    assert isinstance(cluster.find(), cluster.Given)


def test_kind_is_used_where_docker_answers(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("kind", "docker"):
        program(tmp_path, name, 0)
    assert isinstance(cluster.find(), cluster.Kind)


def test_where_docker_does_not_answer_the_cluster_beside_the_repository_is_used(
    bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path, "kind", 0)
    program(tmp_path, "docker", 1)
    program(tmp_path, "up", 0)
    bare.setattr(cluster, "LOCAL", tmp_path)
    assert isinstance(cluster.find(), cluster.Local)


def test_an_engine_that_only_builds_images_is_nothing_for_kind(
    bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("kind", "docker"):
        program(tmp_path, name, 0)
    bare.setenv("SYBLINE_ENGINE_STATE", str(tmp_path))
    bare.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine/docker.sock")
    assert cluster.find() is None


def test_with_nothing_it_says_what_to_do_and_ends_with_status_2(
    bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.setattr("sys.argv", ["cluster", "run", "true"])
    assert cluster.main() == 2
    assert "KUBECONFIG=" in capsys.readouterr().err


# --- commands with a deadline ---
def test_a_command_that_takes_too_long_is_ended_with_what_it_started() -> None:
    with pytest.raises(Failed, match=r"no end within 0\.2 s"):
        stream(["sh", "-c", "sleep 60 & wait"], deadline_s=0.2)
    assert follow(["sleep", "60"], deadline_s=0.2, environment={}) == 1


def test_the_exit_status_and_what_was_printed_come_back() -> None:
    assert stream(["echo", "words"], deadline_s=10) == "words\n"
    assert follow(["sh", "-c", "exit $WANTED"], deadline_s=10, environment={"WANTED": "7"}) == 7
    with pytest.raises(Failed, match="exit status 3"):
        stream(["sh", "-c", "exit 3"], deadline_s=10)


# --- images ---
def test_a_tag_changes_with_what_gets_into_an_image_and_with_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "broker" / "src" / "sybline"
    source.mkdir(parents=True)
    (source / "app.py").write_text("one")
    first = content_tag(tmp_path)
    (tmp_path / "Makefile").write_text("not in an image")
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "app.pyc").write_text("nor this")
    assert content_tag(tmp_path) == first
    (source / "app.py").write_text("two")
    assert content_tag(tmp_path) != first


# --- the README ---
def test_the_readme_has_five_commands_of_which_two_are_about_images() -> None:
    found = commands((ROOT / "README.md").read_text())
    assert len(found) == 5
    assert [bool(DONE_HERE.match(command)) for command in found] == [
        True,
        True,
        False,
        False,
        False,
    ]


# --- scenarios ---
def test_scenarios_of_all_modules_have_different_names_and_the_core_comes_first() -> None:
    scenarios = all_scenarios()
    names = [scenario.name for scenario in scenarios]
    assert len(names) == len(set(names))
    assert names[0] == "kill the leader's pod"


def test_a_name_that_does_not_exist_is_refused() -> None:
    def nothing(_: Life) -> None: ...

    scenarios = [Scenario("one", nothing, core=True), Scenario("two", nothing)]
    assert choose(scenarios, [], long=False) == scenarios[:1]
    assert choose(scenarios, ["two"], long=False) == scenarios[1:]
    with pytest.raises(SystemExit, match="three"):
        choose(scenarios, ["three"], long=True)


def test_a_cluster_is_at_rest_only_when_the_operator_has_seen_the_latest_spec() -> None:
    conditions = [{"type": kind, "status": "False"} for kind in ("Progressing", "Degraded")]
    status = {
        "observedGeneration": 3,
        "conditions": conditions,
        "readyReplicas": 1,
        "members": [{"name": "orders-0", "role": "leader"}],
    }
    assert is_at_rest({"metadata": {"generation": 3}, "status": status}, 1)
    assert not is_at_rest({"metadata": {"generation": 4}, "status": status}, 1)
    assert not is_at_rest({"metadata": {"generation": 3}, "status": status}, 3)
    assert not is_at_rest({"metadata": {"generation": 3}}, 1)


# --- figures ---
def test_writes_are_counted_from_the_audit_log_without_reads_others_and_the_lease(
    tmp_path: Path,
) -> None:
    log, operator = tmp_path / "audit.log", account("here", "sybline-operator")

    def add(
        verb: str, resource: str, *, user: str = operator, stage: str = "ResponseComplete"
    ) -> None:
        event = {
            "verb": verb, "user": {"username": user}, "stage": stage, "objectRef": {"resource": resource},
        }  # fmt: skip
        with log.open("a") as lines:
            lines.write(json.dumps(event) + "\n")

    add("patch", "services")
    trail = AuditTrail(log, operator)
    add("patch", "pods")
    add("create", "events")
    add("get", "pods")
    add("update", "leases")
    add("patch", "pods", user=account("there", "sybline-operator"))
    add("patch", "pods", stage="ResponseStarted")
    assert trail.take_writes() == 2
    assert trail.take_writes() == 0

    add("patch", "pods")
    log.rename(tmp_path / "audit-1.log")
    add("delete", "pods")
    assert trail.take_writes() == 2, "the log was turned over between"
    with log.open("a") as lines:
        lines.write('{"verb": "pat')
    assert trail.take_writes() == 0, "a line that is not whole yet"
    assert [request.verb for request in trail.requests][-2:] == ["patch", "delete"]
    trail.close()


def test_a_metric_is_read_with_and_without_labels() -> None:
    page = 'other 1\nsybline_raft_term{member="1"} 7\nprocess_cpu_seconds_total 1.5e+02\n'
    assert metric(page, "sybline_raft_term") == 7
    assert metric(page, "process_cpu_seconds_total") == 150
    assert metric(page, "nothing") is None


def test_the_table_shows_what_is_not_known_as_a_dash_and_each_kind_of_finding() -> None:
    table = Table("title")
    assert "ended before" in table.markdown()
    table.rows.append(Row("scale", 1.24, 0.345, 100, 2, elections=1, writes=None))
    table.verdict = Report([Finding("lost", "q", "tag", "gone")], {"confirmed": 100})
    text = table.markdown()
    assert "| scale | 1.2 | 0.34 | 1 | 2 | 100 | — |" in text
    assert "| lost | 1 |" in text
