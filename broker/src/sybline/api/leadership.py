"""IsLeaderNode: how old clients find the leader. Every member answers, at most one with yes (C-5, wire §5 row 1)."""

from typing import Final

from sybline import limits
from sybline.api.call import Call
from sybline.api.handlers import FALSE_STATUS, OK_STATUS
from sybline.api.parts import ApiParts
from sybline.v1 import mq_pb2

_SHARE_OF_DEADLINE: Final = 0.9  # an answer in time is worth more than the last bit of waiting


class Leadership:
    """The method that tells who leads."""

    def __init__(self, parts: ApiParts) -> None:
        self._log = parts.log

    async def is_leader_node(self, call: Call, _: mq_pb2.LeaderNodeRequest) -> bytes:
        """Return whether this member leads and a quorum said so lately; waits a little while there is no leader."""
        wait_s = min(limits.IS_LEADER_WAIT_S, call.remaining_s() * _SHARE_OF_DEADLINE)
        await self._log.wait_for_leader(deadline_s=wait_s)
        status = self._log.status()
        leads = status.role == "leader" and status.quorum_confirmed
        return OK_STATUS if leads else FALSE_STATUS
