"""Certificates against a real API server: each source, a replacement of the CA, and what is refused.

Needs KUBECONFIG. No node fits the pods of these clusters, so that nobody has to be waited for but clients, by a clock
of the test. cert-manager's resource definition is its own, out of its Go module; in its place a few lines here sign.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sybline_operator import limits
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.names import GROUP, KIND, VERSION, Names
from sybline_operator.reconcile import Context, reconcile
from sybline_operator.tls.material import Material, read_material
from sybline_operator.tls.sources import put
from tests.e2e.api_server import cluster, define
from tests.e2e.kube import Json, run, wait_for
from tests.support.certificates import Authority, Pair

pytestmark = pytest.mark.kubernetes
CERT_MANAGER: Final = "github.com/cert-manager/cert-manager@v1.18.2"
LOOKS_MAX: Final = 12
REPLICAS: Final = 3  # the default
MODULE_S: Final = 300.0


@dataclass
class World:
    """A cluster of one namespace, looked at by hand."""

    api: KubernetesApi
    names: Names
    now: datetime = field(default_factory=lambda: datetime.now(UTC))  # noqa: TID251 - OpenSSL looks at it, too

    def apply(self, **tls: Any) -> None:
        self.api.apply(cluster(self.names, tls=tls))

    def look(self) -> Json:
        """Look once and return the status."""
        context = Context(self.api, "nowhere/sybline:none", now=self._now)
        reconcile(context, self.names.namespace, self.names.cluster)
        body = self.api.get(f"{GROUP}/{VERSION}", KIND, self.names.namespace, self.names.cluster)
        assert body is not None
        status: Json = body["status"]
        return status

    def settle(self) -> Json:
        """Look until everything is in force, and let clients have their time."""
        for _ in range(LOOKS_MAX):
            status = self.look()
            if status["tls"]["phase"] == "Serving" and self.ready(status)["reason"] == "Serving":
                return status
            self.now += timedelta(seconds=limits.TLS_CLIENTS_FOLLOW_S / 2)
        raise AssertionError(status["tls"])

    def knows_pods(self) -> bool:
        """Look, and return whether it is known of each pod that it fits no node: from then on they are quiet."""
        rows = self.look().get("members", [])
        return len(rows) == REPLICAS and all(row["trouble"] for row in rows)

    def ready(self, status: Json) -> Json:
        """Return the condition TLSReady."""
        return next(c for c in status["conditions"] if c["type"] == "TLSReady")

    def secret(self, name: str) -> Json:
        found = self.api.get("v1", "Secret", self.names.namespace, name)
        assert found is not None, name
        return found

    def in_force(self) -> Material:
        return read_material(self.secret(self.names.tls_secret)["data"])

    def published(self) -> str:
        found = self.api.get(
            "v1", "ConfigMap", self.names.namespace, self.names.client_ca_config_map
        )
        assert found is not None
        text: str = found["data"]["ca.crt"]
        return text

    def store(self, name: str, authority: Authority, pair: Pair, **metadata: Any) -> None:
        """Write a Secret as its owner would."""
        values = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.pem}
        self.api.apply(
            {
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": {"name": name, "namespace": self.names.namespace, **metadata},
                "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
            }
        )  # fmt: skip

    def told(self) -> Counter[str]:
        """Return how often each reason was told in events."""
        found = run(["kubectl", "-n", self.names.namespace, "get", "events", "-o", "json"])
        told: Counter[str] = Counter()
        for event in json.loads(found)["items"]:
            told[event["reason"]] += event.get("count", 1)
        return told

    def _now(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def world(api: KubernetesApi, names: Names) -> World:
    """A cluster's world in a namespace of its own."""
    return World(api, names)


@pytest.fixture
def cert_manager() -> Iterator[None]:
    """cert-manager's definition of a Certificate, as its own module has it."""
    told = run(["go", "mod", "download", "-json", CERT_MANAGER], deadline_s=MODULE_S)
    found = Path(json.loads(told)["Dir"]) / "deploy/crds/crd-certificates.yaml"
    definition = yaml.safe_load(found.read_text())
    name = definition["metadata"]["name"]
    definition["metadata"] = {"name": name}  # the labels are a chart's template
    define(json.dumps(definition), name)
    try:
        yield
    finally:
        run(["kubectl", "delete", "crd", name, "--timeout=60s"])


