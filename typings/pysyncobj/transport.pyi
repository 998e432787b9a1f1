from typing import Any

from pysyncobj.node import Node

class Transport:
    ready: bool
    def __init__(
        self, syncObj: Any, selfNode: Node | None, otherNodes: list[Node] | None
    ) -> None: ...
    def _onMessageReceived(self, node: Node, message: Any) -> None: ...
