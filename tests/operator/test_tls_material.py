"""What a source may give: whole, in time, with all names, from the CAs beside it; else it is refused in one line."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from sybline.tls.certificates import parse_certificates
from sybline.tls.files import BadMaterial
from sybline.tls.signing import is_signed_by
from sybline_operator.manifests.certificates import certificate, host_names, needed_names
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.names import Names
from sybline_operator.resource.spec import parse_spec
from sybline_operator.tls.checking import AUTHORITIES_MAX, check_usable, has_name
from sybline_operator.tls.material import Material, read_material
from sybline_operator.tls.self_signed import (
    Terms,
    authority_data,
    make_authority,
    make_material,
    read_authority,
    what_is_due,
)
from tests.support.certificates import DAY_S, Authority, Pair

NAMES = Names("shop", "orders")
WILDCARD = "*.orders-peers.shop.svc"
HOSTS = (NAMES.client_host, WILDCARD)
CA = Authority()
OTHER = Authority()


def wanted(**tls: object) -> Wanted:
    owner = Owner("orders", "0b6e0c9e-0000-4000-8000-000000000000")
    return Wanted(parse_spec({"tls": tls}), NAMES, owner, "sybline:1")


def data(pair: Pair, *authorities: Authority) -> dict[str, str]:
    found = {
        "tls.crt": pair.certificate,
        "tls.key": pair.key,
        "ca.crt": b"".join(each.pem for each in authorities),
    }
    return {key: base64.b64encode(value).decode() for key, value in found.items()}


def issue(ca: Authority = CA, **changes: object) -> Pair:
    said = {"hosts": HOSTS, "identity": NAMES.peer_identity, **changes}
    return ca.issue(**said)


def check(found: dict[str, str]) -> Material:
    material = read_material(found)
    check_usable(
        material, identity=NAMES.peer_identity, hosts=needed_names(wanted()),
        now_s=datetime.now(UTC).timestamp(),  # noqa: TID251 - OpenSSL looks at the real time, too
    )  # fmt: skip
    return material


def test_a_good_secret_is_taken_as_it_is() -> None:
    pair = issue()
    material = check(data(pair, CA))
    assert material.leaf.serial == pair.serial
    assert len(material.anchors) == 1


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda: {**data(issue(), CA), "tls.key": data(issue(), CA)["tls.key"]}, "tls.key: the key does not belong"),
        (lambda: {k: v for k, v in data(issue(), CA).items() if k != "ca.crt"}, "ca.crt: is missing"),
        (lambda: {**data(issue(), CA), "tls.crt": ""}, "tls.crt: is missing"),
        (lambda: {**data(issue(), CA), "tls.crt": "bm9uc2Vuc2U="}, "tls.crt: does not hold PEM"),
        (lambda: {**data(issue(), CA), "tls.crt": "%"}, "tls.crt: is "),
        (lambda: data(issue(ends_s=-60.0), CA), "tls.crt: the certificate expired"),
        (lambda: data(issue(starts_s=DAY_S), CA), "tls.crt: the certificate is valid from"),
        (lambda: data(issue(), OTHER), "tls.crt: not accepted with the CA of ca.crt"),
        (lambda: data(issue(identity="sybline://shop.others/peer"), CA), "without the name URI:sybline://shop.orders/peer"),
        (lambda: data(issue(hosts=(NAMES.client_host,)), CA), "lacks the names orders-0.orders-peers.shop.svc, "),
        (lambda: data(issue(hosts=(WILDCARD,)), CA), "lacks the names orders.shop.svc$"),
        (lambda: data(issue(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), CA), "tls.crt: not accepted"),
        (lambda: data(issue(), CA, *(Authority() for _ in range(AUTHORITIES_MAX))), "holds 9 CAs, 8 at most"),
    ],
)  # fmt: skip
def test_what_members_could_not_use_is_refused_by_name(
    found: Callable[[], dict[str, str]], reason: str
) -> None:
    with pytest.raises(BadMaterial, match=reason):
        check(found())


def test_no_reason_names_a_file_that_nobody_has() -> None:
    with pytest.raises(BadMaterial) as refused:
        check(data(issue(ends_s=-60.0), CA))
    assert "/" not in str(refused.value)


def test_a_secret_may_name_more_cas_than_the_certificate_comes_from() -> None:
    material = check(data(issue(), CA, OTHER))
    assert len(material.authorities) == 2
    assert len(material.anchors) == 1


@pytest.mark.parametrize(
    ("host", "has_it"),
    [
        ("orders.shop.svc", True),
        ("ORDERS.shop.svc", True),
        ("orders-2.orders-peers.shop.svc", True),
        ("a.orders-2.orders-peers.shop.svc", False),
        ("orders-peers.shop.svc", False),
        ("10.1.2.3", True),
        ("10.1.2.4", False),
    ],
)
def test_names_are_matched_as_tls_does(host: str, has_it: bool) -> None:
    pair = issue(hosts=(*HOSTS, "10.1.2.3"))
    assert has_name(x509.load_pem_x509_certificate(pair.certificate), host) is has_it


def test_what_is_asked_of_cert_manager_has_every_name_that_is_needed() -> None:
    desired = wanted(
        mode="CertManager", issuerRef={"name": "ca"}, extraNames=["mq.test", "10.0.0.7"]
    )
    spec = certificate(desired)["spec"]
    assert spec["secretName"] == "orders-issued"
    assert spec["issuerRef"] == {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"}
    assert spec["uris"] == ["sybline://shop.orders/peer"]
    assert {"orders.shop.svc", WILDCARD, "mq.test"} <= set(spec["dnsNames"])
    assert spec["ipAddresses"] == ["10.0.0.7"]


# --- our own CA ---
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def terms(duration: int = 100, renew_before: int = 30, ca_duration: int = 1_000) -> Terms:
    """Return terms with these hours."""
    return Terms(
        "Sybline member", host_names(wanted()), NAMES.peer_identity,
        timedelta(hours=duration), timedelta(hours=renew_before), timedelta(hours=ca_duration),
    )  # fmt: skip


def test_what_the_operator_issues_members_can_use() -> None:
    now = datetime.now(UTC)  # noqa: TID251 - OpenSSL looks at the real time, too
    authority = make_authority(terms(), now)
    material = make_material(authority, terms(), now)
    check(material.to_data())


def test_a_ca_is_read_back_as_it_was_made() -> None:
    authority = make_authority(terms(), NOW)
    again = read_authority(authority_data(authority))
    assert again.certificate == authority.certificate
    assert again.key.private_numbers() == authority.key.private_numbers()


@pytest.mark.parametrize(
    ("changed", "hours", "asked", "settled", "due"),
    [
        (terms(), 0, False, True, (False, False)),
        (terms(), 69, False, True, (False, False)),
        (terms(), 70, False, True, (False, True)),  # 30 hours are left
        (terms(), 0, True, True, (True, True)),
        (terms(), 0, True, False, (False, False)),  # another replacement is under way
        (terms(duration=50), 0, False, True, (False, True)),  # it lasts longer than is wished for
        (terms(duration=1_000, ca_duration=2_000), 70, False, True, (True, True)),  # it would outlive the CA
        (terms(duration=1_000, ca_duration=2_000), 70, False, False, (False, True)),
        (terms(), 1_000, False, False, (True, True)),  # the CA ended
    ],
)  # fmt: skip
def test_what_is_due(
    changed: Terms, hours: int, asked: bool, settled: bool, due: tuple[bool, bool]
) -> None:
    authority = make_authority(terms(), NOW)
    issued = make_material(authority, terms(), NOW)
    found = what_is_due(
        authority, issued, changed, NOW + timedelta(hours=hours), is_asked=asked, may_rotate=settled
    )
    assert (found.authority, found.leaf) == due


def test_a_certificate_is_made_anew_for_other_names_and_for_another_ca() -> None:
    authority, other = make_authority(terms(), NOW), make_authority(terms(), NOW)
    issued = make_material(authority, terms(), NOW)
    more = Terms(
        "Sybline member", [*host_names(wanted()), "mq.test"], NAMES.peer_identity,
        terms().duration, terms().renew_before, terms().ca_duration,
    )  # fmt: skip
    assert what_is_due(authority, issued, more, NOW, is_asked=False, may_rotate=True).leaf
    assert what_is_due(other, issued, terms(), NOW, is_asked=False, may_rotate=True).leaf


def test_a_certificate_that_ends_with_its_ca_is_not_made_again_and_again() -> None:
    authority = make_authority(terms(duration=60, ca_duration=80), NOW)
    later = NOW + timedelta(hours=50)
    issued = make_material(authority, terms(), later)
    due = what_is_due(
        authority, issued, terms(), later + timedelta(minutes=1), is_asked=False, may_rotate=False
    )
    assert not due.leaf


@settings(max_examples=30, deadline=None)
@given(
    duration=st.integers(10, 100), share=st.integers(1, 9), factor=st.integers(11, 60),
    steps=st.lists(st.integers(1, 100), min_size=5, max_size=40),
)  # fmt: skip
def test_looked_at_in_time_no_certificate_ends_or_outlives_its_ca(
    duration: int, share: int, factor: int, steps: list[int]
) -> None:
    """Steps are shares of the time in which a renewal is due."""
    renew_before = max(1, duration * share // 10)
    given_terms = terms(duration, renew_before, max(duration + 1, duration * factor // 10))
    now = NOW
    authority = make_authority(given_terms, now)
    issued = make_material(authority, given_terms, now)
    for step in steps:
        now += timedelta(hours=renew_before) * step / 101
        due = what_is_due(authority, issued, given_terms, now, is_asked=False, may_rotate=True)
        if due.authority:
            authority = make_authority(given_terms, now)
        if due.leaf:
            issued = make_material(authority, given_terms, now)
        leaf, *_ = parse_certificates(issued.certificate, Path("tls.crt"))
        assert is_signed_by(leaf, authority.certificate)
        assert now < leaf.not_valid_after_utc <= authority.certificate.not_valid_after_utc
