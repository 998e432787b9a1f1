"""From files to what a handshake needs: contexts for both roles, tried out against each other before anybody uses them.

The rehearsal is a whole handshake in memory, so what is refused here is exactly what the other members would refuse:
a foreign CA, a purpose that does not fit, a chain with a gap. Contexts are never changed once they are built.
"""

import ssl
from dataclasses import dataclass, replace
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sybline.tls.certificates import (
    CertificateFacts,
    check_key,
    check_validity,
    describe,
    parse_certificates,
)
from sybline.tls.files import BadMaterial, Pem, TlsFiles

REHEARSAL_ROUNDS_MAX: Final = 8  # flights of messages; TLS 1.3 needs two


@dataclass(frozen=True, slots=True)
class Usage:
    """What material is for, which decides how strict its contexts are."""

    name: Literal["clients", "peers"]  # in logs and metrics
    minimum: ssl.TLSVersion
    verify: ssl.VerifyMode  # of the other side, when this one listens
    identity: str = ""  # a URI that the certificate must carry; "": none


@dataclass(frozen=True, slots=True)
class Material:
    """One certificate with its key and the CAs it trusts, ready for use."""

    pem: Pem  # with the key in PKCS #8
    listening: ssl.SSLContext
    dialling: ssl.SSLContext
    certificate: CertificateFacts
    trusted: tuple[CertificateFacts, ...]


def build_material(files: TlsFiles, pem: Pem, usage: Usage, *, now_s: float) -> Material:
    """Return usable material; `pem` is what the files hold, whose paths OpenSSL reads once more.

    Raises:
        BadMaterial: it cannot be used; says which file and why.
    """
    leaf, *_ = parse_certificates(pem.certificate, files.certificate)
    facts = describe(leaf, files.certificate)
    check_validity(facts, now_s, files.certificate)
    key = check_key(pem.key, leaf, files.key)
    _check_identity(facts, files, usage)
    own = parse_certificates(pem.ca, files.ca)
    trusted = parse_certificates(pem.trusted, files.trusted)
    try:
        listening = _listen(files, trusted, usage)
        dialling = _dial(files, trusted, usage)
    except (ssl.SSLError, OSError) as error:
        raise BadMaterial(f"{files.certificate}: cannot be loaded: {_reason(error)}") from error
    _rehearse(files, own, usage)
    return Material(
        pem=replace(pem, key=key),
        listening=listening,
        dialling=dialling,
        certificate=facts,
        trusted=tuple(describe(each, files.trusted) for each in trusted),
    )


def _check_identity(facts: CertificateFacts, files: TlsFiles, usage: Usage) -> None:
    if usage.identity and usage.identity not in facts.uris:
        raise BadMaterial(
            f"{files.certificate}: without the name URI:{usage.identity} it is not the certificate "
            "of a member; it has " + (", ".join(facts.uris) or "no URI")
        )


# --- contexts ---
def _listen(files: TlsFiles, trusted: tuple[x509.Certificate, ...], usage: Usage) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, files, trusted, usage)
    context.verify_mode = usage.verify
    # A resumed session is not verified again. With TLS 1.2 it can be by its id, in this very context only.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    return context


def _dial(files: TlsFiles, trusted: tuple[x509.Certificate, ...], usage: Usage) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT, files, trusted, usage)
    context.check_hostname = True
    return context


def _context(
    protocol: int, files: TlsFiles, trusted: tuple[x509.Certificate, ...], usage: Usage
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = usage.minimum
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate may be trusted; as gRPC
    context.load_verify_locations(
        cadata=b"".join(each.public_bytes(Encoding.DER) for each in trusted)
    )
    # The key was found to be plain: OpenSSL must not ask a terminal for a password if it changes now.
    context.load_cert_chain(files.certificate, files.key, password=_no_password)
    return context


def _no_password() -> bytes:
    return b""


# --- rehearsal ---
def _rehearse(files: TlsFiles, own: tuple[x509.Certificate, ...], usage: Usage) -> None:
    """Let the material shake hands with itself, in the roles that it has."""
    is_mutual = usage.name == "peers"
    strict = replace(usage, verify=ssl.CERT_REQUIRED if is_mutual else ssl.CERT_NONE)
    dialling = _dial(files, own, usage)
    dialling.check_hostname = False  # its names are looked at by whoever dials them
    try:
        _shake_hands(_listen(files, own, strict), dialling)
    except (ssl.SSLError, OSError) as error:
        raise BadMaterial(
            f"{files.certificate}: not accepted with the CA of {files.ca}: {_reason(error)}"
        ) from error


def _shake_hands(listening: ssl.SSLContext, dialling: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    waiting = [
        dialling.wrap_bio(to_client, to_server, server_side=False),
        listening.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(REHEARSAL_ROUNDS_MAX):
        waiting = [side for side in waiting if not _advance(side)]
        if not waiting:
            return
    raise ssl.SSLError("the handshake does not end")


def _advance(side: ssl.SSLObject) -> bool:
    """Return whether this side is done."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _reason(error: OSError) -> str:
    """Return OpenSSL's reason in words, without its file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)
