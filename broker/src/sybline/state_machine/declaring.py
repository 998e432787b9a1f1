"""Creation and deletion of queues with their dead-letter queues and bindings (Q-1 to Q-6, D-1, D-6)."""

from typing import TYPE_CHECKING

from sybline import limits
from sybline.state_machine import leases
from sybline.state_machine.access import authorise
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import DeclareQueue, DeleteQueue
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.queue import Queue, QueueConfig
from sybline.state_machine.replies import AnyReply, Done, Reason, Refused

if TYPE_CHECKING:
    from sybline.state_machine.state import State

_NO_RETRY_LIMIT = -1


def decide_declare_queue(state: "State", meta: Meta, command: DeclareQueue) -> Decision:
    """Decide CreateQueue."""
    refused = authorise(state, command.caller, Action.CREATE_QUEUE, ())
    if refused is not None:
        return refused
    config = QueueConfig(command.size, command.retry_limit, command.dead_letter, command.max_bytes)
    held = state.queues.get(command.name)
    if held is not None:
        return _compare(held, config, command.routing_key)
    letters = state.queues.get(command.name + limits.DEAD_LETTER_SUFFIX)
    if command.dead_letter and letters is not None and letters.dead_letter_of != command.name:
        return Refused(Reason.DEAD_LETTER_NAME_TAKEN, letters.name)
    added = 1 + (command.dead_letter and letters is None)
    if len(state.queues) + added > limits.QUEUES_MAX:
        return Refused(Reason.LIMIT, "queues", (limits.QUEUES_MAX,))
    refused = state.routing.refusal(command.routing_key)
    if refused is not None:
        return refused
    return lambda: _create(state, command, config)


def _compare(held: Queue, config: QueueConfig, routing_key: str) -> AnyReply:
    """Answer a repeated declaration (Q-3): OK, or the first difference."""
    fields = (
        ("size", held.config.size, config.size),
        ("retryLimit", held.config.retry_limit, config.retry_limit),
        ("hasDLQueue", held.config.dead_letter, config.dead_letter),
        ("maxBytes", held.config.max_bytes, config.max_bytes),
    )
    for field, has, asked in fields:
        if has != asked:
            return Refused(Reason.QUEUE_EXISTS, held.name, (field, _shown(has), _shown(asked)))
    if routing_key not in held.keys:
        bound = min(held.keys, default="")
        return Refused(Reason.QUEUE_EXISTS, held.name, ("routingKey", bound, routing_key))
    return Done(changed=False)


def _shown(value: int | bool) -> str | int:
    return str(value).lower() if isinstance(value, bool) else value


def _create(state: "State", command: DeclareQueue, config: QueueConfig) -> AnyReply:
    queue = state.add_queue(command.name, config, dead_letter_of="")
    if command.dead_letter:
        letters_config = QueueConfig(
            config.size, _NO_RETRY_LIMIT, dead_letter=False, max_bytes=config.max_bytes
        )
        name = command.name + limits.DEAD_LETTER_SUFFIX
        letters = state.queues.get(name)
        if letters is None:
            letters = state.add_queue(name, letters_config, dead_letter_of=command.name)
        letters.changes()
        letters.config = letters_config  # adopted, it may hold more than its new size (D-6)
        letters.owner = queue
        queue.dead_letters = letters
    state.routing.bind(command.routing_key, queue)
    return Done()


def decide_delete_queue(state: "State", meta: Meta, command: DeleteQueue) -> Decision:
    """Decide DeleteQueue (Q-4, Q-5)."""
    refused = authorise(state, command.caller, Action.DELETE_QUEUE, ())
    if refused is not None:
        return refused
    queue = state.queues.get(command.queue)
    if queue is None:
        return Done(changed=False)
    if queue.owner is not None:
        return Refused(Reason.DEAD_LETTER_OWNED, queue.name, (queue.owner.name,))

    def change() -> AnyReply:
        letters = queue.dead_letters
        _delete(state, queue)
        if letters is not None:
            letters.changes()
            letters.owner = None
            if not letters.held:
                _delete(state, letters)
        return Done()

    return change


def _delete(state: "State", queue: Queue) -> None:
    state.routing.unbind_all(queue)
    for consumer in list(queue.holdings):
        leases.drop_holding(state, queue, consumer)
    state.remove_queue(queue)
