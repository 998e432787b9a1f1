"""The resource definition: what it knows of the operator, and how it reads with `kubectl explain`."""

import re
from collections.abc import Iterator
from importlib import resources

import yaml

from sybline_operator.json_object import Json
from sybline_operator.resource import pod_rules
from sybline_operator.resource.spec import ClusterSpec

TEXT = resources.files("sybline_operator.resource").joinpath("crd.yaml").read_text()
VERSION = yaml.safe_load(TEXT)["spec"]["versions"][0]
SCHEMA: Json = VERSION["schema"]["openAPIV3Schema"]


def fields(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield every field with its path."""
    for name, part in schema.get("properties", {}).items():
        yield f"{path}.{name}", part
        yield from fields(part, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from fields(schema["items"], f"{path}[]")


def listed(rule: str) -> set[str]:
    """Return the names in the list of a rule."""
    return set(re.findall(r"'([^']+)'", rule[rule.index("[") : rule.index("]")]))


def test_every_field_says_what_it_is_for() -> None:
    assert [path for path, part in fields(SCHEMA) if not part.get("description")] == []


def test_the_values_of_the_spec_and_the_definition_are_the_same_fields() -> None:
    wanted = {field.alias for field in ClusterSpec.model_fields.values()}
    assert set(SCHEMA["properties"]["spec"]["properties"]) == wanted


def test_defaults_are_the_same_on_both_sides() -> None:
    spec = ClusterSpec()
    for path, value in (("replicas", spec.replicas), ("imagePullPolicy", spec.image_pull_policy),
                        ("paused", spec.paused), ("image", spec.image)):  # fmt: skip
        assert SCHEMA["properties"]["spec"]["properties"][path]["default"] == value
    storage = SCHEMA["properties"]["spec"]["properties"]["storage"]["properties"]
    assert storage["size"]["default"] == spec.storage.size
    interval = SCHEMA["properties"]["spec"]["properties"]["monitoring"]["properties"]["interval"]
    assert interval["default"] == spec.monitoring.interval


def test_the_rules_of_the_pod_template_are_those_of_the_operator() -> None:
    parts = SCHEMA["properties"]["spec"]["properties"]["podTemplate"]["properties"]
    container = parts["containers"]["items"]["properties"]
    variables = parts["env"]["items"]["x-kubernetes-validations"]
    own = {name for name in pod_rules.READ_VARIABLES if not name.startswith("SYBLINE_")}
    assert listed(variables[1]["rule"]) == own
    for prefix in pod_rules.OWN_VARIABLES:
        assert f"startsWith('{prefix}')" in variables[0]["rule"]
    for rules in (parts["volumes"]["items"], container["volumeMounts"]["items"]):
        assert listed(rules["x-kubernetes-validations"][0]["rule"]) == pod_rules.OWN_VOLUMES
    port = container["ports"]["items"]["x-kubernetes-validations"][1]["rule"]
    numbers, names = re.findall(r"\[([^\]]*)\]", port)
    assert {int(number) for number in numbers.split(",")} == set(pod_rules.OWN_PORTS.values())
    assert set(re.findall(r"'([^']+)'", names)) == set(pod_rules.OWN_PORTS)


def test_a_person_sees_in_one_line_how_a_cluster_is() -> None:
    columns = [column["name"] for column in VERSION["additionalPrinterColumns"]]
    shown = [c["name"] for c in VERSION["additionalPrinterColumns"] if not c.get("priority")]
    assert shown == ["Members", "Ready", "Available", "Leader", "Status", "Age"]
    assert {"Restart", "Certificate until", "Image"} <= set(columns)
