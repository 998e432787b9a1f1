"""Settings and restarts against a real API server: what reaches pods and files, and what leaves them alone.

Needs KUBECONFIG. Members are not asked, for no pod of these clusters is ever placed on a node.
"""

from typing import Any

import pytest
import yaml

from sybline_operator.kubernetes_api import KubernetesApi
from sybline_operator.manifests import workload
from sybline_operator.names import GROUP, KIND, VERSION, Names
from sybline_operator.reconcile import Context, reconcile
from tests.e2e.api_server import cluster
from tests.e2e.kube import Json, wait_for

pytestmark = pytest.mark.kubernetes
NOW = "2026-01-01T00:00:00Z"
QUIET_S = 60.0


class Site:
    """One cluster in a namespace of its own, and an operator with a default image."""

    def __init__(self, api: KubernetesApi, names: Names) -> None:
        self.api = api
        self.names = names

    def apply(self, **spec: Any) -> None:
        self.api.apply(cluster(self.names, tls={"mode": "Disabled"}, **spec))

    def look(self, default_image: str = "sybline:1") -> None:
        context = Context(self.api, default_image, now=lambda: NOW)
        reconcile(context, self.names.namespace, self.names.cluster)

    def settle(self, default_image: str = "sybline:1") -> None:
        """Look until a look writes nothing."""

        def is_quiet() -> bool:
            before = self.api.writes
            self.look(default_image)
            return self.api.writes == before

        wait_for("a look that writes nothing", is_quiet, deadline_s=QUIET_S)

    def template(self) -> Json:
        found = self.api.get(
            "apps/v1", "StatefulSet", self.names.namespace, self.names.stateful_set
        )
        assert found is not None
        template: Json = found["spec"]["template"]
        return template

    def file(self) -> Json:
        found = self.api.get("v1", "ConfigMap", self.names.namespace, self.names.config_map)
        assert found is not None
        tree: Json = yaml.safe_load(found["data"]["sybline.yaml"])
        return tree

    def status(self) -> Json:
        found = self.api.get(f"{GROUP}/{VERSION}", KIND, self.names.namespace, self.names.cluster)
        assert found is not None
        status: Json = found["status"]
        return status


@pytest.fixture
def site(api: KubernetesApi, names: Names) -> Site:
    """A cluster whose children are there."""
    found = Site(api, names)
    found.apply(config={"queues": {"lease_s": 5}})
    found.settle()
    return found


def test_another_default_image_announces_a_restart_and_touches_no_template(site: Site) -> None:
    before = site.template()
    site.settle("sybline:2")
    assert site.template() == before
    pending = site.status()["pendingRestart"]
    assert (pending["cause"], pending["approved"]) == ("operator", False)
    assert pending["changes"] == ["broker image sybline:1 -> sybline:2"]
    site.settle("sybline:1")
    assert "pendingRestart" not in site.status()


def test_another_way_to_build_pods_announces_a_restart_and_touches_no_template(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.template()
    monkeypatch.setattr(workload, "STOP_S", workload.STOP_S + 1)
    site.settle()
    assert site.template() == before
    assert site.status()["pendingRestart"]["cause"] == "operator"


def test_a_live_setting_reaches_the_file_and_no_template(site: Site) -> None:
    before = site.template()
    site.apply(config={"queues": {"lease_s": 6}, "log": {"level": "debug"}})
    site.settle()
    assert (site.file()["queues"], site.file()["log"]) == ({"lease_s": 6}, {"level": "debug"})
    assert site.template() == before


def test_a_setting_that_needs_a_restart_reaches_the_file_with_the_template(site: Site) -> None:
    site.apply(config={"queues": {"lease_s": 5}, "raft": {"heartbeat_s": 0.2}})
    site.settle("sybline:1")
    assert site.file()["raft"] == {"heartbeat_s": 0.2}
    made_of = site.template()["metadata"]["annotations"]["sybline.io/made-of"]
    assert '"raft":{"heartbeat_s":0.2}' in made_of


def test_a_file_that_somebody_edited_is_put_right(site: Site) -> None:
    before = site.file()
    config_map = ("v1", "ConfigMap", site.names.namespace, site.names.config_map)
    site.api.patch(*config_map, {"data": {"sybline.yaml": "queues: 7"}})
    site.look()
    assert site.file() == before


def test_a_configuration_that_the_broker_would_refuse_changes_nothing(site: Site) -> None:
    before, template = site.file(), site.template()
    site.apply(config={"queues": {"lease_s": 9_999}, "raft": {"heartbeat": 1}}, image="sybline:3")
    site.settle()
    assert (site.file(), site.template()) == (before, template)
    [valid] = [c for c in site.status()["conditions"] if c["type"] == "SpecValid"]
    assert valid["status"] == "False"
    assert "spec.config.queues.lease_s" in valid["message"]
    assert "did you mean raft.heartbeat_s" in valid["message"]
