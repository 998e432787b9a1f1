"""Charts, manifest, golden files and examples before a real API server and Helm: all is accepted as it is written.

Needs KUBECONFIG and Helm. Nothing runs: objects are dry runs, strict ones: a misspelt field is an error.
"""

import pytest
import yaml

from charts import generate
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.names import GROUP, KIND, VERSION, Names
from sybline_operator.reconcile import Context, reconcile
from tests.e2e import prometheus_operator
from tests.e2e.api_server import cluster
from tests.e2e.kube import Failed, Json, run
from tests.operator.forbidden import FORBIDDEN, Forbidden
from tests.operator.golden_objects import CHARTS, EXAMPLES, GOLDEN, ROOT, render, specs

pytestmark = pytest.mark.kubernetes
IMAGE = "nowhere/sybline:none"
DRY = ["--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"]
MONITORS = "monitoring.coreos.com/v1"


@pytest.fixture(scope="module", autouse=True)
def monitors() -> None:
    """The resource definitions of the Prometheus operator."""
    prometheus_operator.define()


def dry_run(objects: list[Json], namespace: str) -> None:
    """Let the API server check objects, in a namespace that is there.

    Raises:
        Failed: it refuses one.
    """
    for body in objects:
        if "namespace" in body["metadata"]:
            body["metadata"]["namespace"] = namespace
    run(["kubectl", "apply", *DRY, "-f", "-"], text=yaml.safe_dump_all(objects))


# --- what is generated ---
@pytest.mark.parametrize("name", sorted(CHARTS))
def test_a_chart_is_rendered_as_its_golden_file_says(name: str) -> None:
    assert render(name) == (GOLDEN / f"chart-{name}.yaml").read_text(), "see golden_objects.py"


def test_the_manifest_is_the_chart() -> None:
    written, wanted = generate.MANIFEST.read_text(), generate.manifest()
    assert list(yaml.safe_load_all(written)) == list(yaml.safe_load_all(wanted)), "make manifest"


@pytest.mark.parametrize("chart", ["sybline-operator", "sybline-cluster"])
def test_helm_finds_nothing_to_criticise(chart: str) -> None:
    run(["helm", "lint", "--strict", str(ROOT / "charts" / chart)])


@pytest.mark.parametrize(
    ("chart", "value", "words"),
    [
        ("sybline-operator", "replica=2", "replica"),
        ("sybline-operator", "replicas=0", "minimum"),
        ("sybline-operator", "logLevel=loud", "logLevel"),
        ("sybline-cluster", "spec.replikas=3", "replikas"),
        ("sybline-cluster", "spec.tls.mode=Maybe", "mode"),
        ("sybline-cluster", "spec.storage.retention.ondelete=Delete", "ondelete"),
    ],
)
def test_helm_refuses_values_that_nobody_reads(chart: str, value: str, words: str) -> None:
    with pytest.raises(Failed, match=words):
        run(["helm", "template", "x", str(ROOT / "charts" / chart), "--set", value])


# --- what the API server accepts ---
@pytest.mark.parametrize("name", sorted(specs()))
def test_the_api_server_accepts_every_child_strictly(
    api: KubernetesApi, names: Names, name: str
) -> None:
    found = list(yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()))
    mine = [body for body in found if not body["apiVersion"].startswith("cert-manager.io/")]
    dry_run(mine, names.namespace)


@pytest.mark.parametrize("name", sorted(CHARTS))
def test_the_api_server_accepts_every_object_of_a_chart_strictly(
    api: KubernetesApi, names: Names, name: str
) -> None:
    found = list(yaml.safe_load_all((GOLDEN / f"chart-{name}.yaml").read_text()))
    dry_run(found, names.namespace)


def test_the_api_server_accepts_the_manifest_strictly(api: KubernetesApi, names: Names) -> None:
    found = list(yaml.safe_load_all(generate.MANIFEST.read_text()))
    dry_run(found, names.namespace)


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_the_api_server_accepts_every_example_strictly(
    api: KubernetesApi, names: Names, example: str
) -> None:
    run(["kubectl", "-n", names.namespace, "apply", *DRY, "-f", str(EXAMPLES / example)])


@pytest.mark.parametrize(
    "case", [case for case in FORBIDDEN if case.by_definition], ids=lambda case: str(case.name)
)
def test_the_definition_refuses_what_would_break_safety(
    api: KubernetesApi, names: Names, case: Forbidden
) -> None:
    with pytest.raises(ApiError, match=r"operator's|broker|node|rights|setting"):
        api.apply(cluster(names, **case.spec))


