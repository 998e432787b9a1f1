"""The charts say what the operator says: one resource definition, one schema, rights and alerts that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import generate
from sybline_operator import kubernetes_api, observe, reconcile
from sybline_operator.metrics import Metrics

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
ALERTS = CHARTS / "sybline-operator/files/alerts.yaml"
METRIC = re.compile(r"\bsybline_\w+")
LABELS = {"sybline_io_cluster"}  # of pods, as Prometheus writes sybline.io/cluster


def test_the_chart_carries_the_resource_definition_of_the_operator() -> None:
    assert generate.DEFINITION.read_text() == generate.definition(), "make manifest"


def test_the_values_of_a_cluster_have_the_schema_of_its_spec() -> None:
    assert generate.SCHEMA.read_text() == generate.values_schema(), "make manifest"


@pytest.mark.parametrize("chart", ["sybline-operator", "sybline-cluster"])
def test_every_value_of_a_chart_is_in_its_schema_and_every_schema_is_strict(chart: str) -> None:
    values = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    missing = set(schema["properties"]) - set(values) - {"global"}
    assert not missing, "a value without a default in values.yaml is one that nobody finds"
    _check(values, schema, chart)


def _check(values: Any, schema: Any, path: str) -> None:
    if not isinstance(values, dict) or "properties" not in schema:
        return
    assert set(values) <= set(schema["properties"]), path
    for key, value in values.items():
        _check(value, schema["properties"][key], f"{path}.{key}")


def test_a_misspelt_key_of_the_spec_is_an_error_of_the_schema() -> None:
    spec = generate.strict(
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "x-kubernetes-validations": []}},
        }
    )
    assert spec == {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "additionalProperties": False,
    }


def test_the_operator_reads_no_list_of_secrets() -> None:
    rules = (CHARTS / "sybline-operator/templates/_helpers.tpl").read_text()
    section = rules[rules.index("resources: [secrets]") :]
    assert section.splitlines()[1].strip() == "verbs: [get, create, patch]"
    assert all("Secret" not in line or ".list(" not in line for module in (observe, reconcile, kubernetes_api)
               for line in Path(str(module.__file__)).read_text().splitlines())  # fmt: skip


# --- alerts ---
def emitted() -> set[str]:
    """Return the names that operator and members give their series."""
    metrics = Metrics()
    metrics.clusters.ages_s = lambda: {("a", "b"): 1.0}
    status = {"conditions": [], "tls": {"notAfter": "2030-01-01T00:00:00+00:00"}}
    metrics.clusters.tell(("a", "b"), status)
    own = set(re.findall(r"^# TYPE (\w+)", metrics.render().decode(), re.M))
    sources = "".join(path.read_text() for path in (ROOT / "broker/src/sybline").rglob("*.py"))
    return own | set(re.findall(r'"(sybline_\w+)"', sources))


def test_every_metric_of_an_alert_is_emitted() -> None:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    used = {name for rule in rules for name in METRIC.findall(rule["expr"])} - LABELS
    assert used
    assert used - emitted() == set()


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
            assert rule["annotations"]["summary"], rule["alert"]
