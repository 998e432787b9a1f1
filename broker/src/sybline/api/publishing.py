"""SubmitMessage and SubmitBatchedMessages: one log entry each, bodies passed on as they came (P-1 to P-8).

On the way of every message: one pass over a batch and nothing per message beyond what protobuf makes.
"""

from typing import Final

from sybline.api.call import IDEMPOTENCY_KEY, Call
from sybline.api.convert import Content, content_digest, one_message, read_batch
from sybline.api.error_texts import refuse
from sybline.api.gate import Gate
from sybline.api.handlers import OK_STATUS
from sybline.api.parts import ApiParts
from sybline.api.validation import check_batch_count, check_idempotency_key, check_message
from sybline.replication.pressure import Resource
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Enqueue
from sybline.v1 import mq_pb2

_SHORTAGE_RETRY_S: Final = 10.0
_SHORTAGE_TEXTS: Final = {
    Resource.DISK: "disk is almost full on member {}",
    Resource.MEMORY: "memory is almost full on member {}",
}


class Publishing:
    """The methods of producers."""

    def __init__(self, parts: ApiParts, gate: Gate) -> None:
        self._log = parts.log
        self._body_bytes_max = parts.body_bytes_max
        self._gate = gate

    async def submit_message(self, call: Call, request: mq_pb2.MessageInfo) -> bytes:
        """Publish one message."""
        check_message(request, self._body_bytes_max)
        return await self._publish(call, one_message(request), Action.SUBMIT_MESSAGE)

    async def submit_batch(self, call: Call, request: mq_pb2.BatchMessages) -> bytes:
        """Publish messages, all or nothing; none at all is OK and writes nothing (P-4)."""
        messages = request.messages
        check_batch_count(len(messages))
        if not messages:
            return OK_STATUS
        content = read_batch(messages, body_bytes_max=self._body_bytes_max)
        return await self._publish(call, content, Action.SUBMIT_BATCHED_MESSAGES)

    async def _publish(self, call: Call, content: Content, action: Action) -> bytes:
        key = call.headers.get(IDEMPOTENCY_KEY)
        if key is not None:
            check_idempotency_key(key)
        routing_keys, runs, bodies = content
        await self._gate.admit(call, action, routing_keys)
        self._check_resources()
        command = Enqueue(
            call.caller,
            routing_keys,
            runs,
            memoryview(bodies),
            action is Action.SUBMIT_BATCHED_MESSAGES,
            key or "",
            b"" if key is None else content_digest(content),
        )
        await self._gate.carry_out(call, command)
        return OK_STATUS

    def _check_resources(self) -> None:
        """Refuse while the leader, or too many members, run out of disk or memory; all else goes on (Z-5)."""
        shortage = self._log.shortage()
        if shortage is not None:
            raise refuse(
                "RESOURCE_EXHAUSTED",
                _SHORTAGE_TEXTS[shortage.resource],
                shortage.member,
                reason=f"{shortage.resource.name}_FULL",
                retry_after_s=_SHORTAGE_RETRY_S,
                facts={"member": shortage.member},
            )
