"""GetMessages: leases messages and answers with their bodies, straight from the log into the encoded answer.

Nothing to lease or renew writes nothing (Q-8): the leader is asked whether that is so, and told who polls (N-6).
"""

from sybline import limits
from sybline.api.bodies import BodyReader
from sybline.api.call import Call
from sybline.api.convert import MessageIds
from sybline.api.gate import Gate
from sybline.api.parts import ApiParts
from sybline.api.polls import PollReports, polled_note
from sybline.api.refusals import forbidden, queue_not_found
from sybline.api.validation import check_fetch
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Caller, Checkout
from sybline.state_machine.replies import CheckedOut
from sybline.v1 import mq_pb2

_NOTHING = b""  # an encoded MessageCollection without messages


class Fetching:
    """The method of consumers that ask."""

    def __init__(self, parts: ApiParts, gate: Gate, ids: MessageIds) -> None:
        self._log = parts.log
        self._machine = parts.machine
        self._polls = parts.polls
        self._lease_ms = parts.lease_ms
        self._gate = gate
        self._reports = PollReports(parts.clock)
        self._bodies = BodyReader(parts.log.payload, ids)

    async def get_messages(self, call: Call, request: mq_pb2.RequestMessageData) -> bytes:
        """Return what the session holds, then what is ready, up to the amount."""
        check_fetch(request)
        queue, caller = request.queueName, call.caller
        await self._gate.admit(call, Action.GET_MESSAGES, (queue,))
        has_work = self._machine().has_work(queue, caller.consumer)
        note = b"" if has_work is None else self._note_poll(queue, caller)
        if (note or not has_work) and not await self._has_current_work(call, queue, note):
            return _NOTHING
        amount = min(request.amount, limits.FETCH_AMOUNT_MAX)
        command = Checkout(caller, queue, amount, limits.MESSAGE_BYTES_MAX, self._lease_ms())
        reply = await self._gate.carry_out(call, command)
        assert isinstance(reply, CheckedOut)
        parts: list[bytes] = []
        self._bodies.encode(reply.deliveries, parts)
        return b"".join(parts)

    def _note_poll(self, queue: str, caller: Caller) -> bytes:
        """Remember the poll here, and return what to tell the leader; empty: nothing now."""
        self._polls.note(queue, caller.consumer)
        status = self._log.status()
        if status.role == "leader":
            return b""
        if not self._reports.is_due(queue, caller.consumer, status.term):
            return b""
        return polled_note(queue, caller.consumer)

    async def _has_current_work(self, call: Call, queue: str, note: bytes) -> bool:
        """Return whether there is something to lease or renew, on what the leader confirmed."""
        await self._gate.catch_up(call, note=note)
        self._gate.check(call, Action.GET_MESSAGES, (queue,))
        machine, caller = self._machine(), call.caller
        has_work = machine.has_work(queue, caller.consumer)
        if has_work is None:
            raise queue_not_found(queue)
        if not machine.may_consume(queue, caller.user):
            raise forbidden(Action.GET_MESSAGES, queue)
        return has_work
