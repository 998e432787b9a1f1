"""The members around a running one: whom to dial and where, whom to talk to, and the view to show.

Owns what a refusal by another member means here. Decides nothing about the membership itself.
"""

import math
from collections.abc import Callable, Mapping

import structlog

from sybline.errors import FailStop
from sybline.replication.admission import Doubt, Refusal, Standing, View, judge
from sybline.replication.configuration import MemberInfo
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.journal import Journal
from sybline.replication.log import Membership, MemberView
from sybline.replication.node import RaftNode
from sybline.replication.transport import Link

log = structlog.get_logger(__name__)


class Neighbours:
    """The gate of the transport; see the module."""

    def __init__(
        self,
        *,
        node: RaftNode,
        journal: Journal,
        name: str,
        addresses: Mapping[int, str],
        is_proven: bool,
        edge: FailStopEdge,
        wake: Callable[[], None],
    ) -> None:
        """`addresses`: from the settings, beside those of the configuration. `is_proven`: strangers are kept out."""
        self._node = node
        self._journal = journal
        self._name = name
        self._addresses = addresses
        self._is_proven = is_proven
        self._edge = edge
        self._wake = wake

    # --- transport.Gate ---
    def standing(self) -> Standing:
        """Return what to say of this member."""
        return Standing(
            member=self._node.member,
            name=self._name,
            cluster_uid=self._journal.cluster_uid,
            version=self._node.configuration.version,
            is_blank=self._journal.is_blank,
        )

    def judge(self, peer: Standing) -> Refusal | None:
        """Return why not to talk to a member; None: talk."""
        node = self._node
        view = View(
            own=self.standing(),
            configuration=node.configuration,
            committed_version=node.committed_version,
            known=node.known_members.keys() | node.leaving,
            is_proven=self._is_proven,
        )
        return judge(view, peer)

    def told(self, member: int, refusal: Refusal) -> None:
        """Act on another member's refusal of this one."""
        with self._edge:
            if refusal.doubt is Doubt.LOST_DISK and self._journal.is_blank:
                raise FailStop(
                    f"the data directory is empty, but member {member} knows member "
                    f"{self._node.member} as part of a formed cluster: empty the directory, start "
                    "without member.bootstrap, and add it as a new member"
                )
            if refusal.doubt is Doubt.REMOVED:
                self._node.told_removed()
                self._wake()

    # --- links ---
    def links(self) -> dict[int, Link]:
        """Return how to reach the others: who joined earlier dials. A removed member waits to be called."""
        node, ids = self._node, self._node.configuration.ids
        own = ids.index(node.member) if node.member in ids else math.inf
        known = node.known_members
        links = {peer: Link(self._addresses_of(peer, known), dials=True) for peer in node.leaving}
        for peer in known.keys() - {node.member}:
            position = ids.index(peer) if peer in ids else math.inf
            links[peer] = Link(self._addresses_of(peer, known), dials=own < position)
        return links

    def _addresses_of(self, peer: int, known: Mapping[int, MemberInfo]) -> tuple[str, ...]:
        if self._node.is_removed:
            return ()
        told = known[peer].address if peer in known else ""
        addresses = (told, self._addresses.get(peer, ""))
        return tuple(dict.fromkeys(address for address in addresses if address))

    # --- the view ---
    def view(self, is_connected: Callable[[int], bool]) -> Membership:
        """Return this member's own view."""
        node, last = self._node, self._journal.last
        progress = {peer.member: peer for peer in node.peers()}
        members = []
        for info in node.configuration.members:
            if info.id == node.member:
                members.append(MemberView(info, self._journal.durable, 0, 0.0, connected=True))
                continue
            peer = progress.get(info.id)
            match_index = 0 if peer is None else peer.match_index
            members.append(
                MemberView(
                    info, match_index, last - match_index if peer is not None else 0,
                    math.inf if peer is None else peer.heard_age_s, is_connected(info.id),
                )
            )  # fmt: skip
        return Membership(
            configuration=node.configuration,
            committed=node.is_configuration_committed,
            leader=node.leader,
            term=node.term,
            member=node.member,
            removed=node.is_removed,
            view_age_s=node.view_age_s,
            members=tuple(members),
        )