# --- our own CA ---
def test_a_secret_of_somebody_else_is_neither_served_nor_overwritten(world: World) -> None:
    authority = Authority()
    world.store(world.names.tls_secret, authority, authority.issue())
    theirs = world.secret(world.names.tls_secret)
    world.apply()
    for _ in range(3):
        found = world.ready(world.look())
    assert (found["status"], found["reason"]) == ("False", "CertificateRefused")
    assert f"the Secret {world.names.tls_secret} is there already" in found["message"]
    assert world.secret(world.names.tls_secret) == theirs
    world.api.delete("v1", "Secret", world.names.namespace, world.names.tls_secret)
    world.settle()


def test_by_default_the_operator_makes_a_ca_a_certificate_and_what_clients_need(
    world: World,
) -> None:
    world.apply()
    status = world.look()
    material = world.in_force()
    assert world.ready(status)["status"] == "True"
    assert status["tls"]["serial"] == material.leaf.serial
    assert status["secrets"]["clientCAConfigMap"] == "orders-ca"
    assert world.published().encode() == material.bundle
    assert "tls.key" in world.secret(world.names.ca_secret)["data"]
    assert "ownerReferences" not in world.secret(world.names.ca_secret)["metadata"]


def test_a_new_ca_is_trusted_before_it_is_used_and_the_request_is_recorded_at_the_end(
    world: World,
) -> None:
    world.apply()
    before = world.settle()["tls"]["serial"]
    world.apply(rotateCA="please")
    status = world.look()
    assert (world.published().count("BEGIN"), status["tls"]["serial"]) == (2, before)
    assert status["tls"]["rotateCA"] == ""
    after = world.settle()
    assert after["tls"]["serial"] != before
    assert after["tls"]["rotateCA"] == "please"
    assert world.published().count("BEGIN") == 1
    done = {"CACreated", "CertificateIssued", "CATrusted", "CertificateReplaced", "CADropped"}
    assert done <= set(world.told())
    assert world.settle()["tls"] == after["tls"]


def test_a_resource_that_is_made_anew_finds_its_ca(world: World) -> None:
    world.apply()
    world.settle()
    before = world.published()
    where = (world.names.namespace, world.names.cluster)
    world.api.delete(f"{GROUP}/{VERSION}", KIND, *where)
    for name in (
        world.names.tls_secret,
        world.names.issued_secret,
    ):  # as the collector does in time
        world.api.delete("v1", "Secret", world.names.namespace, name)
    world.apply()
    world.settle()
    assert world.published() == before


def test_what_was_decided_on_an_older_secret_is_not_written(world: World) -> None:
    world.apply()
    world.settle()
    old = world.secret(world.names.tls_secret)
    world.apply(rotateCA="please")
    world.settle()
    body = {key: old[key] for key in ("apiVersion", "kind", "type", "data")}
    body["metadata"] = {"name": world.names.tls_secret, "namespace": world.names.namespace}
    for found in (old, None):
        with pytest.raises(ApiError) as refused:
            put(world.api, body, found)
        assert refused.value.status == 409
    assert world.in_force().leaf.serial != read_material(old["data"]).leaf.serial


def test_a_rotation_ends_although_somebody_took_the_time_of_its_phase_away(world: World) -> None:
    world.apply()
    before = world.settle()["tls"]["serial"]
    world.apply(rotateCA="please")
    world.look()
    bare = {"metadata": {"annotations": None}}
    world.api.patch("v1", "Secret", world.names.namespace, world.names.tls_secret, bare)
    assert world.settle()["tls"]["serial"] != before


def test_a_damaged_ca_is_neither_used_nor_overwritten(world: World) -> None:
    world.apply()
    serial = world.settle()["tls"]["serial"]
    key = base64.b64encode(Authority().issue().key).decode()
    world.api.patch(
        "v1", "Secret", world.names.namespace, world.names.ca_secret, {"data": {"tls.key": key}}
    )
    status = world.look()
    assert world.ready(status)["reason"] == "CertificateUnusable"
    assert status["tls"]["serial"] == serial
    assert world.secret(world.names.ca_secret)["data"]["tls.key"] == key


def test_a_paused_cluster_keeps_its_certificates_as_they_are(world: World) -> None:
    world.apply()
    world.settle()
    body = {"spec": {"paused": True, "tls": {"rotateCA": "please"}}}
    where = (world.names.namespace, world.names.cluster)
    world.api.patch(f"{GROUP}/{VERSION}", KIND, *where, body)
    before = world.secret(world.names.ca_secret)
    for _ in range(3):
        world.look()
    assert world.secret(world.names.ca_secret) == before


# --- a Secret of the user ---
def issue(world: World, authority: Authority) -> Pair:
    names = world.names
    hosts = (names.client_host, f"*.{names.peer_service}.{names.namespace}.svc")
    return authority.issue(hosts=hosts, identity=names.peer_identity)


