"""Disks against a real API server: they grow or are refused, the StatefulSet is made anew, and every crash is survived.

Needs KUBECONFIG, of a cluster with controllers. Members are not asked, for no pod of these clusters is ever placed on a
node; the tests play the provisioner.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sybline_operator.kubernetes_api import KubernetesApi, connect
from sybline_operator.names import GROUP, KIND, VERSION, Names
from sybline_operator.reconcile import Context, reconcile
from tests.e2e.api_server import cluster
from tests.e2e.kube import Json, run, wait_for

pytestmark = pytest.mark.kubernetes
NOW = "2026-01-01T00:00:00Z"
SETTLED_S = 60.0
CLAIM = ("v1", "PersistentVolumeClaim")
WORKLOAD = ("apps/v1", "StatefulSet")
TEMPLATE = "sybline.io/template"


class Crash(BaseException):
    """The operator ends here; not an error that it could handle."""


class Site:
    """One cluster whose members' disks are there, in a namespace and with a storage class of its own."""

    def __init__(self, api: KubernetesApi, names: Names, class_name: str) -> None:
        self.api = api
        self.names = names
        self.class_name = class_name

    def apply(self, size: str, **spec: Any) -> None:
        asked = {"size": size, "className": self.class_name}
        image, tls = "nowhere/sybline:none", {"mode": "Disabled"}
        self.api.apply(cluster(self.names, image=image, storage=asked, tls=tls, **spec))

    def look(self) -> None:
        reconcile(Context(self.api, "", now=lambda: NOW), self.names.namespace, self.names.cluster)

    def found(self) -> None:
        """Record that the cluster is founded, as its first pod would have made the operator do."""
        key = (f"{GROUP}/{VERSION}", KIND, self.names.namespace, self.names.cluster)
        self.api.patch_status(*key, {"clusterUid": "77"})
        wait_for("the StatefulSet is there", self._is_made, deadline_s=SETTLED_S)

    def _is_made(self) -> bool:
        self.look()
        return self.api.get(*WORKLOAD, self.names.namespace, self.names.stateful_set) is not None

    def workload(self) -> Json:
        found = self.api.get(*WORKLOAD, self.names.namespace, self.names.stateful_set)
        assert found is not None
        return found

    def claim(self, ordinal: int) -> Json:
        found = self.api.get(*CLAIM, self.names.namespace, self.names.claim(ordinal))
        assert found is not None
        return found

    def asked(self) -> list[str]:
        """Return what the disks ask for."""
        return [
            self.claim(ordinal)["spec"]["resources"]["requests"]["storage"] for ordinal in range(3)
        ]

    def condition(self, kind: str) -> Json:
        body = self.api.get(f"{GROUP}/{VERSION}", KIND, self.names.namespace, self.names.cluster)
        assert body is not None
        return next(c for c in body["status"]["conditions"] if c["type"] == kind)

    def events(self, reason: str) -> list[str]:
        found = self.api.list("v1", "Event", self.names.namespace, {})
        return [event["message"] for event in found if event["reason"] == reason]

    def pod_uids(self) -> set[str]:
        found = self.api.list("v1", "Pod", self.names.namespace, self.names.selector)
        return {pod["metadata"]["uid"] for pod in found}

    def make_disks(self) -> None:
        """Make a volume for each claim, bound to it."""
        for ordinal in range(3):
            name = f"{self.names.namespace}-{ordinal}"
            self.api.create(volume(name, self.names, ordinal, self.class_name))
            self.api.create(claim(name, self.names, ordinal, self.class_name))
        wait_for("all disks are bound", self._are_bound, deadline_s=SETTLED_S)

    def _are_bound(self) -> bool:
        return all(self.claim(at)["status"].get("phase") == "Bound" for at in range(3))

    def provision(self) -> None:
        """Give every disk what it asks for, as the storage class's provisioner would."""
        for ordinal, asked in enumerate(self.asked()):
            status = {"capacity": {"storage": asked}}
            self.api.patch_status(*CLAIM, self.names.namespace, self.names.claim(ordinal), status)

    def settle(self, size: str) -> None:
        """Look until the StatefulSet gives new disks the size, with a provisioner that keeps up."""

        def is_grown() -> bool:
            self.look()
            self.provision()
            found = self.api.get(*WORKLOAD, self.names.namespace, self.names.stateful_set)
            return found is not None and size_of(found) == size

        wait_for(f"the StatefulSet has disks of {size}", is_grown, deadline_s=SETTLED_S)


def size_of(workload: Json) -> str:
    size: str = workload["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"][
        "storage"
    ]
    return size


def volume(name: str, names: Names, ordinal: int, class_name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class_name,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"/var/lib/{name}"},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": names.namespace, "name": names.claim(ordinal),
            },
        },
    }  # fmt: skip


def claim(name: str, names: Names, ordinal: int, class_name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names.claim(ordinal),
            "namespace": names.namespace,
            "labels": names.selector,
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class_name,
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def storage_class(name: str, *, may_grow: bool) -> Json:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "sybline.test/played-by-the-test",
        "allowVolumeExpansion": may_grow,
    }


