"""Publishing: Enqueue stores a batch in every queue of its keys, or nowhere (P-1 to P-8, R-1).

Costs grow with the runs of the batch, not with its messages. Bodies stay in the log entry.
"""

from typing import TYPE_CHECKING

from sybline import limits
from sybline.state_machine.access import authorise
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Enqueue
from sybline.state_machine.meta import Change, Decision, Meta
from sybline.state_machine.queue import Queue, count
from sybline.state_machine.queue_access import may_produce
from sybline.state_machine.replies import AnyReply, Enqueued, Reason, Refused

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_KEYS_NAMED_MAX = 10


class _Load:
    """What a batch brings to one queue."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0


def decide_enqueue(state: "State", meta: Meta, command: Enqueue) -> Decision:
    """Decide SubmitMessage and SubmitBatchedMessages; the order of the checks is P-1."""
    caller = command.caller
    action = Action.SUBMIT_BATCHED_MESSAGES if command.batch else Action.SUBMIT_MESSAGE
    refused = authorise(state, caller, action, command.routing_keys)
    if refused is not None:
        return refused
    _check_runs(command)
    if command.idempotency_key:
        earlier = _earlier(state, command)
        if earlier is not None:
            return earlier
    keys = state.routing.keys
    if any(key not in keys for key in command.routing_keys):
        unknown = [key for key in command.routing_keys if key not in keys]
        return Refused(Reason.KEY_NOT_FOUND, unknown[0], tuple(unknown[:_KEYS_NAMED_MAX]))
    loads = _loads(state, command)
    for queue in loads:
        if not may_produce(state, queue, caller.user):
            return Refused(Reason.FORBIDDEN, queue.name, (action.value,))
    for queue, load in loads.items():
        refused = _no_room(queue, load)
        if refused is not None:
            return _count_refusal(queue, load, refused)
    return lambda: _store(state, meta, command)


def _check_runs(command: Enqueue) -> None:
    """Raise ValueError when the edge has not done its part: the runs describe the bodies exactly."""
    messages = total = 0
    for run in command.runs:
        if run.count <= 0 or not 0 <= run.size_bytes <= limits.BODY_BYTES_MAX:
            raise ValueError("malformed run")
        if not 0 <= run.key_number < len(command.routing_keys):
            raise ValueError("run without key")
        messages += run.count
        total += run.count * run.size_bytes
    if total != len(command.bodies) or messages > limits.BATCH_MESSAGES_MAX:
        raise ValueError("runs and bodies differ")


def _earlier(state: "State", command: Enqueue) -> AnyReply | None:
    record = state.idempotency.find(command.caller.user, command.idempotency_key, state.now_ms)
    if record is None:
        if state.idempotency.is_full():
            return Refused(Reason.LIMIT, "idempotency keys", (limits.IDEMPOTENCY_KEYS_MAX,))
        return None
    if record.digest != command.digest:
        return Refused(Reason.IDEMPOTENCY_CONFLICT, command.idempotency_key)
    return Enqueued(record.index, duplicate=True)


def _loads(state: "State", command: Enqueue) -> dict[Queue, _Load]:
    """Return what each queue would get, in the order in which the batch meets the queues."""
    loads: dict[Queue, _Load] = {}
    for run in command.runs:
        for queue in state.routing.keys[command.routing_keys[run.key_number]]:
            load = loads.get(queue)
            if load is None:
                load = loads[queue] = _Load()
            load.messages += run.count
            load.bytes += run.count * run.size_bytes
    return loads


def _no_room(queue: Queue, load: _Load) -> Refused | None:
    config = queue.config
    held = queue.held
    if held + load.messages > config.size:
        if load.messages > config.size:
            return Refused(Reason.BATCH_NEVER_FITS, queue.name, (config.size, load.messages))
        return Refused(Reason.QUEUE_FULL, queue.name, (config.size, held, load.messages))
    if config.max_bytes and queue.bytes + load.bytes > config.max_bytes:
        return Refused(
            Reason.QUEUE_BYTES_FULL, queue.name, (config.max_bytes, queue.bytes, load.bytes)
        )
    return None


def _count_refusal(queue: Queue, load: _Load, refused: Refused) -> Change:
    """Nothing changes but the counter by which an operator sees that a queue is too small."""

    def change() -> AnyReply:
        count(queue.counters.refused, refused.reason.value, load.messages)
        return refused

    return change


def _store(state: "State", meta: Meta, command: Enqueue) -> AnyReply:
    position = meta.index * limits.BATCH_MESSAGES_MAX
    keys = state.routing.keys
    for run in command.runs:
        for queue in keys[command.routing_keys[run.key_number]]:
            queue.enter(position, run.count, run.size_bytes, state.now_ms)
            queue.counters.published += run.count
        position += run.count
    if command.idempotency_key:
        state.idempotency.store(
            command.caller.user,
            command.idempotency_key,
            command.digest,
            meta.index,
            state.now_ms,
        )
    return Enqueued(meta.index)
