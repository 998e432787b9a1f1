"""Certificates and keys as facts: parsed, compared, and refused with one line that names the file.

The only place that hears of what the parser of foreign files may raise.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sybline.tls.files import BadMaterial

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)  # what gRPC's TLS signs with
_RSA_BITS_MIN: Final = 2048
_PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What logs, metrics and rules say of a certificate."""

    serial: str  # hexadecimal, as `openssl x509 -serial` shows it
    subject: str
    not_before_s: float  # seconds since 1970
    not_after_s: float
    uris: tuple[str, ...]  # of its subject alternative names


def parse_certificates(pem: bytes, path: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a file, at least one.

    Raises:
        BadMaterial: there is none, or one is damaged.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except _PARSE_ERRORS as error:
        raise BadMaterial(f"{path}: does not hold PEM certificates") from error


def describe(certificate: x509.Certificate, path: Path) -> CertificateFacts:
    """Return the facts of a certificate.

    Raises:
        BadMaterial: a part of it that matters is damaged.
    """
    try:
        return CertificateFacts(
            serial=_show_serial(certificate.serial_number),
            subject=certificate.subject.rfc4514_string(),
            not_before_s=certificate.not_valid_before_utc.timestamp(),
            not_after_s=certificate.not_valid_after_utc.timestamp(),
            uris=_read_uris(certificate),
        )
    except _PARSE_ERRORS as error:
        raise BadMaterial(f"{path}: a certificate in it is damaged") from error


def check_validity(facts: CertificateFacts, now_s: float, path: Path) -> None:
    """Refuse a certificate whose time has not come or is over.

    Raises:
        BadMaterial: it is.
    """
    if now_s < facts.not_before_s:
        raise BadMaterial(f"{path}: the certificate is valid from {_show(facts.not_before_s)} on")
    if now_s > facts.not_after_s:
        raise BadMaterial(f"{path}: the certificate expired on {_show(facts.not_after_s)}")


def parse_key(pem: bytes, path: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """Return a private key that every listener can use.

    Raises:
        BadMaterial: there is none, or it is encrypted, or of another kind.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise BadMaterial(f"{path}: the key is encrypted; a plain one is needed") from error
    except _PARSE_ERRORS as error:
        raise BadMaterial(f"{path}: does not hold a PEM private key") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _RSA_BITS_MIN:
        return key
    raise BadMaterial(
        f"{path}: a key of this kind cannot be used; P-256, P-384, P-521, or RSA of at least "
        f"{_RSA_BITS_MIN} bits"
    )


def check_key(pem: bytes, certificate: x509.Certificate, path: Path) -> bytes:
    """Return the private key of a certificate as PKCS #8.

    Raises:
        BadMaterial: it belongs to another one, or cannot be used.
    """
    key = parse_key(pem, path)
    try:
        is_its = key.public_key() == certificate.public_key()
    except _PARSE_ERRORS:
        is_its = False
    if not is_its:
        raise BadMaterial(f"{path}: the key does not belong to the certificate")
    return encode_key(key)


def encode_key(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return a key as PKCS #8 in PEM, which every listener reads."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _read_uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def _show_serial(number: int) -> str:
    digits = f"{number:X}"
    return digits.zfill(len(digits) + len(digits) % 2)


def _show(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
