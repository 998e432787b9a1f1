"""One member as metrics: replication, disk, sessions. One table of names, read when the page is asked for."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from sybline.replication.log import Membership, PeerStatus, ReplicationStatus
from sybline.replication.measures import Counters, StorageUse
from sybline.replication.pressure import Resource, Shortage
from sybline.replication.resource_watch import OPEN_FILES, ResourceUse
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
    def resources(self) -> ResourceUse:
        """Disk, memory and open files, as measured last."""

    @property
    def storage(self) -> StorageUse:
        """What is stored, and how far an image has been received."""

    @property
    def log_bytes(self) -> int:
        """Stored bytes of the log."""

    @property
    def log_live_bytes(self) -> int:
        """Of these, bodies that queues still hold."""

    def status(self) -> ReplicationStatus:
        """The member's own view of Raft."""

    def membership(self) -> Membership:
        """The member's own view of who belongs to the cluster."""

    def shortage(self) -> Shortage | None:
        """Why publishes are refused; None: they are not."""


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
    (
        Family("sybline_raft_is_voter", "gauge", "1: this member votes, as far as it knows."),
        lambda s: int(s.is_voter),
    ),
    (
        Family(
            "sybline_raft_configuration_version",
            "gauge",
            "Version of the membership known here; rises with each change.",
        ),
        lambda s: s.configuration_version,
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
        Family(
            "sybline_publishes_blocked",
            "gauge",
            "1: publishes are refused because members are short of disk or memory.",
        ),
        lambda member: int(member.shortage() is not None),
    ),
)
_OF_STORAGE: Final[tuple[tuple[Family, Callable[[StorageUse], int]], ...]] = (
    (
        Family("sybline_log_segments", "gauge", "Segments of the log, without the cold files."),
        lambda use: use.log_segments,
    ),
    (
        Family("sybline_log_cold_files", "gauge", "Files of older entries that queues still need."),
        lambda use: use.cold_files,
    ),
    (
        Family("sybline_log_cold_bytes", "gauge", "Bytes of them, part of sybline_log_bytes."),
        lambda use: use.cold_bytes,
    ),
    (
        Family(
            "sybline_log_rewrites_total", "counter", "Cold files written anew without the dead."
        ),
        lambda use: use.cold_rewrites,
    ),
    (
        Family("sybline_checkpoint_bytes", "gauge", "Size of the newest checkpoint."),
        lambda use: use.checkpoint_bytes,
    ),
    (
        Family("sybline_install_received_bytes", "gauge", "Received of a checkpoint that arrives."),
        lambda use: use.image_received_bytes,
    ),
    (
        Family("sybline_install_bytes", "gauge", "Size of the checkpoint that arrives; 0: none."),
        lambda use: use.image_bytes,
    ),
)
_OF_PEERS: Final[tuple[tuple[Family, Callable[[PeerStatus], int]], ...]] = (
    (
        Family(
            "sybline_raft_peer_lag_entries", "gauge", "Entries another member lacks; leader only."
        ),
        lambda peer: peer.lag_entries,
    ),
    (
        Family(
            "sybline_raft_peer_install_sent_bytes", "gauge", "Sent of a checkpoint; leader only."
        ),
        lambda peer: peer.image_sent_bytes,
    ),
    (
        Family(
            "sybline_raft_peer_install_bytes", "gauge", "Size of that checkpoint; 0: none is sent."
        ),
        lambda peer: peer.image_bytes,
    ),
)
_OF_RESOURCES: Final[tuple[tuple[Family, Callable[[ResourceUse], int]], ...]] = (
    (
        Family("sybline_disk_free_bytes", "gauge", "Free space where the log is."),
        lambda use: use.disk_free_bytes,
    ),
    (
        Family("sybline_disk_low_mark_bytes", "gauge", "With less free, the disk is almost full."),
        lambda use: use.disk_low_mark_bytes,
    ),
    (
        Family(
            "sybline_memory_high_mark_bytes",
            "gauge",
            "With more resident, memory is almost full; 0: no mark.",
        ),
        lambda use: use.memory_high_mark_bytes,
    ),
)
_SHORT: Final = Family(
    "sybline_resource_short", "gauge", "1: this member is short of it: disk, memory, open_files."
)
_RESOURCES: Final = (*(resource.value for resource in Resource), OPEN_FILES)
_MEMBERS: Final = Family("sybline_members", "gauge", "Members of the cluster known here, by role.")
_SESSIONS: Final = Family("sybline_sessions", "gauge", "Live sessions of the cluster.")
_CONSUMERS: Final = Family(
    "sybline_consumers", "gauge", "Sessions that fetched lately, counted once for each queue."
)


def write_member(member: MetricsSource) -> str:
    """Return the page's part on replication and disk."""
    status = member.status()
    peers = [(label_text(peer=peer.member), peer) for peer in status.peers]
    parts = [write_family(family, [("", read(status))]) for family, read in _OF_STATUS]
    for peer_family, read_peer in _OF_PEERS:
        parts.append(write_family(peer_family, [(labels, read_peer(p)) for labels, p in peers]))
    parts.append(write_family(_MEMBERS, _count_members(member.membership())))
    parts += [write_family(family, [("", read(member.counters))]) for family, read in _OF_COUNTERS]
    parts += [write_family(family, [("", read(member))]) for family, read in _OF_MEMBER]
    stored = member.storage
    parts += [write_family(family, [("", read(stored))]) for family, read in _OF_STORAGE]
    use = member.resources
    parts += [write_family(family, [("", read(use))]) for family, read in _OF_RESOURCES]
    short = ((label_text(resource=name), int(name in use.short_of)) for name in _RESOURCES)
    parts.append(write_family(_SHORT, short))
    return "".join(parts)


def _count_members(membership: Membership) -> Iterator[tuple[str, int]]:
    infos = membership.configuration.members
    voters = sum(info.voter for info in infos)
    yield label_text(role="voter"), voters
    yield label_text(role="learner"), len(infos) - voters


def write_clients(machine: MachineReads, queues: list[QueueStats]) -> str:
    """Return the page's part on sessions."""
    consumers = sum(queue.consumers for queue in queues)
    return write_family(_SESSIONS, [("", machine.session_count())]) + write_family(
        _CONSUMERS, [("", consumers)]
    )
