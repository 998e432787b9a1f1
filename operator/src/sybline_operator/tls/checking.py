"""Whether members could serve with a source's material: by the broker's own rules, before any member gets to see it.

Members refuse what they cannot use and keep what they have, but a member that restarts has nothing to keep.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from ssl import CERT_REQUIRED, TLSVersion
from typing import Final

from cryptography import x509

from sybline.tls.certificates import parse_certificates
from sybline.tls.files import BadMaterial, Pem, TlsFiles
from sybline.tls.material import Usage, build_material
from sybline.tls.signing import names_of
from sybline_operator.tls.material import CA_KEY, CERTIFICATE_KEY, PRIVATE_KEY, Material

AUTHORITIES_MAX: Final = (
    8  # of one source: those of the source before are trusted, too, for a while
)


def check_usable(material: Material, *, identity: str, hosts: Sequence[str], now_s: float) -> None:
    """Refuse material that members could not use, or under which they or clients would not find each other.

    Raises:
        BadMaterial: says why, with the key in the Secret.
    """
    if len(material.authorities) > AUTHORITIES_MAX:
        raise BadMaterial(
            f"{CA_KEY}: holds {len(material.authorities)} CAs, {AUTHORITIES_MAX} at most; name those "
            "that the certificate comes from"
        )
    usage = Usage("peers", TLSVersion.TLSv1_3, CERT_REQUIRED, identity)
    with as_files(material) as files:
        try:
            build_material(files, _pem(material), usage, now_s=now_s)
        except BadMaterial as error:
            raise BadMaterial(str(error).replace(f"{files.key.parent}/", "")) from error
    if not material.anchors:
        raise BadMaterial(f"{CERTIFICATE_KEY}: comes from none of the CAs in {CA_KEY}")
    leaf, *_ = parse_certificates(material.certificate, Path(CERTIFICATE_KEY))
    lacking = [host for host in hosts if not has_name(leaf, host)]
    if lacking:
        raise BadMaterial(f"{CERTIFICATE_KEY}: lacks the names {', '.join(lacking)}")


def has_name(certificate: x509.Certificate, host: str) -> bool:
    """Return whether a certificate is good for a host name or an address; a wildcard stands for one label."""
    names = names_of(certificate)
    if names is None:
        return False
    try:
        return ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        first, _, rest = host.lower().partition(".")
        found = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
        return host.lower() in found or (bool(first and rest) and f"*.{rest}" in found)


@contextmanager
def as_files(material: Material) -> Iterator[TlsFiles]:
    """Lend the material as files, which is how OpenSSL takes a private key; they are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sybline-tls-") as directory:
        root = Path(directory)
        files = TlsFiles(
            certificate=root / CERTIFICATE_KEY, key=root / PRIVATE_KEY,
            ca=root / CA_KEY, trusted=root / CA_KEY,
        )  # fmt: skip
        files.certificate.write_bytes(material.certificate)
        files.key.touch(mode=0o600)
        files.key.write_bytes(material.key)
        files.ca.write_bytes(material.bundle)
        yield files


def _pem(material: Material) -> Pem:
    return Pem(material.certificate, material.key, material.bundle, material.bundle)
