"""What is generated from the resource definition and the charts: `make manifest` writes it, tests compare it.

- the definition as a template of `sybline-operator`, which keeps it when the release goes;
- the schema of the values of `sybline-cluster`, strict, from the schema of the spec;
- `operator/install.yaml`, the operator's chart for those who do not use Helm.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

CHARTS: Final = Path(__file__).parent
SOURCE: Final = CHARTS.parent / "operator/src/sybline_operator/resource/crd.yaml"
DEFINITION: Final = CHARTS / "sybline-operator/templates/crd.yaml"
SCHEMA: Final = CHARTS / "sybline-cluster/values.schema.json"
MANIFEST: Final = CHARTS.parent / "operator/install.yaml"
NAMESPACE: Final = "sybline-system"
HELM_S: Final = 60.0
Json = dict[str, Any]

_MANIFEST_HEAD: Final = f"""\
# The operator without Helm: kubectl apply --server-side -f operator/install.yaml
# Generated from charts/sybline-operator by `make manifest`.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def definition() -> str:
    """Return the template of the resource definition."""
    name = "  name: syblineclusters.sybline.io\n"
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(name) == 1
    kept = text.replace(name, f"{name}  annotations:\n    helm.sh/resource-policy: keep\n")
    return f"{{{{- if .Values.crd.install }}}}\n{kept}{{{{- end }}}}\n"


def values_schema() -> str:
    """Return the schema of the values of `sybline-cluster`."""
    versions = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))["spec"]["versions"]
    spec = versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["spec"],
        "properties": {
            "name": {"type": "string", "maxLength": 52, "description": "Empty is the release's."},
            "labels": {**texts, "description": "Of the resource."},
            "annotations": {**texts, "description": "Of the resource, such as an approval."},
            "spec": strict(spec),
            "global": {"type": "object"},
        },
    }
    return json.dumps(schema, indent=2) + "\n"


def strict(schema: Json) -> Json:
    """Return a schema of Kubernetes as one of JSON Schema in which a misspelt key is an error."""
    found = {
        key: value
        for key, value in schema.items()
        if not key.startswith("x-kubernetes-") and key not in ("properties", "items", "format")
    }
    if isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = strict(schema["additionalProperties"])
    if "properties" in schema:
        parts = schema["properties"].items()
        found["properties"] = {name: strict(part) for name, part in parts}
        found["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if "items" in schema:
        found["items"] = strict(schema["items"])
    return found


def manifest() -> str:
    """Return the operator's chart, rendered with its defaults.

    Raises:
        OSError, subprocess.SubprocessError: Helm is missing, or refuses the chart.
    """
    rendered = subprocess.run(  # noqa: S603 - fixed words
        ["helm", "template", "sybline-operator", str(CHARTS / "sybline-operator"), "-n", NAMESPACE],  # noqa: S607
        capture_output=True, text=True, check=True, timeout=HELM_S,
    ).stdout  # fmt: skip
    return _MANIFEST_HEAD + rendered.replace(
        "app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl"
    )


def main() -> int:
    """Write all of it."""
    DEFINITION.write_text(definition(), encoding="utf-8")
    SCHEMA.write_text(values_schema(), encoding="utf-8")
    MANIFEST.write_text(manifest(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
