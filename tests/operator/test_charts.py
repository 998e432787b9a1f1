"""The charts say what the operator says: one resource definition, one set of rights."""

import json
from importlib import resources
from pathlib import Path

import yaml

from sybline_operator import kubernetes_api, observe, reconcile

CHARTS = Path(__file__).parents[2] / "charts"
KEEP = "  annotations:\n    helm.sh/resource-policy: keep\n"


def test_the_chart_carries_the_resource_definition_of_the_operator() -> None:
    own = resources.files("sybline_operator.resource").joinpath("crd.yaml").read_text()
    chart = (CHARTS / "sybline-operator/templates/crd.yaml").read_text()
    body = chart.removeprefix("{{- if .Values.crd.install }}\n").removesuffix("{{- end }}\n")
    assert body.count(KEEP) == 1
    assert body.replace(KEEP, "") == own


def test_every_value_of_a_chart_is_in_its_schema() -> None:
    for chart in ("sybline-operator", "sybline-cluster"):
        values = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
        schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
        assert set(values) <= set(schema["properties"])
        assert schema["additionalProperties"] is False


def test_the_operator_reads_no_list_of_secrets() -> None:
    rules = (CHARTS / "sybline-operator/templates/_helpers.tpl").read_text()
    section = rules[rules.index("resources: [secrets]") :]
    assert section.splitlines()[1].strip() == "verbs: [get, create]"
    assert all("Secret" not in line or ".list(" not in line for module in (observe, reconcile, kubernetes_api)
               for line in Path(str(module.__file__)).read_text().splitlines())  # fmt: skip
