"""What members ask of each other besides Raft: take my command, confirm a read, how is your disk.

Owns the way to the leader as this member sees it, and the leader's side of other members' reads. It gets every frame of
the transport and passes Raft's on to the node.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from sybline import limits
from sybline.replication.codec import UnknownFormat
from sybline.replication.fail_stop import FailStopEdge
from sybline.replication.intake import Intake
from sybline.replication.log import NoteHook
from sybline.replication.measures import Counters
from sybline.replication.messages import (
    BadFrame,
    Message,
    Propose,
    ProposeRefused,
    RaftMessage,
    ReadIndexReply,
    ReadIndexRequest,
    decode,
    encode,
)
from sybline.replication.node import RaftNode
from sybline.replication.pressure import DISK_REPORT_KIND, DiskPressure, decode_report
from sybline.replication.proposals import Proposals
from sybline.replication.reads import Reads
from sybline.replication.transport import PeerTransport
