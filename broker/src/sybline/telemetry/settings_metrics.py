"""How changes of the configuration file fared while the member ran, as metrics."""

from collections.abc import Sequence
from typing import Final, Protocol

from sybline.telemetry.exposition import Family, write_family


class SettingsSource(Protocol):
    """The settings in force."""

    @property
    def reloads(self) -> int:
        """Times that a changed file came into force."""

    @property
    def refusals(self) -> int:
        """Times that a changed file was not good enough."""

    @property
    def pending(self) -> Sequence[str]:
        """Keys that wait for a restart."""


_RELOADS: Final = Family(
    "sybline_settings_reloads_total",
    "counter",
    "Times that a changed configuration file came into force.",
)
_REFUSED: Final = Family(
    "sybline_settings_reloads_refused_total",
    "counter",
    "Times that a changed configuration file could not be used, and the old settings stayed.",
)
_PENDING: Final = Family(
    "sybline_settings_pending", "gauge", "Keys of the configuration file that wait for a restart."
)


def write_settings(source: SettingsSource) -> str:
    """Return the page's part on settings."""
    return "".join(
        (
            write_family(_RELOADS, [("", source.reloads)]),
            write_family(_REFUSED, [("", source.refusals)]),
            write_family(_PENDING, [("", len(source.pending))]),
        )
    )
