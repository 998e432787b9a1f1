"""Whom a member talks to: judged by both sides of a connection once each has proved that it knows the secret. Pure.

Raft itself filters nobody, for a member that lags does not know who has joined (thesis 4.1). What is kept away here
would break its assumptions, or is in nobody's interest: another cluster, a member that lost its disk, a removed one.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum

from sybline.replication.configuration import Configuration


class Doubt(IntEnum):
    """Why a connection is refused, as far as the other side can do something about it."""

    OTHER = 0
    ANOTHER_CLUSTER = 1
    REMOVED = 2
    LOST_DISK = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """No, and why."""

    doubt: Doubt
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member says of itself before the first message."""

    member: int
    name: str = ""
    cluster_uid: int = 0  # as it was committed; 0: it knows of no formed cluster
    version: int = 0  # of its configuration in force
    is_blank: bool = False  # nothing was ever promised or stored on its disk


@dataclass(frozen=True, slots=True)
class View:
    """What a member knows of the membership when it judges."""

    own: Standing
    configuration: Configuration  # in force
    committed_version: int
    known: AbstractSet[
        int
    ]  # in the committed configuration or a later one, or just being told of the removal
    is_proven: bool = True  # a secret or certificates keep strangers out


def judge(view: View, peer: Standing) -> Refusal | None:
    """Return why not to talk to a member; None: talk."""
    own, configuration = view.own, view.configuration
    if own.cluster_uid and peer.cluster_uid and own.cluster_uid != peer.cluster_uid:
        text = (
            f"member {peer.member} belongs to cluster {peer.cluster_uid:016x}, member {own.member} "
            f"to cluster {own.cluster_uid:016x}"
        )
        return Refusal(Doubt.ANOTHER_CLUSTER, text)
    if peer.is_blank and configuration.cluster_uid:
        return _judge_blank(configuration, peer)
    if peer.member in view.known or not configuration.members:
        return None
    if not view.is_proven:
        text = f"member {peer.member} is not known here, and there is no secret to prove itself by"
        return Refusal(Doubt.OTHER, text)
    if peer.version <= view.committed_version:
        text = f"member {peer.member} is no member, as of version {view.committed_version}"
        return Refusal(Doubt.REMOVED, text)
    return None  # it may know what is not known here yet


def _judge_blank(configuration: Configuration, peer: Standing) -> Refusal | None:
    """Judge a member with an empty disk, once the cluster has formed: it knows nothing, so it must be known here."""
    if peer.member in configuration.learners:
        return None
    if peer.member in configuration.voters:
        text = (
            f"the disk of member {peer.member} is empty, but the cluster has formed with it: it "
            "must come back as a new member"
        )
        return Refusal(Doubt.LOST_DISK, text)
    text = f"member {peer.member} is no member, as of version {configuration.version}"
    return Refusal(Doubt.REMOVED, text)