def test_a_secret_that_is_not_there_yet_is_waited_for_by_name(world: World) -> None:
    world.apply(mode="Secret", secretName="mine")
    condition = world.ready(world.look())
    assert condition["reason"] == "CertificateMissing"
    assert "the Secret mine does not exist" in condition["message"]
    authority = Authority()
    pair = issue(world, authority)
    world.store("mine", authority, pair)
    assert world.settle()["tls"]["serial"] == pair.serial


def test_a_broken_secret_is_refused_once_by_name_while_the_good_one_stays(world: World) -> None:
    authority = Authority()
    good = issue(world, authority)
    world.store("mine", authority, good)
    world.apply(mode="Secret", secretName="mine")
    world.settle()
    world.store("mine", authority, Pair(issue(world, authority).certificate, good.key))
    status = world.look()
    assert world.ready(status)["reason"] == "CertificateUnusable"
    assert "tls.key: the key does not belong" in world.ready(status)["message"]
    assert status["tls"]["serial"] == good.serial
    for _ in range(3):
        again = world.look()
        assert again["tls"] == status["tls"]
        assert world.ready(again) == world.ready(status)
    assert world.told()["CertificateUnusable"] == 1


# --- cert-manager ---
def sign(world: World, authority: Authority) -> Pair:
    """Do what cert-manager does with an order: sign what it asks for, put it there, and say so."""
    names = world.names
    order = world.api.get("cert-manager.io/v1", "Certificate", names.namespace, names.cluster)
    assert order is not None
    spec = order["spec"]
    assert spec["issuerRef"] == {"name": "house", "kind": "Issuer", "group": "cert-manager.io"}
    assert set(spec["usages"]) == {"digital signature", "server auth", "client auth"}
    [identity] = spec["uris"]
    lasts_s = float(spec["duration"].removesuffix("s"))
    hosts = [*spec["dnsNames"], *spec.get("ipAddresses", [])]
    pair = authority.issue(hosts=hosts, identity=identity, ends_s=lasts_s)
    made = {"cert-manager.io/certificate-name": names.cluster}
    world.store(spec["secretName"], authority, pair, annotations=made)
    said = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    world.api.patch_status(
        "cert-manager.io/v1", "Certificate", names.namespace, names.cluster, {"conditions": [said]}
    )
    return pair


@pytest.mark.usefixtures("cert_manager")
def test_cert_manager_is_given_an_order_and_what_it_issues_is_served(world: World) -> None:
    world.apply(mode="CertManager", issuerRef={"name": "house"}, extraNames=["mq.test", "10.0.0.7"])
    condition = world.ready(world.look())
    assert condition["reason"] == "CertificateMissing"
    assert "its issuer has not answered yet" in condition["message"]
    authority = Authority()
    first = sign(world, authority)
    assert world.settle()["tls"]["serial"] == first.serial
    wait_for("the scheduler has told of every pod", world.knows_pods, deadline_s=60.0)
    renewed = sign(world, authority)
    world.look()
    assert world.in_force().leaf.serial == renewed.serial
    writes = world.api.writes
    world.settle()
    world.look()
    assert world.api.writes - writes <= 1  # the status, once


@pytest.mark.usefixtures("cert_manager")
def test_an_issuer_with_another_ca_is_followed_in_two_phases(world: World) -> None:
    world.apply(mode="CertManager", issuerRef={"name": "house"})
    world.look()
    old, new = Authority(), Authority()
    first = sign(world, old)
    world.settle()
    second = sign(world, new)
    assert world.look()["tls"]["serial"] == first.serial
    assert world.published().count("BEGIN") == 2
    assert world.settle()["tls"]["serial"] == second.serial
    assert world.published().encode() == new.pem


@pytest.mark.usefixtures("cert_manager")
def test_the_order_is_taken_back_when_another_source_is_named(world: World) -> None:
    world.apply(mode="CertManager", issuerRef={"name": "house"})
    world.look()
    issued = sign(world, Authority())
    world.settle()
    world.apply(mode="SelfSigned")
    assert world.settle()["tls"]["serial"] != issued.serial
    names = world.names
    order = world.api.get("cert-manager.io/v1", "Certificate", names.namespace, names.cluster)
    assert order is None


def test_without_cert_manager_the_condition_says_so_and_the_cluster_goes_on(world: World) -> None:
    world.apply(mode="CertManager", issuerRef={"name": "house"})
    for _ in range(3):
        status = world.look()
    assert world.ready(status)["reason"] == "CertificateRefused"
    names = world.names
    assert world.api.get("apps/v1", "StatefulSet", names.namespace, names.stateful_set) is not None
