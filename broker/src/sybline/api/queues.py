"""CreateQueue, DeleteQueue, AddRoutingKey, DeleteRoutingKey: one command each, everything decided in apply."""

from sybline.api.call import Call
from sybline.api.gate import Gate
from sybline.api.handlers import OK_STATUS
from sybline.api.validation import check_binding, check_new_queue, check_queue_name
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Bind, DeclareQueue, DeleteQueue, Unbind
from sybline.v1 import mq_pb2


class Queues:
    """Queues and their bindings."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def create_queue(self, call: Call, request: mq_pb2.QueueInfo) -> bytes:
        """Create a queue with its binding, and its dead-letter queue if asked (Q-1)."""
        check_new_queue(request)
        await self._gate.admit(call, Action.CREATE_QUEUE)
        command = DeclareQueue(
            call.caller,
            name=request.name,
            routing_key=request.routingKey,
            size=request.size,
            retry_limit=request.retryLimit,
            dead_letter=request.hasDLQueue,
        )
        await self._gate.carry_out(call, command)
        return OK_STATUS

    async def delete_queue(self, call: Call, request: mq_pb2.DeleteQueueInfo) -> bytes:
        """Delete a queue and everything in it (Q-4)."""
        check_queue_name(request.queueName)
        await self._gate.admit(call, Action.DELETE_QUEUE)
        await self._gate.carry_out(call, DeleteQueue(call.caller, request.queueName))
        return OK_STATUS

    async def add_routing_key(self, call: Call, request: mq_pb2.AddRoute) -> bytes:
        """Bind a queue to a key (R-3)."""
        check_binding(request)
        await self._gate.admit(call, Action.ADD_ROUTING_KEY)
        await self._gate.carry_out(call, Bind(call.caller, request.queueName, request.routeName))
        return OK_STATUS

    async def delete_routing_key(self, call: Call, request: mq_pb2.DeleteRoute) -> bytes:
        """Unbind a queue from a key (R-4)."""
        check_binding(request)
        await self._gate.admit(call, Action.DELETE_ROUTING_KEY)
        await self._gate.carry_out(call, Unbind(call.caller, request.queueName, request.routeName))
        return OK_STATUS
