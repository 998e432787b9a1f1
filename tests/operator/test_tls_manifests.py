"""How pods get their certificates: one Secret, mounted whole, whose content is no part of the pod template."""

from typing import Any

import pytest

from sybline_operator.json_object import Json
from sybline_operator.manifests import certificates, network, workload
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.manifests.configuration import broker_settings
from sybline_operator.names import Names
from sybline_operator.resource.spec import parse_spec

NAMES = Names("shop", "orders")
OWNER = Owner("orders", "0b6e0c9e-0000-4000-8000-000000000000")


def wanted(**tls: Any) -> Wanted:
    return Wanted(parse_spec({"tls": tls}), NAMES, OWNER, "sybline:1")


def container(desired: Wanted) -> Json:
    found: Json = workload.pod_template(desired)["spec"]["containers"][0]
    return found


def test_pods_mount_one_secret_as_a_directory_which_is_followed() -> None:
    pod = workload.pod_template(wanted())["spec"]
    [volume] = [each for each in pod["volumes"] if each["name"] == "tls"]
    [mount] = [each for each in container(wanted())["volumeMounts"] if each["name"] == "tls"]
    assert volume["secret"]["secretName"] == "orders-tls"
    assert "subPath" not in mount
    assert mount["readOnly"] is True


def test_no_pod_mounts_the_key_of_the_ca() -> None:
    pod = workload.pod_template(wanted())["spec"]
    mounted = {each.get("secret", {}).get("secretName") for each in pod["volumes"]}
    assert NAMES.ca_secret not in mounted


@pytest.mark.parametrize(
    "change",
    [
        {"rotateCA": "please"},
        {"mode": "Secret", "secretName": "mine"},
        {"mode": "CertManager", "issuerRef": {"name": "ca"}},
        {"extraNames": ["mq.test"]},
        {"duration": "24h", "renewBefore": "8h"},
    ],
)
def test_nothing_about_certificates_restarts_a_pod(change: dict[str, Any]) -> None:
    before = workload.template_hash(workload.pod_template(wanted()))
    assert workload.template_hash(workload.pod_template(wanted(**change))) == before


def test_the_broker_finds_the_files_where_they_are_mounted() -> None:
    settings = broker_settings(wanted(clientAuth="Required"))["tls"]
    [mount] = [each for each in container(wanted())["volumeMounts"] if each["name"] == "tls"]
    files = {settings[key] for key in ("cert_file", "key_file", "ca_file")}
    assert files == {f"{mount['mountPath']}/{key}" for key in ("tls.crt", "tls.key", "ca.crt")}
    assert settings["enabled"] is True
    assert settings["client_auth"] == "required"


def test_probes_and_gateways_speak_what_the_members_speak() -> None:
    for desired, scheme, protocol in (
        (wanted(), "HTTPS", "https"),
        (wanted(mode="Disabled"), "HTTP", "kubernetes.io/h2c"),
    ):
        found = container(desired)
        probes = (found[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness"))
        assert {probe["httpGet"]["scheme"] for probe in probes} == {scheme}
        [port] = network.client_service(desired)["spec"]["ports"]
        assert port["appProtocol"] == protocol


def test_without_tls_nothing_of_it_is_in_a_pod() -> None:
    desired = wanted(mode="Disabled")
    pod = workload.pod_template(desired)["spec"]
    assert "tls" not in {volume["name"] for volume in pod["volumes"]}
    assert broker_settings(desired)["tls"] == {"enabled": False}


def test_only_the_ca_outlives_the_resource() -> None:
    desired = wanted()
    stays = certificates.ca_secret(desired, {}, request="")
    goes = (
        certificates.issued_secret(desired, {}),
        certificates.tls_secret(desired, {}, trusted_since=""),
        certificates.client_ca(desired, b""),
    )
    assert "ownerReferences" not in stays["metadata"]
    assert all(body["metadata"]["ownerReferences"] for body in goes)
