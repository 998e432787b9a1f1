"""What a Secret holds of TLS, as values: a certificate, its key, the CAs beside it. Pure.

Reading is lenient about time and names, for what is in force must be understood even when it has expired; whether
members could use it is asked elsewhere (`checking`).
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sybline.tls.certificates import check_key, describe, parse_certificates
from sybline.tls.files import BadMaterial
from sybline.tls.signing import is_signed_by

CERTIFICATE_KEY: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"
CA_KEY: Final = "ca.crt"


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """What tells one certificate from another wherever it is reported; a serial number is unique to its issuer only."""

    serial: str  # hexadecimal, as members show it
    not_after_s: int

    @property
    def not_after(self) -> str:
        """Return its end as RFC 3339."""
        return datetime.fromtimestamp(self.not_after_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Ca:
    """A CA that is trusted."""

    mark: Mark
    pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Material:
    """A certificate with its key, and the CAs beside it."""

    certificate: bytes = field(repr=False)  # PEM, the leaf first, then intermediates
    key: bytes = field(repr=False)
    leaf: Mark
    authorities: frozenset[Ca]
    anchors: frozenset[Ca]  # those of them that the leaf comes from

    @property
    def bundle(self) -> bytes:
        """Return all CAs as PEM, always in the same order."""
        ordered = sorted(self.authorities, key=lambda ca: (ca.mark, ca.pem))
        return b"".join(ca.pem for ca in ordered)

    def is_same(self, other: "Material | None") -> bool:
        """Return whether both are the same certificate beside the same CAs."""
        return other is not None and (self.leaf, self.authorities) == (
            other.leaf,
            other.authorities,
        )

    def trusting(self, authorities: Iterable[Ca]) -> "Material":
        """Return the same pair beside other CAs."""
        trusted = frozenset(authorities)
        leaf, *chain = parse_certificates(self.certificate, Path(CERTIFICATE_KEY))
        return Material(
            self.certificate, self.key, self.leaf, trusted, _anchors(leaf, chain, trusted)
        )

    def to_data(self) -> dict[str, str]:
        """Return it as the data of a Secret."""
        found = {CERTIFICATE_KEY: self.certificate, PRIVATE_KEY: self.key, CA_KEY: self.bundle}
        return {key: base64.b64encode(value).decode() for key, value in found.items()}


def read_material(data: Mapping[str, str]) -> Material:
    """Return what the data of a Secret holds.

    Raises:
        BadMaterial: a key is missing or damaged, or the private key belongs to another certificate.
    """
    certificate, key, ca = (decode(data, name) for name in (CERTIFICATE_KEY, PRIVATE_KEY, CA_KEY))
    leaf, *chain = parse_certificates(certificate, Path(CERTIFICATE_KEY))
    check_key(key, leaf, Path(PRIVATE_KEY))
    authorities = frozenset(_ca(each) for each in parse_certificates(ca, Path(CA_KEY)))
    anchors = _anchors(leaf, chain, authorities)
    return Material(certificate, key, mark_of(leaf), authorities, anchors)


def decode(data: Mapping[str, str], key: str) -> bytes:
    """Return a value of a Secret.

    Raises:
        BadMaterial: there is none.
    """
    try:
        value = base64.b64decode(data.get(key, ""))
    except binascii.Error as error:
        raise BadMaterial(f"{key}: is damaged") from error
    if not value:
        raise BadMaterial(f"{key}: is missing")
    return value


def mark_of(certificate: x509.Certificate) -> Mark:
    """Return what tells a certificate from others.

    Raises:
        BadMaterial: it is damaged.
    """
    facts = describe(certificate, Path(CERTIFICATE_KEY))
    return Mark(facts.serial, int(facts.not_after_s))


def _ca(certificate: x509.Certificate) -> Ca:
    return Ca(mark_of(certificate), certificate.public_bytes(Encoding.PEM))


def _anchors(
    leaf: x509.Certificate, chain: list[x509.Certificate], authorities: frozenset[Ca]
) -> frozenset[Ca]:
    """Return the CAs that the leaf comes from, directly or through the intermediates beside it."""
    reached, rest = [leaf], list(chain)
    for below in reached:  # grows while it is walked
        above = [each for each in rest if is_signed_by(below, each)]
        reached += above
        rest = [each for each in rest if each not in above]
    return frozenset(ca for ca in authorities if any(_comes_from(below, ca) for below in reached))


def _comes_from(below: x509.Certificate, ca: Ca) -> bool:
    certificate = x509.load_pem_x509_certificate(ca.pem)
    return below == certificate or is_signed_by(below, certificate)
