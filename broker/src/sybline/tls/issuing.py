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
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sybline.clock import Clock
from sybline.tls.certificates import encode_key, parse_certificates, parse_key
from sybline.tls.files import CA_NAME, CERTIFICATE_NAME, KEY_NAME, BadMaterial
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

CA_KEY_NAME: Final = "ca-key.pem"
CLIENT_DIRECTORY: Final = "client"
_CA_DAYS: Final = 3650
_RENEW_BEFORE: Final = timedelta(days=30)
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
        authority = Authority(self._ca(plan.directory / CA_NAME, ca_key), ca_key)
        ends = self._now + timedelta(days=plan.days)
        names = subject_names(plan.hosts, plan.identity)
        for member in range(1, plan.members + 1):
            wanted = LeafPlan(f"Sybline member {member}", names, ends, is_server=True)
            self._pair(plan.member_directory(member), wanted, authority)
        client = LeafPlan("Sybline client", None, ends, is_server=False)
        self._pair(plan.directory / CLIENT_DIRECTORY, client, authority)

    def _pair(self, directory: Path, wanted: LeafPlan, authority: Authority) -> None:
        key = self._key(directory / KEY_NAME)
        path = directory / CERTIFICATE_NAME
        found, ca = self._find(path), authority.certificate
        if found is not None and self._fits(found, key, ca, wanted.names):
            self.kept.append(path)
        else:
            signed = sign_leaf(key, wanted, authority, now=self._now)
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
        key = make_key()
        self._write(path, encode_key(key), _KEY_MODE)
        return key

    def _ca(self, path: Path, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        found = self._find(path)
        if found is not None and self._fits(found, key, found, None):
            self.kept.append(path)
            return found
        name = found.subject if found else new_ca_name()
        made = sign_ca(key, name, now=self._now, ends=self._now + timedelta(days=_CA_DAYS))
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
            and names_of(found) == names
            and is_signed_by(found, ca)
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
