"""The operator against a real API server: what the schema refuses, what is written, and that rest is quiet.

Needs KUBECONFIG (`make e2e` sets it). Members are not asked: no pod of these clusters ever runs.
"""

import contextlib
import json

import pytest

from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.metrics import Metrics
from sybline_operator.names import GROUP, KIND, VERSION, Names
from sybline_operator.reconcile import Context, reconcile
from sybline_operator.telling import Teller
from tests.e2e.api_server import NOWHERE, cluster
from tests.e2e.kube import Json, run, wait_for

pytestmark = pytest.mark.kubernetes
IMAGE = "nowhere/sybline:none"
NOW = "2026-01-01T00:00:00Z"


def look(api: KubernetesApi, names: Names, *, now: str = NOW) -> float | None:
    return reconcile(Context(api, IMAGE, now=lambda: now), names.namespace, names.cluster)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"replicas": 2}, "even number of members"),
        ({"replicas": 0}, "greater than or equal to 1"),
        ({"service": {"type": "ExternalName"}}, "Unsupported value"),
        ({"storage": {"size": "10GB"}}, "a size is a quantity such as 10Gi"),
        ({"tls": {"extraNames": ["münchen.example"]}}, "should match"),
        ({"storage": {"size": "0"}}, "a size is a quantity such as 10Gi"),
    ],
)
def test_the_api_server_refuses_what_can_be_known_to_be_wrong(
    api: KubernetesApi, names: Names, spec: Json, words: str
) -> None:
    with pytest.raises(ApiError, match=words):
        api.apply(cluster(names, **spec))


def test_a_name_that_pods_could_not_bear_is_refused(api: KubernetesApi, names: Names) -> None:
    for name in ("o" * 53, "0rders", "my.orders"):
        body = cluster(names, image=IMAGE)
        body["metadata"]["name"] = name
        with pytest.raises(ApiError, match="at most 52 characters"):
            api.apply(body)


def test_storage_never_shrinks(api: KubernetesApi, names: Names) -> None:
    api.apply(cluster(names, storage={"size": "2Gi"}))
    with pytest.raises(ApiError, match="never shrinks"):
        api.apply(cluster(names, storage={"size": "1Gi"}))
    api.apply(cluster(names, storage={"size": "3Gi"}))


def test_a_new_cluster_gets_its_children_and_one_permission_to_be_founded(
    api: KubernetesApi, names: Names
) -> None:
    api.apply(cluster(names, image=IMAGE))
    for _ in range(3):
        look(api, names)
    workload = api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set)
    assert workload is not None
    assert workload["spec"]["replicas"] == 3
    for kind in ("ConfigMap", "Secret", "Service"):
        found = api.list("v1", kind, names.namespace, names.selector)
        assert found, kind
    seed = api.get("v1", "ConfigMap", names.namespace, names.seed_config_map)
    assert seed is not None
    assert seed["data"] == {"member": names.pod(0)}


def test_at_rest_nothing_is_written(api: KubernetesApi, names: Names) -> None:
    api.apply(cluster(names, image=IMAGE))
    settled(api, names)
    before = api.writes
    for _ in range(5):
        look(api, names)
    assert api.writes == before


def test_at_rest_nothing_is_written_beside_an_object_of_somebody_else(
    api: KubernetesApi, names: Names
) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}
    where = {"name": names.client_service, "namespace": names.namespace}
    api.create({**service, "metadata": where})
    api.apply(cluster(names, image=IMAGE))
    settled(api, names)
    assert told(api, names)["SpecValid"]["status"] == "False"
    before = api.writes
    for hour in range(3):  # time goes on, and is no news
        look(api, names, now=f"2026-01-02T{hour:02}:00:00Z")
    assert api.writes == before


def test_a_seed_of_somebody_else_is_neither_used_nor_deleted(
    api: KubernetesApi, names: Names
) -> None:
    where = {"name": names.seed_config_map, "namespace": names.namespace}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": {"rows": "1,2"}}
    api.create(theirs)
    api.apply(cluster(names, image=IMAGE))
    for _ in range(3):
        look(api, names)
    assert told(api, names)["Progressing"]["reason"] == "ForeignObject"
    found = api.get("v1", "ConfigMap", names.namespace, names.seed_config_map)
    assert found is not None
    assert found["data"] == theirs["data"]
    assert api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set) is None


def test_what_a_quota_refuses_is_told_and_keeps_nothing_else_from_being_done(
    api: KubernetesApi, names: Names
) -> None:
    quota = {"hard": {"services.loadbalancers": "0"}}
    where = {"name": "none", "namespace": names.namespace}
    api.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": where, "spec": quota})

    def is_in_force() -> bool:
        found = api.get("v1", "ResourceQuota", names.namespace, "none")
        return found is not None and "hard" in found.get("status", {})

    wait_for("the quota is in force", is_in_force, deadline_s=30.0)
    api.apply(cluster(names, image=IMAGE, service={"type": "LoadBalancer"}))

    def is_made() -> bool:
        look(api, names)
        return api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set) is not None

    wait_for("the StatefulSet is made", is_made, deadline_s=30.0)
    found = told(api, names)["SpecValid"]
    assert (found["status"], found["reason"]) == ("False", "SpecRefused")
    assert "services.loadbalancers" in found["message"]


