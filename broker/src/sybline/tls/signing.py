"""Making a CA and certificates: keys and times in, certificates out. Pure but for the random numbers in them.

What is kept where, and when something is made anew, is decided by those who call: `issuing` for files, the operator for
Secrets.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CLOCK_SKEW: Final = timedelta(minutes=5)  # of who looks at a certificate that was just made


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class LeafPlan:
    """What a certificate is to say."""

    common_name: str
    names: x509.SubjectAlternativeName | None
    ends: datetime  # cut to the end of its CA
    is_server: bool


def make_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key, of the kind that costs least in a handshake."""
    return ec.generate_private_key(ec.SECP256R1())


def new_ca_name() -> x509.Name:
    """Return a name of its own: during a rotation two CAs are trusted at once, and some look them up by name."""
    return _name(f"Sybline CA {secrets.token_hex(4)}")


def sign_ca(
    key: ec.EllipticCurvePrivateKey, name: x509.Name, *, now: datetime, ends: datetime
) -> x509.Certificate:
    """Return the certificate of a CA that signs leaves only."""
    builder = (
        _builder(name, now, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
    )
    return _sign(builder, key.public_key(), name, key)


def sign_leaf(
    key: ec.EllipticCurvePrivateKey, plan: LeafPlan, authority: Authority, *, now: datetime
) -> x509.Certificate:
    """Return a certificate for a key."""
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]  # members dial each other, too
    if plan.is_server:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    ends = min(plan.ends, authority.certificate.not_valid_after_utc)
    builder = (
        _builder(_name(plan.common_name), now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    if plan.names is not None:
        builder = builder.add_extension(plan.names, critical=False)
    return _sign(builder, key.public_key(), authority.certificate.subject, authority.key)


def subject_names(hosts: Iterable[str], uri: str) -> x509.SubjectAlternativeName:
    """Return host names and addresses, and the URI that makes a certificate a member's."""
    return x509.SubjectAlternativeName(
        [*map(_host_name, hosts), x509.UniformResourceIdentifier(uri)]
    )


def names_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    """Return the names in a certificate; None: it has none."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def is_signed_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Return whether a CA signed it."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _builder(name: x509.Name, now: datetime, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(ends)
    )


def _sign(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    return (
        builder.issuer_name(issuer)
        .public_key(key)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
