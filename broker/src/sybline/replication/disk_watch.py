"""Looks after this member's disk and tells the others (Z-5).

Owns the regular measurement, off the loop, and the reports. What follows from them is decided in `pressure.py`.
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import structlog

from sybline.replication.pressure import DiskPressure

log = structlog.get_logger(__name__)

MEASURE_INTERVAL_S = 1.0


class DiskWatch:
    """Measures one disk for ever."""

    def __init__(
        self,
        *,
        member: int,
        directory: Path,
        pressure: DiskPressure,
        is_full: Callable[[], bool],
        tell_peers: Callable[[bool], None],
    ) -> None:
        """`is_full`: whether the log could not reserve its next segment. `tell_peers` gets whether the disk is low."""
        self._member = member
        self._directory = directory
        self._pressure = pressure
        self._is_full = is_full
        self._tell_peers = tell_peers
        self.free_bytes = 0  # as measured last

    async def run(self) -> None:
        """Measure and report until cancelled."""
        while True:
            await self.measure()
            await asyncio.sleep(MEASURE_INTERVAL_S)

    async def measure(self) -> None:
        """Measure and report once. A disk that cannot even be asked counts as full."""
        was_low = self._pressure.is_low(self._member)
        try:
            usage = await asyncio.get_running_loop().run_in_executor(
                None, shutil.disk_usage, self._directory
            )
        except OSError as error:
            log.warning("disk_not_measured", error=str(error))
            self._pressure.reported(self._member, is_low=True)
        else:
            self.free_bytes = usage.free
            self._pressure.measured(
                self._member,
                free_bytes=usage.free,
                total_bytes=usage.total,
                is_full=self._is_full(),
            )
        is_low = self._pressure.is_low(self._member)
        if is_low != was_low:
            log.warning("disk_low" if is_low else "disk_recovered", free_bytes=self.free_bytes)
        self._tell_peers(is_low)
