"""The steps of a recovery against a real API server: what is written, what is deleted and what is not, all of it twice.

Needs KUBECONFIG. No member is asked: what they say is in the planner's tests and the end-to-end scenario.
"""

import pytest

from sybline_operator import recovery
from sybline_operator.carry_out import carry_out
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.manifests.configuration import ORDER_KEY
from sybline_operator.names import CLUSTER_LABEL, GROUP, KIND, VERSION, Names
from sybline_operator.observation import Observed, RecoveryRecord, RecoverySeen, Victim
from sybline_operator.recovery_record import look_at_recovery
from sybline_operator.resource.spec import ClusterSpec
from sybline_operator.status import is_news
from sybline_operator.steps import (
    BeginRecovery,
    CancelRecovery,
    FenceMember,
    FinishRecovery,
    OrderRecovery,
    Step,
)
from tests.e2e.api_server import cluster
from tests.e2e.kube import Json, wait_for

pytestmark = pytest.mark.kubernetes
NOW = "2026-01-01T00:00:00Z"


class Place:
    """A namespace with a cluster's resource, one pod that runs nowhere and its claim."""

    def __init__(self, api: KubernetesApi, names: Names) -> None:
        self.api, self.names = api, names
        uid = api.apply(cluster(names, paused=True))["metadata"]["uid"]
        self.wanted = Wanted(
            ClusterSpec(), names, Owner(names.cluster, uid), "nowhere/sybline:none"
        )
        self.pod, self.claim = names.pod(1), names.claim(1)
        self.pod_uid, self.claim_uid = self._make_pod(), self._make_claim()

    def do(self, step: Step) -> str:
        return carry_out(step, self.api, None, self.wanted, Observed(self.names, None))

    def seen(self) -> RecoverySeen:
        return look_at_recovery(self.api, self.names, {}, NOW)

    def resource(self) -> Json:
        found = self.api.get(f"{GROUP}/{VERSION}", KIND, self.names.namespace, self.names.cluster)
        assert found is not None
        return found

    def is_there(self, kind: str, name: str) -> bool:
        found = self.api.get("v1", kind, self.names.namespace, name)
        return found is not None and "deletionTimestamp" not in found["metadata"]

    def _make_pod(self) -> str:
        body = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.pod, "namespace": self.names.namespace, "labels": {CLUSTER_LABEL: "orders"}},
            "spec": {
                "nodeSelector": {"no/such": "node"},
                "containers": [{"name": "broker", "image": "nowhere/sybline:none"}],
            },
        }  # fmt: skip
        return str(self.api.apply(body)["metadata"]["uid"])

    def _make_claim(self) -> str:
        body = {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": self.claim, "namespace": self.names.namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }  # fmt: skip
        return str(self.api.apply(body)["metadata"]["uid"])


@pytest.fixture
def place(api: KubernetesApi, names: Names) -> Place:
    """A cluster of which two members lost their disks."""
    return Place(api, names)


def record_of(place: Place, victim: Victim) -> RecoveryRecord:
    return RecoveryRecord("r", place.names.pod(0), "pod uid", 1 << 60, 5, (1 << 63) - 1, 4, 100, (victim,))  # fmt: skip


def test_every_step_may_be_repeated_and_the_record_is_read_as_it_was_written(place: Place) -> None:
    victim = Victim(place.pod, place.pod_uid, place.claim, place.claim_uid)
    record = record_of(place, victim)
    for _ in range(2):
        place.do(BeginRecovery(record))
        assert place.seen() == RecoverySeen(record)
    place.do(BeginRecovery(record_of(place, Victim("another", "", "", ""))))
    assert place.seen() == RecoverySeen(record), "what was begun stays"
    for _ in range(2):
        place.do(FenceMember(victim))
        assert not place.is_there("Pod", place.pod)
        assert not place.is_there("PersistentVolumeClaim", place.claim)
    for _ in range(2):
        place.do(OrderRecovery(record))
        assert place.seen() == RecoverySeen(record, is_ordered=True)
    for _ in range(2):
        place.do(FinishRecovery(7, "r"))
        assert place.seen() == RecoverySeen()


def test_a_pod_and_a_disk_that_came_later_under_the_same_names_are_not_fenced(place: Place) -> None:
    place.do(FenceMember(Victim(place.pod, "another", place.claim, "another")))
    assert place.is_there("Pod", place.pod)
    assert place.is_there("PersistentVolumeClaim", place.claim)


def test_an_order_is_never_written_where_nothing_was_begun(place: Place) -> None:
    record = record_of(place, Victim("", "", "", ""))
    with pytest.raises(ApiError, match="not found"):
        place.do(OrderRecovery(record))
    place.do(CancelRecovery("nothing was begun"))
    assert place.seen() == RecoverySeen()


def test_the_order_alone_is_what_pods_are_shown(place: Place) -> None:
    place.do(BeginRecovery(record_of(place, Victim("", "", "", ""))))
    found = place.api.get("v1", "ConfigMap", place.names.namespace, place.names.recovery_config_map)
    assert found is not None
    assert ORDER_KEY not in found["data"]


def test_what_status_says_of_a_recovery_is_kept_by_the_schema_to_the_letter(place: Place) -> None:
    told = recovery.show_completed("orders-0/5/9223372036854775807/4-100")
    told["survivors"] = [
        {
            "name": "orders-0",
            "memberId": "1",
            "lastTerm": 4,
            "lastIndex": 1 << 60,
            "commitIndex": 100,
        }
    ]
    told["missing"] = ["orders-1"]
    key = (f"{GROUP}/{VERSION}", KIND, place.names.namespace, place.names.cluster)
    place.api.patch_status(*key, {"recovery": told})
    wait_for(
        "the status is stored",
        lambda: not is_news({"recovery": told}, place.resource().get("status", {})),
        deadline_s=10.0,
    )
