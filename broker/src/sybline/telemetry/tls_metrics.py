"""The certificates in use as metrics: which, until when, and whether their files could be taken."""

from collections.abc import Sequence
from typing import Final, Protocol

from sybline import limits
from sybline.telemetry.exposition import Family, label_text, write_family


class Certificate(Protocol):
    """What is read of a certificate."""

    @property
    def serial(self) -> str:
        """Hexadecimal."""

    @property
    def not_after_s(self) -> float:
        """Its end, in seconds since 1970."""


class TlsMaterial(Protocol):
    """What handshakes use now."""

    @property
    def certificate(self) -> Certificate:
        """The one that is shown."""

    @property
    def trusted(self) -> Sequence[Certificate]:
        """The CAs of the other side."""


class TlsSource(Protocol):
    """One usage of TLS: clients or peers."""

    @property
    def name(self) -> str:
        """The usage."""

    @property
    def material(self) -> TlsMaterial:
        """What is in use."""

    @property
    def replaced(self) -> int:
        """Times that new files came into use."""

    @property
    def refused(self) -> int:
        """Times that new files were not good enough."""


_CERTIFICATE: Final = Family(
    "sybline_tls_certificate_expiry_timestamp_seconds",
    "gauge",
    "End of the certificate that new connections are shown.",
)
_TRUSTED: Final = Family(
    "sybline_tls_trusted_ca_expiry_timestamp_seconds",
    "gauge",
    "End of each CA that certificates of the other side may come from.",
)
_REPLACED: Final = Family(
    "sybline_tls_reloads_total", "counter", "Times that changed files came into use."
)
_REFUSED: Final = Family(
    "sybline_tls_reloads_refused_total",
    "counter",
    "Times that changed files could not be used, and the old ones stayed.",
)


def write_tls(sources: Sequence[TlsSource]) -> str:
    """Return the page's part on certificates."""
    shown = [(each.name, each.material.certificate) for each in sources]
    trusted = [
        (each.name, ca)
        for each in sources
        for ca in each.material.trusted[: limits.TLS_CA_SERIES_MAX]
    ]
    return "".join(
        (
            write_family(_CERTIFICATE, [_sample(*row) for row in shown]),
            write_family(_TRUSTED, dict(_sample(*row) for row in trusted).items()),
            write_family(_REPLACED, [(label_text(usage=s.name), s.replaced) for s in sources]),
            write_family(_REFUSED, [(label_text(usage=s.name), s.refused) for s in sources]),
        )
    )


def _sample(usage: str, certificate: Certificate) -> tuple[str, float]:
    return label_text(usage=usage, serial=certificate.serial), certificate.not_after_s
