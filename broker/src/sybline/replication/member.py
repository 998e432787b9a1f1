"""One member: journal, Raft node, transport, proposals and state put together, and what drives them.

This is the `ReplicatedLog` of the broker. Everything here runs on one loop; only syncs and checkpoints are written in
threads of their own. What becomes ready in one turn of the loop is one tick of the node, hence one write, one sync and
one message per follower. Whatever comes out of replication's own callbacks ends the process (`fail_stop.py`).
"""

import asyncio
import random
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from sybline import limits
from sybline.clock import Clock
from sybline.replication.background import Worker
from sybline.replication.codec import UnknownFormat, encode_request
from sybline.replication.disk_watch import DiskWatch
from sybline.replication.fail_stop import Die, FailStopEdge, end_process
from sybline.replication.identity import Identity
from sybline.replication.intake import Intake
from sybline.replication.journal import Journal
from sybline.replication.log import NoteHook, ReplicationStatus
from sybline.replication.log_time import LogTime, TickSource
from sybline.replication.machine_state import MachineState
from sybline.replication.measures import Counters, NoObserver, Observer
from sybline.replication.node import RaftNode
from sybline.replication.proposals import Proposals
from sybline.replication.reads import Reads
from sybline.replication.timing import Timing
from sybline.replication.transport import PeerTransport, TransportSettings
from sybline.state_machine.commands import AnyCommand, Tick
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.replies import AnyReply
