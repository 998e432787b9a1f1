"""What replication tells about itself: an observer it calls, and counters anybody may read.

Owns no metric names and imports no metrics library: telemetry maps these to its own.
"""

from dataclasses import dataclass
from typing import Protocol


class Observer(Protocol):
    """Durations, in seconds, as they happen. Called on the loop."""

    def fsync_seconds(self, seconds: float) -> None:
        """One write and sync of the log took this long."""

    def proposal_seconds(self, seconds: float) -> None:
        """One command took this long from `propose` to its reply."""

    def checkpoint_seconds(self, seconds: float) -> None:
        """One checkpoint took this long to write."""


class NoObserver:
    """Ignores everything."""

    def fsync_seconds(self, seconds: float) -> None: ...

    def proposal_seconds(self, seconds: float) -> None: ...

    def checkpoint_seconds(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class StorageUse:
    """What a member stores, and the image it is receiving."""

    log_segments: int = 0
    cold_files: int = 0
    cold_bytes: int = 0
    cold_rewrites: int = (
        0  # files written anew without what is dead, since the start or the last image
    )
    checkpoint_bytes: int = 0
    image_received_bytes: int = 0
    image_bytes: int = 0  # 0: it receives none


class Counters:
    """Totals since the start of this process."""

    __slots__ = (
        "apply_errors",
        "entries_applied",
        "forwarded_in",
        "forwarded_out",
        "handshakes_refused",
        "leader_changes",
        "peer_accept_errors",
        "peer_connections_lost",
        "peer_frames_refused",
        "peer_stalled",
        "proposals_refused",
        "snapshots_installed",
        "ticks_proposed",
    )

    def __init__(self) -> None:
        self.apply_errors = 0  # replies INTERNAL (C-9)
        self.entries_applied = 0
        self.forwarded_in = 0  # proposals of other members taken here
        self.forwarded_out = 0  # own proposals sent to the leader
        self.handshakes_refused = 0  # in either direction
        self.leader_changes = 0
        self.peer_accept_errors = 0
        self.peer_connections_lost = 0
        self.peer_frames_refused = 0  # connections closed for a frame that does not parse
        self.peer_stalled = 0  # connections closed for what they left unread
        self.proposals_refused = 0  # definitely not appended here
        self.snapshots_installed = 0
        self.ticks_proposed = 0
