"""Ack, Nack, BatchAck, BatchNack: from ids to ranges of positions, and from failures per id to one error (B-4)."""

from collections.abc import Sequence

from sybline.api.call import Call
from sybline.api.convert import MessageIds, NamedIds, id_text
from sybline.api.gate import Gate
from sybline.api.handlers import OK_STATUS
from sybline.api.parts import ApiParts
from sybline.api.polls import is_yes, question_note
from sybline.api.refusals import UNSETTLED_IDS_NAMED_MAX, unsettled, unsettled_batch
from sybline.api.validation import check_answer, check_ids
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Return, Settle
from sybline.state_machine.replies import AnyReply, Settled, SettleFailure
from sybline.v1 import mq_pb2


class Settling:
    """The answers of consumers."""

    def __init__(self, parts: ApiParts, gate: Gate, ids: MessageIds) -> None:
        self._log = parts.log
        self._polls = parts.polls
        self._gate = gate
        self._ids = ids

    async def ack(self, call: Call, request: mq_pb2.AckUpdate) -> bytes:
        """Remove one message."""
        check_answer(request)
        return await self._settle(call, request.queueName, (request.id,), Action.ACK)

    async def nack(self, call: Call, request: mq_pb2.AckUpdate) -> bytes:
        """Give one message back as a failed attempt."""
        check_answer(request)
        return await self._return(call, request.queueName, (request.id,), Action.ACK)

    async def batch_ack(self, call: Call, request: mq_pb2.BatchAckUpdate) -> bytes:
        """Remove messages."""
        check_ids(request.queueName, request.id, field="id")
        return await self._settle(call, request.queueName, request.id, Action.BATCH_ACK)

    async def batch_nack(self, call: Call, request: mq_pb2.BatchNackUpdate) -> bytes:
        """Give messages back, each as a failed attempt."""
        check_ids(request.queueName, request.ids, field="ids")
        return await self._return(call, request.queueName, request.ids, Action.BATCH_ACK)

    async def _settle(self, call: Call, queue: str, ids: Sequence[bytes], action: Action) -> bytes:
        await self._gate.admit(call, action, (queue,))
        named, is_batch = NamedIds(ids, self._ids), action is Action.BATCH_ACK
        reply = await self._gate.carry_out(call, Settle(call.caller, queue, named.ranges, is_batch))
        return _answer(reply, named, is_batch=is_batch)

    async def _return(self, call: Call, queue: str, ids: Sequence[bytes], action: Action) -> bytes:
        await self._gate.admit(call, action, (queue,))
        named, is_batch = NamedIds(ids, self._ids), action is Action.BATCH_ACK
        others_poll = await self._others_poll(call, queue)
        reply = await self._gate.carry_out(
            call, Return(call.caller, queue, named.ranges, is_batch, others_poll)
        )
        return _answer(reply, named, is_batch=is_batch)

    async def _others_poll(self, call: Call, queue: str) -> bool:
        """Return whether, as far as the leader knows, another session polls the queue (N-6)."""
        consumer = call.caller.consumer
        if self._log.status().role == "leader":
            return self._polls.others_poll(queue, consumer)
        return is_yes(await self._gate.catch_up(call, note=question_note(queue, consumer)))


def _answer(reply: AnyReply, named: NamedIds, *, is_batch: bool) -> bytes:
    assert isinstance(reply, Settled)
    if not reply.failed:
        return OK_STATUS
    first = _first_ids(reply.failed, named)
    if is_batch:
        raise unsettled_batch(reply.failed, first, named.count)
    raise unsettled(reply.failed[0].reason, first[0])


def _first_ids(failed: Sequence[SettleFailure], named: NamedIds) -> list[str]:
    """Return the first few ids that could not be settled."""
    ids: list[str] = []
    for failure in failed:
        room = UNSETTLED_IDS_NAMED_MAX - len(ids)
        end = failure.position + min(failure.count, room)
        ids += [id_text(named.id_at(position)) for position in range(failure.position, end)]
    return ids
