"""The files of one usage of TLS, read as bytes. What is in them is understood elsewhere."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sybline import limits
from sybline.watched_files import BadContent

CA_NAME: Final = "ca-cert.pem"  # the names of earlier versions (wire contract §13)
CERTIFICATE_NAME: Final = "cert.pem"
KEY_NAME: Final = "key.pem"


class BadMaterial(BadContent):
    """Files that cannot be used for TLS; one line that names the file and says why."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the material of one usage is. All PEM; the certificate's file may go on with intermediates."""

    certificate: Path
    key: Path
    ca: Path  # what the certificate chains up to
    trusted: Path  # the CAs that the other side's certificate may come from


@dataclass(frozen=True, slots=True)
class Pem:
    """The content of the files at one moment."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes
    trusted: bytes


def read_files(files: TlsFiles) -> Pem:
    """Return what the files hold now.

    Raises:
        BadMaterial: one cannot be read, or is too large.
    """
    return Pem(
        certificate=_read(files.certificate),
        key=_read(files.key),
        ca=_read(files.ca),
        trusted=_read(files.trusted),
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limits.TLS_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise BadMaterial(f"{path}: {error.strerror}") from error
    if len(content) > limits.TLS_FILE_BYTES_MAX:
        raise BadMaterial(f"{path}: larger than {limits.TLS_FILE_BYTES_MAX} bytes")
    return content