@pytest.mark.parametrize(
    ("resources", "words"),
    [({"requests": {"cpu": "much"}}, "should match"), ({"requests": {"cpu": True}}, "must be")],
)
def test_the_definition_refuses_quantities_that_are_none(
    api: KubernetesApi, names: Names, resources: Json, words: str
) -> None:
    with pytest.raises(ApiError, match=words):
        api.apply(cluster(names, resources=resources))
    api.apply(cluster(names, resources={"requests": {"cpu": 1, "memory": "1.5Gi"}}))


def test_kubectl_explains_every_part(api: KubernetesApi) -> None:
    said = run(["kubectl", "explain", "syb", "--recursive", "--api-version", f"{GROUP}/{VERSION}"])
    assert "networkPolicy" in said
    said = run(["kubectl", "explain", "syb.spec.networkPolicy.clients"])
    assert "an empty list is nobody" in said


# --- what the operator makes of it ---
def look(api: KubernetesApi, names: Names) -> Json:
    reconcile(
        Context(api, IMAGE, now=lambda: "2026-01-01T00:00:00Z"), names.namespace, names.cluster
    )
    body = api.get(f"{GROUP}/{VERSION}", KIND, names.namespace, names.cluster)
    assert body is not None
    return {found["type"]: found for found in body["status"]["conditions"]}


def test_a_pod_monitor_comes_and_goes_with_the_spec(api: KubernetesApi, names: Names) -> None:
    key = (MONITORS, "PodMonitor", names.namespace, names.pod_monitor)
    api.apply(cluster(names, image=IMAGE, monitoring={"podMonitor": True}))
    assert look(api, names)["Monitored"]["status"] == "True"
    assert api.get(*key) is not None
    api.apply(cluster(names, image=IMAGE))
    assert look(api, names)["Monitored"]["reason"] == "NotAsked"
    assert api.get(*key) is None


def test_one_child_that_the_api_server_refuses_keeps_no_other_from_being_made(
    api: KubernetesApi, names: Names
) -> None:
    wrong = {"service": {"annotations": {"not a name": "x"}}}
    api.apply(cluster(names, image=IMAGE, **wrong))
    found = look(api, names)
    assert found["SpecValid"]["status"] == "False"
    assert f"/services/{names.client_service}:" in found["SpecValid"]["message"]
    assert api.get("v1", "Service", names.namespace, names.peer_service) is not None
    assert api.get("v1", "ConfigMap", names.namespace, names.config_map) is not None
    api.apply(cluster(names, image=IMAGE))
    assert look(api, names)["SpecValid"]["status"] == "True"


def test_a_service_of_an_application_with_the_clusters_name_is_left_alone(
    api: KubernetesApi, names: Names
) -> None:
    spec: Json = {"selector": {"app": "shop"}, "ports": [{"port": 80}]}
    key = ("v1", "Service", names.namespace, names.client_service)
    name = {"name": names.client_service, "namespace": names.namespace}
    api.apply({"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": spec})
    api.apply(cluster(names, image=IMAGE))
    found = look(api, names)["SpecValid"]
    assert found["status"] == "False"
    assert "belongs to somebody else" in found["message"]
    service = api.get(*key)
    assert service is not None
    assert service["spec"]["selector"] == {"app": "shop"}


@pytest.mark.parametrize(
    "peer", [{}, {"podSelektor": {}}, {"podSelector": {}, "ipBlock": {"cidr": "192.0.2.0/24"}}]
)
def test_a_peer_that_is_none_is_refused(api: KubernetesApi, names: Names, peer: Json) -> None:
    with pytest.raises(ApiError, match=r"a peer is either|field not declared"):
        api.apply(cluster(names, networkPolicy={"clients": [peer]}))


def test_a_network_policy_that_is_not_wanted_goes_and_that_of_others_stays(
    api: KubernetesApi, names: Names
) -> None:
    key = ("networking.k8s.io/v1", "NetworkPolicy", names.namespace, names.network_policy)
    api.apply(cluster(names, image=IMAGE))
    look(api, names)
    assert api.get(*key) is not None
    api.apply(cluster(names, image=IMAGE, networkPolicy={"enabled": False}))
    look(api, names)
    assert api.get(*key) is None
    name = {"name": names.network_policy, "namespace": names.namespace}
    api.apply({"apiVersion": key[0], "kind": key[1], "metadata": name, "spec": {"podSelector": {}}})
    look(api, names)
    assert api.get(*key) is not None
