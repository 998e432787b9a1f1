"""Sections that need a cluster of their own: empty at the start, with settings of theirs, thrown away at the end."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.report import Report
from tests.support.cluster import Cluster

START_S_MAX = 60.0


@dataclass
class OwnCluster:
    """What such a section gets; `cluster` while it runs."""

    report: Report
    directory: Path
    keep_at: Path  # what stays when the data is gone
    scale: float  # of what the section does in full
    members: int
    _cluster: Cluster | None = field(default=None, init=False)

    @property
    def cluster(self) -> Cluster:
        """Return the cluster that runs."""
        assert self._cluster is not None
        return self._cluster


@contextlib.asynccontextmanager
async def running_own_cluster(
    own: OwnCluster, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster]:
    """Run an empty cluster for the time of a block; its data goes with it."""
    directory = own.directory / "own-cluster"
    try:
        with Cluster(directory, members=own.members, settings=dict(settings or {})) as cluster:
            own._cluster = cluster
            await cluster.start_and_wait(deadline_s=START_S_MAX)
            yield cluster
    finally:
        own._cluster = None
        shutil.rmtree(directory, ignore_errors=True)
