"""What can be permitted: the actions of role documents, by their names on the wire (wire contract §9).

Stored in checkpoints and in documents of users: a value never changes its meaning.
"""

from enum import StrEnum
from typing import Final

ANY: Final = "*"  # as entity: every one; no queue and no key can be named so (Z-2)


class Action(StrEnum):
    """An action that a role allows or denies."""

    # on a queue
    GET_MESSAGES = "GetMessages"
    ACK = "Ack"  # and Nack
    BATCH_ACK = "BatchAck"  # and BatchNack
    PURGE_QUEUE = "PurgeQueue"
    PEEK_QUEUE = "PeekQueue"
    REDRIVE_QUEUE = "RedriveQueue"
    # on a routing key
    SUBMIT_MESSAGE = "SubmitMessage"
    SUBMIT_BATCHED_MESSAGES = "SubmitBatchedMessages"
    # on nothing in particular
    CREATE_QUEUE = "CreateQueue"
    DELETE_QUEUE = "DeleteQueue"
    CREATE_USER = "CreateUser"
    DELETE_USER = "DeleteUser"
    CREATE_ROLE = "CreateRole"
    DELETE_ROLE = "DeleteRole"
    ASSIGN_ROLE = "AssignRole"
    UNASSIGN_ROLE = "UnassignRole"
    CHANGE_PASSWORD = "ChangePassword"  # noqa: S105 - an action, not a secret
    ADD_ROUTING_KEY = "AddRoutingKey"
    DELETE_ROUTING_KEY = "DeleteRoutingKey"
    LIST_ACCOUNTS = "ListAccounts"
    MANAGE_QUEUE_ACCESS = "ManageQueueAccess"
    MANAGE_CLUSTER = "ManageCluster"


QUEUE_ACTIONS: Final = (
    Action.GET_MESSAGES,
    Action.ACK,
    Action.BATCH_ACK,
    Action.PURGE_QUEUE,
    Action.PEEK_QUEUE,
    Action.REDRIVE_QUEUE,
)
KEY_ACTIONS: Final = (Action.SUBMIT_MESSAGE, Action.SUBMIT_BATCHED_MESSAGES)
ENTITY_ACTIONS: Final = (*QUEUE_ACTIONS, *KEY_ACTIONS)
ADMIN_ACTIONS: Final = tuple(action for action in Action if action not in ENTITY_ACTIONS)
