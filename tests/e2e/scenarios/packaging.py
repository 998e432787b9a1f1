"""The operator is upgraded and taken away, which no member notices; the examples and the manifest do what they say."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import yaml

from charts.generate import MANIFEST, NAMESPACE
from tests.e2e import prometheus_operator
from tests.e2e.installation import (
    CHARTS,
    INSTALLED_S,
    RELEASE,
    create_namespace,
    delete_namespace,
)
from tests.e2e.kube import Failed, Json, Kube, run, wait_for
from tests.e2e.life import SETTLED_S, Life, Scenario
from tests.support.certificates import Authority

CHART: Final = str(CHARTS / "sybline-operator")
EXAMPLES: Final = CHARTS.parent / "examples"
DEFINITION: Final = "CustomResourceDefinition"
_CLUSTER_WIDE: Final = ("ClusterRole", "ClusterRoleBinding")


# --- the operator comes and goes ---
@contextmanager
def unnoticed(life: Life) -> Iterator[None]:
    """Check that what happens meanwhile restarts no member."""
    before = life.uids()
    yield
    life.settle(len(before))
    assert life.uids() == before, "a pod was restarted"


def upgrade(life: Life) -> None:
    """Upgrade the release to two replicas and back, as another version would be rolled out."""
    with unnoticed(life):
        _upgrade(life, "replicas=2", "logLevel=debug")
        _upgrade(life, "replicas=1", "logLevel=info")


def _upgrade(life: Life, *values: str) -> None:
    sets = [word for value in values for word in ("--set", value)]
    _helm(life, "upgrade", RELEASE, CHART, "--reuse-values", *sets)


def _helm(life: Life, *arguments: str) -> None:
    waiting = ["-n", life.kube.namespace, "--wait", "--timeout", f"{INSTALLED_S}s"]
    run(["helm", *arguments, *waiting], deadline_s=INSTALLED_S + 20.0)


def _values(life: Life) -> Json:
    """Return what the release was installed with."""
    found: Json = json.loads(
        run(["helm", "get", "values", RELEASE, "-n", life.kube.namespace, "-o", "json"])
    )
    return found


def uninstall_operator(life: Life) -> None:
    """Take the operator away: members serve on, and a pod that is lost comes back by itself; then install it again."""
    values = _values(life)
    before = life.uids()
    life.settle(len(before))
    lost = life.member("voter")["name"]  # as long as there is somebody who keeps the status true
    _helm(life, "uninstall", RELEASE)
    assert life.uids() == before, "a pod went with the operator"
    life.kube.kubectl("delete", "pod", lost)
    wait_for(
        f"{lost} serves again without an operator",
        lambda: _is_ready(life.pods().get(lost, {})) and life.uids()[lost] != before[lost],
        deadline_s=SETTLED_S,
    )
    with unnoticed(life):
        sets = [
            word
            for key, value in values.items()
            for word in ("--set-json", f"{key}={json.dumps(value)}")
        ]
        _helm(life, "install", RELEASE, CHART, *sets)


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


# --- examples ---
@contextmanager
def namespace_beside(life: Life, name: str) -> Iterator[Kube]:
    """Yield a further namespace that the operator watches meanwhile."""
    kube = Kube(f"{life.kube.namespace}-{name}")
    watched = _values(life).get("watchNamespaces", [])
    create_namespace(kube)
    try:
        if watched:
            _upgrade(life, f"watchNamespaces={{{','.join([*watched, kube.namespace])}}}")
        yield kube
    finally:
        if watched:
            _upgrade(life, f"watchNamespaces={{{','.join(watched)}}}")
        delete_namespace(kube)


def example(life: Life, file: str) -> None:
    """Apply an example as it is, wait until its cluster is at rest, and look at what it asked for."""
    path = EXAMPLES / f"{file}.yaml"
    body = next(
        found for found in yaml.safe_load_all(path.read_text()) if found["kind"] == "SyblineCluster"
    )
    spec = body["spec"]
    with namespace_beside(life, file) as kube:
        there = Life(
            kube, life.image, body["metadata"]["name"],
            tls=spec.get("tls", {}).get("mode") != "Disabled",
        )  # fmt: skip
        _provide(there, spec)
        kube.kubectl("apply", "-f", str(path))
        there.settle(spec.get("replicas", 3))
        _check(there, spec)
        there.uninstall()
        kube.kubectl("delete", "-f", str(path), "--ignore-not-found")  # what is not in a namespace


def _provide(there: Life, spec: Json) -> None:
    """Make what an example says must be there before."""
    secret = spec.get("tls", {}).get("secretName")
    if secret:
        there.kube.apply(_certificate(there, secret))
    if spec.get("monitoring", {}).get("podMonitor"):
        prometheus_operator.define()


def _certificate(there: Life, name: str) -> Json:
    """Return a Secret as cert-manager writes it, with the names that docs/operations/certificates.md asks for."""
    namespace = there.kube.namespace
    authority = Authority()
    pair = authority.issue(
        hosts=[f"{there.name}.{namespace}.svc", f"*.{there.name}-peers.{namespace}.svc"],
        identity=f"sybline://{namespace}.{there.name}/peer",
    )
    values = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.pem}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name},
        "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
    }


def _check(there: Life, spec: Json) -> None:
    asked = spec.get("monitoring", {}).get("podMonitor", False)
    assert (there.condition("Monitored") == "True") is asked
    assert there.condition("TLSReady") == ("True" if there.tls else "False")
    assert _exists(there, "podmonitor") is asked if prometheus_operator.is_defined() else not asked
    assert _exists(there, "networkpolicy") is spec.get("networkPolicy", {}).get("enabled", True)
    wanted = spec.get("scheduling", {})
    pods = list(there.pods().values())
    for pod in pods:
        named = pod["spec"].get("priorityClassName", "")
        assert named == wanted.get("priorityClassName", "")
    if wanted.get("topologySpreadConstraints"):
        nodes = {pod["spec"]["nodeName"] for pod in pods}
        assert len(nodes) == len(pods), "two members share a node"


def _exists(there: Life, kind: str) -> bool:
    try:
        there.kube.get(kind, there.name)
    except Failed:
        return False
    return True


# --- without Helm ---
def manifest(life: Life) -> None:
    """Apply the generated manifest, kept to a namespace of its own, and let it make a cluster."""
    kube = Kube(f"{life.kube.namespace}-manifest")
    create_namespace(kube)
    objects = _confined(kube, _values(life), life.image)
    try:
        kube.kubectl("apply", "--server-side", "-f", "-", text=yaml.safe_dump_all(objects))
        kube.kubectl("rollout", "status", f"deployment/{RELEASE}", f"--timeout={INSTALLED_S}s")
        kube.kubectl("apply", "-f", str(EXAMPLES / "development.yaml"))
        there = Life(kube, life.image, "orders-dev", tls=False)
        there.settle(1)
        there.uninstall()
    finally:
        for body in objects:
            if body["kind"] in _CLUSTER_WIDE:
                run(["kubectl", "delete", body["kind"], body["metadata"]["name"]])
        delete_namespace(kube)


def _confined(kube: Kube, values: Json, broker: str) -> list[Json]:
    """Return the manifest with this run's images, watching one namespace: other runs may use the same cluster."""
    text = MANIFEST.read_text().replace(f"namespace: {NAMESPACE}", f"namespace: {kube.namespace}")
    kept = [
        body
        for body in yaml.safe_load_all(text)
        if body and body["kind"] not in (DEFINITION, "Namespace")
    ]
    for body in kept:
        if body["kind"] in _CLUSTER_WIDE:
            body["metadata"]["name"] = kube.namespace
        if body["kind"] == "ClusterRoleBinding":
            body["roleRef"]["name"] = kube.namespace
        if body["kind"] == "Deployment":
            container = body["spec"]["template"]["spec"]["containers"][0]
            image = values["image"]
            container["image"] = f"{image['repository']}:{image['tag']}"
            container["args"].append(f"--namespace={kube.namespace}")
            for variable in container["env"]:
                if variable["name"] == "SYBLINE_OPERATOR_BROKER_IMAGE":
                    variable["value"] = broker
    return kept


SCENARIOS = (
    Scenario("operator upgraded", upgrade, unnoticed=True),
    Scenario(
        "operator uninstalled, installed again", uninstall_operator, core=True, unnoticed=True
    ),
    Scenario("examples/minimal.yaml", lambda life: example(life, "minimal")),
    Scenario("examples/production.yaml", lambda life: example(life, "production")),
    Scenario("examples/development.yaml", lambda life: example(life, "development")),
    Scenario("operator/install.yaml", manifest, unnoticed=True),
)
