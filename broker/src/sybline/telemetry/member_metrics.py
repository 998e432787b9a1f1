"""One member as metrics: replication, disk, sessions. One table of names, read when the page is asked for."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from sybline.replication.log import ReplicationStatus
from sybline.replication.measures import Counters
from sybline.state_machine.read import QueueStats
from sybline.telemetry.exposition import Family, label_text, write_family


class MachineReads(Protocol):
    """What is read of the state."""

    @property
    def now_ms(self) -> int:
        """Log time of the last applied entry."""

    def queue_stats(self) -> Iterator[QueueStats]:
        """All queues in the order of their creation."""

    def session_count(self) -> int:
        """Live sessions."""


class MetricsSource(Protocol):
    """What is read of a member; also before its start and after its stop."""

    @property
    def counters(self) -> Counters:
        """Totals since the start of the process."""

    @property
    def machine(self) -> MachineReads:
        """The current state."""

    @property
    def disk_free_bytes(self) -> int:
        """Free space of the data directory's disk."""

    @property
    def log_bytes(self) -> int:
        """Stored bytes of the log."""

    @property
    def log_live_bytes(self) -> int:
        """Of these, bodies that queues still hold."""

    def status(self) -> ReplicationStatus:
        """The member's own view of Raft."""


_OF_STATUS: Final[tuple[tuple[Family, Callable[[ReplicationStatus], int]], ...]] = (
    (Family("sybline_raft_term", "gauge", "Raft term."), lambda s: s.term),
    (
        Family("sybline_raft_is_leader", "gauge", "1: this member leads and hears a quorum."),
        lambda s: int(s.role == "leader" and s.quorum_confirmed),
    ),
    (
        Family("sybline_raft_commit_index", "gauge", "Last entry known to be on a majority."),
        lambda s: s.commit_index,
    ),
    (
        Family("sybline_raft_applied_index", "gauge", "Last entry applied here."),
        lambda s: s.applied_index,
    ),
    (
        Family("sybline_raft_proposals_pending", "gauge", "Own proposals without an answer yet."),
        lambda s: s.pending_proposals,
    ),
)
_OF_COUNTERS: Final[tuple[tuple[Family, Callable[[Counters], int]], ...]] = (
    (
        Family("sybline_raft_leader_changes_total", "counter", "Changes of leader seen here."),
        lambda c: c.leader_changes,
    ),
    (
        Family("sybline_raft_entries_applied_total", "counter", "Entries applied here."),
        lambda c: c.entries_applied,
    ),
    (
        Family(
            "sybline_raft_ticks_proposed_total",
            "counter",
            "Ticks proposed: entries that carry out what is due.",
        ),
        lambda c: c.ticks_proposed,
    ),
    (
        Family("sybline_raft_proposals_refused_total", "counter", "Proposals never appended here."),
        lambda c: c.proposals_refused,
    ),
    (
        Family(
            "sybline_raft_checkpoints_installed_total",
            "counter",
            "Checkpoints received from a leader.",
        ),
        lambda c: c.snapshots_installed,
    ),
    (
        Family("sybline_apply_errors_total", "counter", "Commands that met a bug while deciding."),
        lambda c: c.apply_errors,
    ),
    (
        Family("sybline_forwarded_total", "counter", "Own proposals sent on to the leader."),
        lambda c: c.forwarded_out,
    ),
    (
        Family("sybline_forwarded_received_total", "counter", "Proposals of other members taken."),
        lambda c: c.forwarded_in,
    ),
    (
        Family(
            "sybline_peer_connections_lost_total", "counter", "Connections to members that broke."
        ),
        lambda c: c.peer_connections_lost,
    ),
    (
        Family(
            "sybline_peer_handshakes_refused_total",
            "counter",
            "Members that did not prove who they are, in either direction.",
        ),
        lambda c: c.handshakes_refused,
    ),
    (
        Family(
            "sybline_peer_frames_refused_total",
            "counter",
            "Connections closed for a frame that does not parse.",
        ),
        lambda c: c.peer_frames_refused,
    ),
    (
        Family(
            "sybline_peer_stalled_total", "counter", "Connections closed for what they left unread."
        ),
        lambda c: c.peer_stalled,
    ),
    (
        Family(
            "sybline_peer_accept_errors_total",
            "counter",
            "Connections of members that failed while being accepted.",
        ),
        lambda c: c.peer_accept_errors,
    ),
)
_OF_MEMBER: Final[tuple[tuple[Family, Callable[[MetricsSource], int]], ...]] = (
    (
        Family("sybline_log_bytes", "gauge", "Stored bytes of the log."),
        lambda member: member.log_bytes,
    ),
    (
        Family("sybline_log_live_bytes", "gauge", "Of these, bodies that queues still hold."),
        lambda member: member.log_live_bytes,
    ),
    (
        Family("sybline_disk_free_bytes", "gauge", "Free space where the log is."),
        lambda member: member.disk_free_bytes,
    ),
)
_PEER_LAG: Final = Family(
    "sybline_raft_peer_lag_entries", "gauge", "Entries a follower lacks; on the leader only."
)
_SESSIONS: Final = Family("sybline_sessions", "gauge", "Live sessions of the cluster.")
_CONSUMERS: Final = Family(
    "sybline_consumers", "gauge", "Sessions that fetched lately, counted once for each queue."
)


def write_member(member: MetricsSource) -> str:
    """Return the page's part on replication and disk."""
    status = member.status()
    lags = ((label_text(peer=peer.member), peer.lag_entries) for peer in status.peers)
    parts = [write_family(family, [("", read(status))]) for family, read in _OF_STATUS]
    parts.append(write_family(_PEER_LAG, lags))
    parts += [write_family(family, [("", read(member.counters))]) for family, read in _OF_COUNTERS]
    parts += [write_family(family, [("", read(member))]) for family, read in _OF_MEMBER]
    return "".join(parts)


def write_clients(machine: MachineReads, queues: list[QueueStats]) -> str:
    """Return the page's part on sessions."""
    consumers = sum(queue.consumers for queue in queues)
    return write_family(_SESSIONS, [("", machine.session_count())]) + write_family(
        _CONSUMERS, [("", consumers)]
    )