@contextmanager
def a_site(*, may_grow: bool) -> Iterator[Site]:
    name = f"sybline-{secrets.token_hex(4)}"
    api = connect()
    run(["kubectl", "create", "namespace", name])
    api.create(storage_class(name, may_grow=may_grow))
    site = Site(api, Names(name, "orders"), name)
    try:
        site.apply("1Gi")
        site.make_disks()
        site.look()
        site.found()
        wait_for("the pods are there", lambda: len(site.pod_uids()) == 3, deadline_s=SETTLED_S)
        yield site
    finally:
        run(["kubectl", "delete", "namespace", name, "--wait=false", "--ignore-not-found"])
        api.delete("storage.k8s.io/v1", "StorageClass", "", name)
        for ordinal in range(3):
            api.delete("v1", "PersistentVolume", "", f"{name}-{ordinal}")


@pytest.fixture
def site() -> Iterator[Site]:
    """A cluster whose disks may grow."""
    with a_site(may_grow=True) as made:
        yield made


def test_disks_grow_the_statefulset_is_made_anew_and_its_pods_stay(site: Site) -> None:
    pods, before = site.pod_uids(), site.workload()["metadata"]["uid"]
    site.apply("2Gi")
    site.settle("2Gi")
    assert site.asked() == ["2Gi"] * 3
    assert site.workload()["metadata"]["uid"] != before
    assert site.pod_uids() == pods
    assert len(site.events("ExpandClaim")) == 3
    assert len(site.events("ReplaceWorkload")) == 1


def test_the_statefulset_waits_until_the_provisioner_has_done_it(site: Site) -> None:
    site.apply("2Gi")
    before = site.workload()["metadata"]["uid"]
    for _ in range(8):
        site.look()
    assert site.asked() == ["2Gi"] * 3
    assert site.workload()["metadata"]["uid"] == before
    site.settle("2Gi")


def test_a_class_that_does_not_allow_it_is_told_once_and_nothing_is_half_done() -> None:
    with a_site(may_grow=False) as site:
        site.apply("2Gi")
        for _ in range(4):
            site.look()
        assert site.asked() == ["1Gi"] * 3
        assert size_of(site.workload()) == "1Gi"
        told = site.events("DiskCannotGrow")
        found = site.condition("Progressing")
        assert (found["status"], found["reason"]) == ("True", "DiskCannotGrow")
        assert "storageclass" in found["message"]
        assert len(told) == 1
        site.api.patch(
            "storage.k8s.io/v1", "StorageClass", "", site.class_name, {"allowVolumeExpansion": True}
        )
        site.settle("2Gi")


def test_other_changes_are_made_while_disks_may_not_grow() -> None:
    with a_site(may_grow=False) as site:
        site.apply("2Gi", service={"type": "NodePort"})
        site.look()
        service = site.api.get("v1", "Service", site.names.namespace, site.names.client_service)
        assert service is not None
        assert service["spec"]["type"] == "NodePort"


def test_a_quota_is_asked_too(site: Site) -> None:
    site.api.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": site.names.namespace},
            "spec": {"hard": {"requests.storage": "3Gi"}},
        }
    )

    def is_refused() -> bool:
        site.apply("2Gi")
        site.look()
        return site.condition("Progressing")["reason"] == "DiskCannotGrow"

    wait_for("the quota refuses", is_refused, deadline_s=SETTLED_S)
    assert "quota" in site.condition("Progressing")["message"]


def test_an_operator_that_ends_at_any_write_goes_on_from_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = site.pod_uids()
    in_force = template_hash(site.workload())
    crashes = [(point, at) for point in ("before-write", "after-write") for at in range(1, 9)]
    for gibibytes, (point, at) in enumerate(crashes, start=2):
        site.apply(f"{gibibytes}Gi")
        with monkeypatch.context() as patched:
            patched.setattr("sybline_operator.kubernetes_api.reach", Crashing(point, at))
            with pytest.raises(Crash):
                site.settle(f"{gibibytes}Gi")
        site.settle(f"{gibibytes}Gi")
        assert site.pod_uids() == pods
        assert template_hash(site.workload()) == in_force


class Crashing:
    """Crash points of which one ends the operator, the n-th time it gets there."""

    def __init__(self, point: str, at: int) -> None:
        self._point = point
        self._left = at

    def __call__(self, name: str) -> None:
        self._left -= name == self._point
        if not self._left:
            raise Crash


def template_hash(workload: Json) -> str:
    found: str = workload["spec"]["template"]["metadata"]["annotations"][TEMPLATE]
    return found


def test_a_statefulset_that_somebody_took_away_comes_back_as_it_was_around_its_pods(
    site: Site,
) -> None:
    pods, before = site.pod_uids(), site.workload()
    run(
        [
            "kubectl", "-n", site.names.namespace, "delete", "statefulset", site.names.stateful_set,
            "--cascade=orphan",
        ]
    )  # fmt: skip
    site.apply("1Gi", podTemplate={"annotations": {"changed": "meanwhile"}})
    site.look()
    after = site.workload()
    assert template_hash(after) == template_hash(before)
    assert "changed" not in after["spec"]["template"]["metadata"]["annotations"]
    wait_for(
        "the pods are adopted",
        lambda: owners(site) == {after["metadata"]["uid"]},
        deadline_s=SETTLED_S,
    )
    assert site.pod_uids() == pods


def owners(site: Site) -> set[str]:
    found = site.api.list("v1", "Pod", site.names.namespace, site.names.selector)
    return {owner["uid"] for pod in found for owner in pod["metadata"].get("ownerReferences", [])}


def test_at_rest_growing_disks_costs_nothing(site: Site) -> None:
    site.apply("2Gi")
    site.settle("2Gi")

    def is_quiet() -> bool:
        before = site.api.writes
        site.look()
        return site.api.writes == before

    wait_for("a look that writes nothing", is_quiet, deadline_s=SETTLED_S)
