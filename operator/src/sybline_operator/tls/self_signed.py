"""The operator's own CA: when it and its certificates are made anew, and how. Pure but for the keys it draws.

A CA is replaced when a certificate that is due would outlive it, or when somebody asks; only while no replacement is
under way, for each replacement needs every member.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from sybline.tls.certificates import check_key, encode_key, parse_certificates, parse_key
from sybline.tls.files import BadMaterial
from sybline.tls.signing import (
    Authority,
    LeafPlan,
    is_signed_by,
    make_key,
    names_of,
    new_ca_name,
    sign_ca,
    sign_leaf,
    subject_names,
)
from sybline_operator.tls.material import (
    CA_KEY,
    CERTIFICATE_KEY,
    PRIVATE_KEY,
    Material,
    decode,
    read_material,
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the spec says of certificates."""

    subject: str
    hosts: Sequence[str]
    identity: str  # the URI that makes a certificate a member's
    duration: timedelta
    renew_before: timedelta
    ca_duration: timedelta


def read_authority(data: Mapping[str, str]) -> Authority:
    """Return the CA in the data of a Secret.

    Raises:
        BadMaterial: it is damaged, or was not made here.
    """
    pem = decode(data, PRIVATE_KEY)
    certificate, *_ = parse_certificates(decode(data, CERTIFICATE_KEY), Path(CERTIFICATE_KEY))
    check_key(pem, certificate, Path(PRIVATE_KEY))
    key = parse_key(pem, Path(PRIVATE_KEY))
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadMaterial(f"{PRIVATE_KEY}: not a key that was made here")
    return Authority(certificate, key)


def make_authority(terms: Terms, now: datetime) -> Authority:
    """Return a new CA."""
    key = make_key()
    return Authority(sign_ca(key, new_ca_name(), now=now, ends=now + terms.ca_duration), key)


def authority_data(authority: Authority) -> dict[str, str]:
    """Return a CA as the data of a Secret."""
    found = {
        CERTIFICATE_KEY: authority.certificate.public_bytes(Encoding.PEM),
        PRIVATE_KEY: encode_key(authority.key),
    }
    return {key: base64.b64encode(value).decode() for key, value in found.items()}


def make_material(authority: Authority, terms: Terms, now: datetime) -> Material:
    """Return a new key with a certificate of the CA."""
    key = make_key()
    plan = LeafPlan(
        terms.subject,
        subject_names(terms.hosts, terms.identity),
        now + terms.duration,
        is_server=True,
    )
    leaf = sign_leaf(key, plan, authority, now=now)
    found = {
        CERTIFICATE_KEY: leaf.public_bytes(Encoding.PEM),
        PRIVATE_KEY: encode_key(key),
        CA_KEY: authority.certificate.public_bytes(Encoding.PEM),
    }
    return read_material({k: base64.b64encode(value).decode() for k, value in found.items()})


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be made anew."""

    authority: bool
    leaf: bool


def what_is_due(
    authority: Authority,
    issued: Material | None,
    terms: Terms,
    now: datetime,
    *,
    may_rotate: bool,
    is_asked: bool,
) -> Due:
    """Return what is to be made anew; a new CA takes a new certificate with it.

    `may_rotate`: no replacement is under way. `is_asked`: somebody wants a new CA.
    """
    ca_ends = authority.certificate.not_valid_after_utc
    leaf = None if issued is None else _leaf(issued)
    fits = leaf is not None and _fits(leaf, authority, terms)
    left = leaf.not_valid_after_utc - now if leaf is not None else timedelta()
    is_ending = left <= terms.renew_before
    is_long = left > terms.duration  # longer than is wished for by now
    if now >= ca_ends:
        return Due(authority=True, leaf=True)
    if may_rotate and (is_asked or ((is_ending or not fits) and ca_ends < now + terms.duration)):
        return Due(authority=True, leaf=True)
    lasts_longer = min(now + terms.duration, ca_ends) - now > left  # else there is nothing to gain
    return Due(authority=False, leaf=not fits or is_long or (is_ending and lasts_longer))


def _fits(leaf: x509.Certificate, authority: Authority, terms: Terms) -> bool:
    """Return whether a certificate is of this CA and has the names that are wanted."""
    return is_signed_by(leaf, authority.certificate) and names_of(leaf) == subject_names(
        terms.hosts, terms.identity
    )


def _leaf(material: Material) -> x509.Certificate:
    return parse_certificates(material.certificate, Path(CERTIFICATE_KEY))[0]
