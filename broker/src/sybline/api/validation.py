"""Shape and size of every field of every request (wire contract §6, Z-1, Z-2).

Each check raises a `CallError` with code INVALID_ARGUMENT whose text says what, how much and what is allowed; texts
that old clients know are kept to the letter. Pure; knows nothing of sessions or state.
"""

import re
from collections.abc import Sequence
from typing import Final

from sybline import limits
from sybline.api.error_texts import CallError, Word, refuse
from sybline.v1 import mq_pb2

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.:/%-]{1,251}")  # what nearly all names are
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_USER_NAME: Final = re.compile(r"[!-~]+")
_USER_NAME_FORBIDDEN: Final = ":/%,"
_KEY_CHARACTERS: Final = re.compile(r"[!-~]+")


def invalid(field: str, template: str, *values: str | int) -> CallError:
    """Return the error of a malformed or out-of-range field."""
    return refuse("INVALID_ARGUMENT", template, *values, reason="INVALID_ARGUMENT", field=field)


# --- names ---
def check_queue_name(name: str, *, field: str = "queueName", dead_letter: bool = False) -> None:
    """Refuse what cannot name a queue; with a dead-letter queue the name leaves room for its suffix."""
    if _PLAIN_NAME.fullmatch(name):
        return
    if not name:
        raise invalid(field, "queue name cannot be empty")
    suffix_bytes = len(limits.DEAD_LETTER_SUFFIX) if dead_letter else 0
    _check_name(name, "queue name", field, limits.QUEUE_NAME_BYTES_MAX - suffix_bytes)


def check_routing_key(key: str, *, field: str = "routingKey") -> None:
    """Refuse what cannot be a routing key."""
    if _PLAIN_NAME.fullmatch(key):
        return
    if not key:
        raise invalid(field, "routingKey cannot be empty")
    _check_name(key, "routingKey", field, limits.QUEUE_NAME_BYTES_MAX)


def _check_name(name: str, what: str, field: str, bytes_max: int) -> None:
    label = Word(what)
    size = len(name.encode())
    if size > bytes_max:
        raise invalid(field, "{} of {} bytes exceeds the limit of {} bytes", label, size, bytes_max)
    if _CONTROL.search(name):
        raise invalid(field, "{} must not contain control characters: {}", label, name)
    if "," in name:
        raise invalid(field, "{} must not contain ',': {}", label, name)
    if name != name.strip():
        raise invalid(field, "{} must not begin or end with white space: {}", label, name)
    if name == "*":
        raise invalid(field, "{} must not be '*', which means any", label)


def check_user_name(name: str, *, field: str = "username") -> None:
    """Refuse what cannot name a user: header values are printable ASCII."""
    if not name:
        raise invalid(field, "username cannot be empty")
    _check_bytes(name, "username", field, limits.USER_NAME_BYTES_MAX)
    if not _USER_NAME.fullmatch(name) or any(c in name for c in _USER_NAME_FORBIDDEN):
        raise invalid(
            field,
            "username must consist of printable ASCII without space, ':', '/', '%' and ',': {}",
            name,
        )


def check_password(password: str, *, what: str, field: str) -> None:
    """Refuse an empty or over-long password; `what` names it in the text."""
    if not password:
        raise invalid(field, "{} cannot be empty", Word(what))
    _check_bytes(password, what, field, limits.PASSWORD_BYTES_MAX)


def _check_bytes(value: str, what: str, field: str, bytes_max: int) -> None:
    size = len(value.encode())
    if size > bytes_max:
        raise invalid(
            field, "{} of {} bytes exceeds the limit of {} bytes", Word(what), size, bytes_max
        )


# --- messages ---
def check_message(request: mq_pb2.MessageInfo, body_bytes_max: int) -> None:
    """Check SubmitMessage, and each message of a batch."""
    check_routing_key(request.routingKey)
    check_body(request.data, body_bytes_max)


def check_body(body: bytes, bytes_max: int) -> None:
    """Refuse an empty or over-long body (Z-4)."""
    size = len(body)
    if not size:
        raise invalid("data", "data must contain some information")
    if size > bytes_max:
        text = "message of {} bytes exceeds the limit of {} bytes"
        raise invalid("data", text, size, bytes_max)


def check_batch_count(messages: int) -> None:
    """Refuse more messages than a log entry can number."""
    if messages > limits.BATCH_MESSAGES_MAX:
        most = limits.BATCH_MESSAGES_MAX
        raise invalid("messages", "batch of {} messages exceeds the limit of {}", messages, most)


