"""The only names of pysyncobj that we use; `replication/quirks.py` is the only module that may."""

from typing import Any

from pysyncobj.node import Node
from pysyncobj.transport import Transport

class SyncObjConf:
    def __init__(self, **kwargs: Any) -> None: ...

class SyncObj:
    def __init__(
        self,
        selfNode: Node,
        otherNodes: list[Node],
        conf: SyncObjConf,
        consumers: list[Any] | None = None,
        nodeClass: type[Node] = ...,
        transport: Transport | None = None,
        transportClass: type[Transport] = ...,
    ) -> None: ...
    # Private names that quirks.py calls; it replaces others.
    _SyncObj__raftCurrentTerm: int
    _SyncObj__votedForNodeId: int | None
    _SyncObj__raftState: int
    _SyncObj__raftLeader: Node | None
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftLastApplied: int
    _SyncObj__commandsQueue: Any
    def _SyncObj__setCurrentTerm(self, term: int, votedForNodeId: int | None) -> None: ...
    def _SyncObj__setState(self, newState: int) -> None: ...
    def _applyCommand(self, command: bytes, callback: Any, commandType: Any = None) -> None: ...