def test_where_disks_go_with_the_cluster_can_be_changed(api: KubernetesApi, names: Names) -> None:
    def kept() -> str:
        found = api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set)
        assert found is not None
        return str(found["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"])

    api.apply(cluster(names, image=IMAGE, storage={"retention": {"onDelete": "Delete"}}))
    settled(api, names)
    assert kept() == "Delete"
    api.apply(cluster(names, image=IMAGE, storage={"retention": {"onDelete": "Retain"}}))
    settled(api, names)
    assert kept() == "Retain"


def test_a_secret_that_members_have_is_not_made_again(api: KubernetesApi, names: Names) -> None:
    api.apply(cluster(names, image=IMAGE))
    settled(api, names)
    api.delete("v1", "Secret", names.namespace, names.admin_secret)
    look(api, names)
    assert api.get("v1", "Secret", names.namespace, names.admin_secret) is None
    assert f"the Secret {names.admin_secret} is gone" in told(api, names)["SpecValid"]["message"]


def settled(api: KubernetesApi, names: Names) -> None:
    """Look until a look writes nothing, and the scheduler has said of every pod that it fits nowhere."""

    def is_quiet() -> bool:
        before = api.writes
        look(api, names)
        body = api.get(f"{GROUP}/{VERSION}", KIND, names.namespace, names.cluster)
        assert body is not None
        rows = body["status"].get("members", [])
        return api.writes == before and len(rows) == 3 and all(row["trouble"] for row in rows)

    wait_for("a look that writes nothing", is_quiet, deadline_s=60.0)


def test_drift_in_children_is_repaired(api: KubernetesApi, names: Names) -> None:
    api.apply(cluster(names, image=IMAGE))
    settled(api, names)
    run(
        [
            "kubectl", "-n", names.namespace, "patch", "service", names.peer_service,
            "--type=merge", "-p", '{"spec":{"publishNotReadyAddresses":false}}',
        ]
    )  # fmt: skip
    another_label = '{"spec":{"selector":{"app":"shop"}}}'
    run(
        [
            "kubectl", "-n", names.namespace, "patch", "service", names.client_service,
            "--type=merge", "-p", another_label,
        ]
    )  # fmt: skip
    look(api, names)
    service = api.get("v1", "Service", names.namespace, names.peer_service)
    assert service is not None
    assert service["spec"]["publishNotReadyAddresses"] is True
    service = api.get("v1", "Service", names.namespace, names.client_service)
    assert service is not None
    assert service["spec"]["selector"] == names.selector


def test_drift_in_the_statefulset_is_repaired(api: KubernetesApi, names: Names) -> None:
    api.apply(cluster(names, image=IMAGE))
    settled(api, names)
    before = template(api, names)
    workload = f"statefulset/{names.stateful_set}"
    kubectl = ["kubectl", "-n", names.namespace]
    run([*kubectl, "set", "image", workload, "broker=elsewhere/other:1"])
    rolling = {"spec": {"updateStrategy": {"type": "RollingUpdate"}}}
    run([*kubectl, "patch", workload, "--type=merge", "-p", json.dumps(rolling)])
    settled(api, names)
    assert template(api, names)["spec"] == before["spec"]
    found = api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set)
    assert found is not None
    assert found["spec"]["updateStrategy"] == {"type": "OnDelete"}


def test_generated_passwords_are_never_generated_again(api: KubernetesApi, names: Names) -> None:
    api.apply(cluster(names, image=IMAGE))
    look(api, names)
    first = api.get("v1", "Secret", names.namespace, names.admin_secret)
    for _ in range(3):
        look(api, names)
    again = api.get("v1", "Secret", names.namespace, names.admin_secret)
    assert first is not None
    assert again is not None
    assert first["data"] == again["data"]


def test_a_spec_that_the_operator_refuses_is_said_in_a_condition_and_changes_nothing(
    api: KubernetesApi, names: Names
) -> None:
    api.apply(cluster(names, image=IMAGE))
    settled(api, names)
    before = template(api, names)
    api.apply(cluster(names, image=f"{IMAGE}-2", config={"member": {"id": 9}}))
    look(api, names)
    found = told(api, names)["SpecValid"]
    assert found["status"] == "False"
    assert "spec.config.member" in found["message"]
    assert template(api, names) == before


