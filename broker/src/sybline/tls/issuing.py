"""A CA and certificates for local use, as files: what `sybline tls init` and `sybline dev --tls` need.

A key that exists stays; a certificate is signed again, for the same key, when it no longer fits: it ends soon, its
names changed, another CA signed it. So a second run changes nothing, and a later one renews what a running cluster then
picks up by itself.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sybline.clock import Clock
from sybline.tls.certificates import encode_key, parse_certificates, parse_key
from sybline.tls.files import CA_NAME, CERTIFICATE_NAME, KEY_NAME, BadMaterial

CA_KEY_NAME: Final = "ca-key.pem"
CLIENT_DIRECTORY: Final = "client"
_CA_DAYS: Final = 3650
_RENEW_BEFORE: Final = timedelta(days=30)
_CLOCK_SKEW: Final = timedelta(minutes=5)  # of who looks at a certificate that was just made
_KEY_MODE: Final = 0o600
_CERTIFICATE_MODE: Final = 0o644
_TEMPORARY_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class IssuePlan:
    """What to make below a directory: a CA, one directory for each member, and one for clients."""

    directory: Path
    members: int
    hosts: Sequence[str]  # names and addresses in every member's certificate
    identity: str  # the URI that makes it a member's
    days: int  # of members and clients

    def member_directory(self, member: int) -> Path:
        """Return where a member's files are; it can be used as `tls.directory`."""
        return self.directory / f"member-{member}"


class Issuer:
    """Makes what is missing. Certificates get their time from `clock`."""

    def __init__(self, clock: Clock, *, force: bool = False) -> None:
        """`force` replaces everything, keys too."""
        self._now = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC)
        self._force = force
        self.written: list[Path] = []
        self.kept: list[Path] = []

    def issue(self, plan: IssuePlan) -> None:
        """Make what the plan says and is not there.

        Raises:
            BadMaterial: a file is in the way that is not what its name says.
            OSError: a file cannot be written.
        """
        ca_key = self._key(plan.directory / CA_KEY_NAME)
        ca = self._ca(plan.directory / CA_NAME, ca_key)
        names = x509.SubjectAlternativeName(
            [*map(_host_name, plan.hosts), x509.UniformResourceIdentifier(plan.identity)]
        )
        for member in range(1, plan.members + 1):
            directory = plan.member_directory(member)
            wanted = _Wanted(f"member {member}", names, plan.days, is_server=True)
            self._pair(directory, wanted, ca, ca_key)
        self._pair(
            plan.directory / CLIENT_DIRECTORY,
            _Wanted("client", None, plan.days, is_server=False),
            ca,
            ca_key,
        )

    def _pair(
        self,
        directory: Path,
        wanted: "_Wanted",
        ca: x509.Certificate,
        ca_key: ec.EllipticCurvePrivateKey,
    ) -> None:
        key = self._key(directory / KEY_NAME)
        path = directory / CERTIFICATE_NAME
        found = self._find(path)
        if found is not None and self._fits(found, key, ca, wanted.names):
            self.kept.append(path)
        else:
            signed = _sign(wanted.builder(self._now, ca), key, ca.subject, ca_key)
            self._write(path, signed.public_bytes(serialization.Encoding.PEM), _CERTIFICATE_MODE)
        self._write(
            directory / CA_NAME, ca.public_bytes(serialization.Encoding.PEM), _CERTIFICATE_MODE
        )

    def _key(self, path: Path) -> ec.EllipticCurvePrivateKey:
        if not self._force and path.exists():
            found = parse_key(path.read_bytes(), path)
            if not isinstance(found, ec.EllipticCurvePrivateKey):
                raise BadMaterial(f"{path}: not a key that was made here")
            self.kept.append(path)
            return found
        key = ec.generate_private_key(ec.SECP256R1())
        self._write(path, encode_key(key), _KEY_MODE)
        return key

    def _ca(self, path: Path, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        found = self._find(path)
        if found is not None and self._fits(found, key, found, None):
            self.kept.append(path)
            return found
        # A name of its own: during a rotation two CAs are trusted at once, and some look them up by name.
        name = found.subject if found else _name(f"Sybline CA {secrets.token_hex(4)}")
        builder = (
            _builder(name, self._now, self._now + timedelta(days=_CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(is_ca=True), critical=True)
        )
        made = _sign(builder, key, name, key)
        self._write(path, made.public_bytes(serialization.Encoding.PEM), _CERTIFICATE_MODE)
        return made

    def _find(self, path: Path) -> x509.Certificate | None:
        if self._force or not path.exists():
            return None
        return parse_certificates(path.read_bytes(), path)[0]

    def _fits(
        self,
        found: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        ca: x509.Certificate,
        names: x509.SubjectAlternativeName | None,
    ) -> bool:
        return (
            found.public_key() == key.public_key()
            and found.not_valid_after_utc - self._now > _RENEW_BEFORE
            and found.not_valid_before_utc <= self._now
            and _names_of(found) == names
            and _is_signed_by(found, ca)
        )

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        """Put a file in place whole; an equal one stays untouched."""
        if path.exists() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(_TEMPORARY_BYTES)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        aside.replace(path)
        self.written.append(path)


@dataclass(frozen=True, slots=True)
class _Wanted:
    common_name: str
    names: x509.SubjectAlternativeName | None
    days: int
    is_server: bool

    def builder(self, now: datetime, ca: x509.Certificate) -> x509.CertificateBuilder:
        """Return the certificate without key and signature."""
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]  # members dial each other, too
        if self.is_server:
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        ends = min(now + timedelta(days=self.days), ca.not_valid_after_utc)
        builder = (
            _builder(_name(f"Sybline {self.common_name}"), now, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        )
        return builder if self.names is None else builder.add_extension(self.names, critical=False)


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
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    return (
        builder.issuer_name(issuer)
        .public_key(key.public_key())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
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


def _names_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _is_signed_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