def check_batch_keys(keys: int) -> None:
    """Refuse more distinct routing keys than the log entry of a batch has room for."""
    if keys > limits.BATCH_KEYS_MAX:
        text = "number of distinct routing keys in a batch exceeds the limit of {}"
        raise invalid("messages", text, limits.BATCH_KEYS_MAX)


def check_idempotency_key(key: str) -> None:
    """Refuse a syb-idempotency-key that is not 1 to 128 bytes of 0x21-0x7E (wire §3)."""
    if not 1 <= len(key) <= limits.IDEMPOTENCY_KEY_BYTES_MAX or not _KEY_CHARACTERS.fullmatch(key):
        most = limits.IDEMPOTENCY_KEY_BYTES_MAX
        text = "syb-idempotency-key must be 1 to {} bytes of printable ASCII without space"
        raise invalid("syb-idempotency-key", text, most)


def check_fetch(request: mq_pb2.RequestMessageData) -> None:
    """Check GetMessages. More than FETCH_AMOUNT_MAX is not an error: it means that many."""
    check_queue_name(request.queueName)
    if not request.amount:
        raise invalid("amount", "must request more than zero")


def check_answer(request: mq_pb2.AckUpdate) -> None:
    """Check Ack and Nack."""
    check_queue_name(request.queueName)
    size = len(request.id)
    if not size:
        raise invalid("id", "id must not be empty")
    if size != limits.MESSAGE_ID_BYTES:
        raise invalid("id", "invalid UUID (got {} bytes)", size)


def check_ids(queue: str, ids: Sequence[bytes], *, field: str) -> None:
    """Check BatchAck and BatchNack: a malformed id refuses the whole call (B-1)."""
    check_queue_name(queue)
    if not ids:
        raise invalid(field, "id must not be empty")
    if len(ids) > limits.BATCH_IDS_MAX:
        most = limits.BATCH_IDS_MAX
        raise invalid(field, "number of ids {} exceeds the limit of {}", len(ids), most)
    for number, size in enumerate(map(len, ids)):
        if size != limits.MESSAGE_ID_BYTES:
            raise invalid(f"{field}[{number}]", "invalid UUID (got {} bytes) at {}", size, number)


# --- queues and keys ---
def check_new_queue(request: mq_pb2.QueueInfo) -> None:
    """Check CreateQueue; retryLimit 0 is accepted."""
    check_routing_key(request.routingKey)
    check_queue_name(request.name, field="name", dead_letter=request.hasDLQueue)
    if not request.size:
        raise invalid("size", "size must be more than zero")


def check_binding(request: mq_pb2.AddRoute | mq_pb2.DeleteRoute) -> None:
    """Check AddRoutingKey and DeleteRoutingKey: the key before the queue."""
    check_routing_key(request.routeName, field="routeName")
    check_queue_name(request.queueName)


# --- accounts ---
def check_credentials(request: mq_pb2.Credentials) -> None:
    """Check Login. A name no user can have is not told apart from an unknown one (U-5)."""
    if not request.username:
        raise invalid("username", "username cannot be empty")
    _check_bytes(request.username, "username", "username", limits.USER_NAME_BYTES_MAX)
    check_password(request.password, what="password", field="password")


def check_new_user(request: mq_pb2.UserCreds) -> None:
    """Check CreateUser."""
    check_user_name(request.username)
    check_password(request.password, what="password", field="password")


def check_new_password(request: mq_pb2.ChangeCredentials) -> None:
    """Check ChangePassword."""
    check_user_name(request.username)
    check_password(request.oldPassword, what="old password", field="oldPassword")
    check_password(request.newPassword, what="new password", field="newPassword")


def check_role_document(document: str) -> None:
    """Refuse an over-long role document; its content is judged by its parser."""
    _check_bytes(document, "role document", "role", limits.ROLE_DOCUMENT_BYTES_MAX)


def check_assignment(
    request: mq_pb2.AssignRoleRequest | mq_pb2.UnassignRoleRequest, *, method: str
) -> None:
    """Check AssignRole and UnassignRole."""
    if not request.role or not request.username:
        raise invalid(
            "username" if request.role else "role", "invalid request payload for {}", Word(method)
        )
    check_user_name(request.username)
    _check_bytes(request.role, "role name", "role", limits.ROLE_NAME_BYTES_MAX)