def test_what_happens_to_a_cluster_is_told_while_its_spec_is_refused(
    api: KubernetesApi, names: Names
) -> None:
    api.apply(cluster(names, image=IMAGE))
    settled(api, names)
    api.apply(cluster(names, image=IMAGE, config={"member": {"id": 9}}))
    settled(api, names)
    workload = ("apps/v1", "StatefulSet", names.namespace, names.stateful_set)
    api.delete(*workload)
    wait_for(
        "its pods are gone",
        lambda: not api.list("v1", "Pod", names.namespace, names.selector),
        deadline_s=60.0,
    )
    look(api, names)
    facts = told(api, names)
    assert (facts["Degraded"]["status"], facts["Degraded"]["reason"]) == ("True", "PodsMissing")
    assert facts["SpecValid"]["status"] == "False"
    assert api.get(*workload) is None, "nothing is done before the spec is right"
    api.apply(cluster(names, image=IMAGE))
    settled(api, names)
    assert told(api, names)["SpecValid"]["status"] == "True"
    assert api.get(*workload) is not None


def told(api: KubernetesApi, names: Names) -> dict[str, Json]:
    """Return the conditions."""
    body = api.get(f"{GROUP}/{VERSION}", KIND, names.namespace, names.cluster)
    assert body is not None
    return {condition["type"]: condition for condition in body["status"]["conditions"]}


def template(api: KubernetesApi, names: Names) -> Json:
    """Return what new pods are made of."""
    found = api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set)
    assert found is not None
    made: Json = found["spec"]["template"]
    return made


def test_a_statefulset_of_somebody_else_is_left_alone_and_named(
    api: KubernetesApi, names: Names
) -> None:
    pod = {"containers": [{"name": "shop", "image": IMAGE}], **NOWHERE}
    labels = {"app": "shop"}
    theirs = api.apply(
        {
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": names.stateful_set, "namespace": names.namespace},
            "spec": {
                "serviceName": "shop", "replicas": 0, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
    )  # fmt: skip
    api.apply(cluster(names, image=IMAGE))
    for _ in range(3):
        look(api, names)
    found = told(api, names)["Progressing"]
    assert found["reason"] == "ForeignObject"
    assert found["message"].startswith(f"the StatefulSet {names.stateful_set} is there already")
    now = api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set)
    assert now is not None
    assert now["metadata"]["generation"] == theirs["metadata"]["generation"]
    api.delete("apps/v1", "StatefulSet", names.namespace, names.stateful_set)
    settled(api, names)


def test_a_paused_cluster_is_left_alone(api: KubernetesApi, names: Names) -> None:
    api.apply(cluster(names, image=IMAGE, paused=True))
    look(api, names)
    assert api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set) is None
    assert api.get("v1", "ConfigMap", names.namespace, names.config_map) is None


def test_deleting_the_namespace_never_hangs_without_an_operator(
    api: KubernetesApi, names: Names
) -> None:
    api.apply(cluster(names, image=IMAGE))
    look(api, names)
    run(["kubectl", "delete", "namespace", names.namespace, "--timeout=60s"])


def test_an_event_that_happens_again_is_counted_as_kubectl_shows_it(
    api: KubernetesApi, names: Names
) -> None:
    api.apply(cluster(names, image=IMAGE))
    body = api.get(f"{GROUP}/{VERSION}", KIND, names.namespace, names.cluster)
    assert body is not None
    for _ in range(3):
        Teller(api, Metrics(), body, lambda: NOW).did("RestartPod", "Restarting orders-1")
    found = run(["kubectl", "-n", names.namespace, "get", "events", "-o", "json"])
    [event] = [item for item in json.loads(found)["items"] if item["reason"] == "RestartPod"]
    assert (event["count"], event["type"]) == (3, "Normal")
    described = run(["kubectl", "-n", names.namespace, "describe", "syb", names.cluster])
    assert "(x3 over" in described
    assert "Restarting orders-1" in described


class Ended(BaseException):
    """The operator ends here; not an error that it could handle."""


def test_an_operator_that_never_outlives_its_first_write_gets_on_all_the_same(
    api: KubernetesApi, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_after_a_write(point: str) -> None:
        if point == "after-write":
            raise Ended

    monkeypatch.setattr("sybline_operator.kubernetes_api.reach", ends_after_a_write)
    with contextlib.suppress(Ended):
        api.apply(cluster(names, image=IMAGE))

    def is_permitted() -> bool:
        with contextlib.suppress(Ended):
            look(api, names)
        return api.get("v1", "ConfigMap", names.namespace, names.seed_config_map) is not None

    wait_for("the permission to found the cluster", is_permitted, deadline_s=60.0)
    with contextlib.suppress(Ended):  # what its members would have told
        api.patch_status(
            f"{GROUP}/{VERSION}", KIND, names.namespace, names.cluster, {"clusterUid": "77"}
        )
    wait_for("the permission is taken back", lambda: not is_permitted(), deadline_s=60.0)
