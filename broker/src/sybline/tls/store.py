"""The material of one usage: the last that was good, whatever the files hold now.

`check` runs in a thread, one at a time; the listeners read `material` from the loop and from gRPC's threads.
"""

import structlog

from sybline import limits
from sybline.clock import Clock
from sybline.tls.files import Pem, TlsFiles, read_files
from sybline.tls.material import Material, Usage, build_material
from sybline.watched_files import BadContent, WatchedFiles

log = structlog.get_logger(__name__)


class TlsStore:
    """See the module. `load` comes first."""

    def __init__(self, files: TlsFiles, usage: Usage, clock: Clock) -> None:
        self._paths = files
        self._usage = usage
        self._clock = clock
        # OpenSSL reads the files, too: that they are the same afterwards shows that it read the same.
        self._watched = WatchedFiles(self._read, self._build, self._refused)
        self._warned_s = float("-inf")

    @property
    def name(self) -> str:
        """Return what the material is for."""
        return self._usage.name

    @property
    def material(self) -> Material:
        """Return what new handshakes use."""
        return self._watched.made

    @property
    def replaced(self) -> int:
        """Return how often new material came into use."""
        return self._watched.replaced

    @property
    def refused(self) -> int:
        """Return how many contents were not good enough."""
        return self._watched.refused

    def load(self) -> None:
        """Take what the files hold.

        Raises:
            BadMaterial: it cannot be used.
        """
        self._watched.load()
        self._log("tls_material_loaded")

    def check(self) -> None:
        """Take what the files hold if it is new and good; else keep what is in use, and say why."""
        if self._watched.check():
            self._warned_s = float("-inf")
            self._log("tls_material_replaced")
        self._warn_of_expiry()

    def _read(self) -> Pem:
        return read_files(self._paths)

    def _build(self, pem: Pem) -> Material:
        return build_material(self._paths, pem, self._usage, now_s=self._clock.wall_ms() / 1000)

    def _refused(self, error: BadContent) -> None:
        kept = self.material.certificate.serial
        log.error("tls_material_refused", usage=self.name, reason=str(error), kept_serial=kept)

    def _warn_of_expiry(self) -> None:
        certificate = self.material.certificate
        left_s = certificate.not_after_s - self._clock.wall_ms() / 1000
        lasts_s = certificate.not_after_s - certificate.not_before_s
        if left_s > min(limits.TLS_EXPIRY_WARNING_S, limits.TLS_EXPIRY_WARNING_SHARE * lasts_s):
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._warned_s >= limits.TLS_EXPIRY_WARNING_INTERVAL_S:
            self._warned_s = now_s
            self._log("tls_certificate_expires", left_s=int(left_s), is_warning=True)

    def _log(self, event: str, *, is_warning: bool = False, **facts: object) -> None:
        material = self.material
        say = log.warning if is_warning else log.info
        say(
            event,
            usage=self.name,
            serial=material.certificate.serial,
            subject=material.certificate.subject,
            not_after_s=int(material.certificate.not_after_s),
            trusted=[each.serial for each in material.trusted[: limits.TLS_CA_SERIES_MAX]],
            **facts,
        )
