"""The material of one usage: the last that was good, whatever the files hold now.

`check` runs in a thread, one at a time; the listeners read `material` from the loop and from gRPC's threads. Contents
are compared, not times: that sees every way to replace a file, also the symlink that Kubernetes swaps for a Secret.
"""

import structlog

from sybline import limits
from sybline.clock import Clock
from sybline.tls.files import BadMaterial, Pem, TlsFiles, read_files
from sybline.tls.material import Material, Usage, build_material

log = structlog.get_logger(__name__)


class TlsStore:
    """See the module. `load` comes first."""

    def __init__(self, files: TlsFiles, usage: Usage, clock: Clock) -> None:
        self._files = files
        self._usage = usage
        self._clock = clock
        self._material: Material | None = None
        self._tried: Pem | str = ""  # content, or why it could not be read
        self._warned_s = float("-inf")
        self.replaced = 0  # times that new material came into use
        self.refused = 0  # contents that were not good enough

    @property
    def name(self) -> str:
        """Return what the material is for."""
        return self._usage.name

    @property
    def material(self) -> Material:
        """Return what new handshakes use."""
        assert self._material is not None
        return self._material

    def load(self) -> None:
        """Take what the files hold.

        Raises:
            BadMaterial: it cannot be used.
        """
        pem = read_files(self._files)
        self._material = self._build(pem)
        self._tried = pem
        self._log("tls_material_loaded")

    def check(self) -> None:
        """Take what the files hold if it is new and good; else keep what is in use, and say why."""
        try:
            pem = read_files(self._files)
        except BadMaterial as error:
            self._refuse(str(error), str(error))
        else:
            if pem != self._tried:
                self._try(pem)
        self._warn_of_expiry()

    def _try(self, pem: Pem) -> None:
        try:
            material = self._build(pem)
        except BadMaterial as error:
            if self._is_still(
                pem
            ):  # else the files are being replaced: the next check sees the rest
                self._refuse(pem, str(error))
            return
        if self._is_still(pem):  # OpenSSL read the files, too: this shows that it read the same
            self._material, self._tried = material, pem
            self._warned_s = float("-inf")
            self.replaced += 1
            self._log("tls_material_replaced")

    def _build(self, pem: Pem) -> Material:
        return build_material(self._files, pem, self._usage, now_s=self._clock.wall_ms() / 1000)

    def _is_still(self, pem: Pem) -> bool:
        try:
            return read_files(self._files) == pem
        except BadMaterial:
            return False

    def _refuse(self, tried: Pem | str, reason: str) -> None:
        """Say once why this content is not used."""
        if tried == self._tried:
            return
        self._tried = tried
        self.refused += 1
        kept = self.material.certificate.serial
        log.error("tls_material_refused", usage=self.name, reason=reason, kept_serial=kept)

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
