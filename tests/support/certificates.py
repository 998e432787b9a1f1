"""Certificates made on the spot, good and bad, and the ways in which files of them are replaced."""

import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sybline.tls.files import TlsFiles
from tests.support.volumes import MountedVolume

CLUSTER = "sybline"
IDENTITY = f"sybline://{CLUSTER}/peer"
HOSTS = ("127.0.0.1", "localhost")
DAY_S = 86_400.0
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def serial(self) -> str:
        """Return the serial number as logs and metrics show it."""
        digits = f"{x509.load_pem_x509_certificate(self.certificate).serial_number:X}"
        return digits.zfill(len(digits) + len(digits) % 2)


class Authority:
    """A CA."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"CA {secrets.token_hex(4)}")
        self._certificate = self._sign(
            self._builder(self._name, -DAY_S, 100 * DAY_S)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        )

    @property
    def pem(self) -> bytes:
        """Return its certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *,
        hosts: Sequence[str] = HOSTS,
        identity: str = IDENTITY,
        starts_s: float = -300.0,
        ends_s: float = DAY_S,
        purposes: Sequence[x509.ObjectIdentifier] = BOTH,
    ) -> Pair:
        """Return a certificate of a member; `identity` "": of a client. Times count from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [_host_name(host) for host in hosts]
        if identity:
            names.append(x509.UniformResourceIdentifier(identity))
        certificate = self._sign(
            self._builder(_name("leaf"), starts_s, ends_s)
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        )
        return Pair(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _builder(self, name: x509.Name, starts_s: float, ends_s: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)  # noqa: TID251 - OpenSSL looks at the real time, too
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(seconds=starts_s))
            .not_valid_after(now + timedelta(seconds=ends_s))
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def write_material(directory: Path, pair: Pair, *trusted: Authority) -> TlsFiles:
    """Write a pair and a CA file, in the way of a careless script: file by file, in place."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in material(pair, *trusted).items():
        (directory / name).write_bytes(content)
    return files_in(directory)


def material(pair: Pair, *trusted: Authority) -> dict[str, bytes]:
    """Return the content of the files by their usual names."""
    return {
        "ca-cert.pem": b"".join(each.pem for each in trusted),
        "cert.pem": pair.certificate,
        "key.pem": pair.key,
    }


def files_in(directory: Path) -> TlsFiles:
    """Return the files of a directory by their usual names."""
    ca = directory / "ca-cert.pem"
    return TlsFiles(directory / "cert.pem", directory / "key.pem", ca, ca)


class SecretVolume:
    """A mounted Secret with a pair and the CAs it trusts."""

    def __init__(self, directory: Path, pair: Pair, *trusted: Authority) -> None:
        self.directory = directory
        self._volume = MountedVolume(directory, material(pair, *trusted))

    def update(self, pair: Pair, *trusted: Authority) -> None:
        """Put another pair in place, all files at one moment."""
        self._volume.update(material(pair, *trusted))


def client_context(
    directory: Path,
    *trusted: Authority,
    pair: Pair | None = None,
    version: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    """Return the context of a client; `directory` takes its files, `version` is the only one it speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=b"".join(each.pem for each in trusted).decode())
    if pair is not None:
        own = directory / f"client-{secrets.token_hex(4)}"
        files = write_material(own, pair, *trusted)
        context.load_cert_chain(files.certificate, files.key)
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")  # what old versions need
        context.minimum_version = context.maximum_version = version
    return context


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
