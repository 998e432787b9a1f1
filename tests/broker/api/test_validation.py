"""Every field of every method: what is refused, in which words (wire contract §6, Z-1, Z-2)."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sybline import limits
from sybline.api import validation
from sybline.api.error_texts import CallError
from sybline.v1 import mq_pb2 as mq

ID = b"i" * 16
LONG = "x" * 256
ROLE_MAX = limits.ROLE_NAME_BYTES_MAX
assignments = {
    "AssignRole": lambda request: validation.check_assignment(request, method="AssignRole"),
    "UnassignRole": lambda request: validation.check_assignment(request, method="UnassignRole"),
}


def check_message(request: mq.MessageInfo) -> None:
    validation.check_message(request, limits.BODY_BYTES_DEFAULT)


# check, request, field, text
REFUSED: list[tuple[Callable[[Any], None], Any, str, str]] = [
    # SubmitMessage
    (check_message, mq.MessageInfo(data=b"a"), "routingKey", "routingKey cannot be empty"),
    (
        check_message, mq.MessageInfo(routingKey=LONG, data=b"a"), "routingKey",
        "routingKey of 256 bytes exceeds the limit of 255 bytes",
    ),
    (
        check_message, mq.MessageInfo(routingKey="k"), "data",
        "data must contain some information",
    ),
    (
        check_message,
        mq.MessageInfo(routingKey="k", data=bytes(limits.BODY_BYTES_DEFAULT + 1)), "data",
        "message of 4193281 bytes exceeds the limit of 4193280 bytes",
    ),
    # GetMessages
    (
        validation.check_fetch, mq.RequestMessageData(amount=1), "queueName",
        "queue name cannot be empty",
    ),
    (
        validation.check_fetch, mq.RequestMessageData(queueName="q"), "amount",
        "must request more than zero",
    ),
    # Ack, Nack
    (validation.check_answer, mq.AckUpdate(id=ID), "queueName", "queue name cannot be empty"),
    (validation.check_answer, mq.AckUpdate(queueName="q"), "id", "id must not be empty"),
    (
        validation.check_answer, mq.AckUpdate(queueName="q", id=b"abc"), "id",
        "invalid UUID (got 3 bytes)",
    ),
    # CreateQueue
    (validation.check_new_queue, mq.QueueInfo(name="q", size=1), "routingKey",
     "routingKey cannot be empty"),
    (validation.check_new_queue, mq.QueueInfo(routingKey="k", size=1), "name",
     "queue name cannot be empty"),
    (validation.check_new_queue, mq.QueueInfo(routingKey="k", name="q"), "size",
     "size must be more than zero"),
    (
        validation.check_new_queue,
        mq.QueueInfo(routingKey="k", name="ü" * 126, size=1, hasDLQueue=True), "name",
        "queue name of 252 bytes exceeds the limit of 251 bytes",
    ),
    # AddRoutingKey, DeleteRoutingKey: the key first
    (validation.check_binding, mq.AddRoute(), "routeName", "routingKey cannot be empty"),
    (validation.check_binding, mq.DeleteRoute(routeName="k"), "queueName",
     "queue name cannot be empty"),
    # Login
    (validation.check_credentials, mq.Credentials(password="p"), "username",
     "username cannot be empty"),
    (validation.check_credentials, mq.Credentials(username="u"), "password",
     "password cannot be empty"),
    (
        validation.check_credentials, mq.Credentials(username="u" * 129, password="p"),
        "username", "username of 129 bytes exceeds the limit of 128 bytes",
    ),
    (
        validation.check_credentials, mq.Credentials(username="u", password="p" * 1025),
        "password", "password of 1025 bytes exceeds the limit of 1024 bytes",
    ),
    # CreateUser
    (validation.check_new_user, mq.UserCreds(password="p"), "username", "username cannot be empty"),
    (validation.check_new_user, mq.UserCreds(username="u"), "password", "password cannot be empty"),
    (
        validation.check_new_user, mq.UserCreds(username="a b", password="p"), "username",
        "username must consist of printable ASCII without space, ':', '/', '%' and ',': 'a b'",
    ),
    # ChangePassword
    (
        validation.check_new_password, mq.ChangeCredentials(oldPassword="o", newPassword="n"),
        "username", "username cannot be empty",
    ),
    (
        validation.check_new_password, mq.ChangeCredentials(username="u", newPassword="n"),
        "oldPassword", "old password cannot be empty",
    ),
    (
        validation.check_new_password, mq.ChangeCredentials(username="u", oldPassword="o"),
        "newPassword", "new password cannot be empty",
    ),
    (
        validation.check_new_password,
        mq.ChangeCredentials(username="u", oldPassword="o", newPassword="n" * 1025),
        "newPassword", "new password of 1025 bytes exceeds the limit of 1024 bytes",
    ),
    # AssignRole, UnassignRole
    (assignments["AssignRole"], mq.AssignRoleRequest(username="u"), "role",
     "invalid request payload for AssignRole"),
    (assignments["AssignRole"], mq.AssignRoleRequest(role="r"), "username",
     "invalid request payload for AssignRole"),
    (assignments["UnassignRole"], mq.UnassignRoleRequest(), "role",
     "invalid request payload for UnassignRole"),
    (
        assignments["AssignRole"], mq.AssignRoleRequest(role="r" * 256, username="u"), "role",
        f"role name of 256 bytes exceeds the limit of {ROLE_MAX} bytes",
    ),
    # CreateRole
    (
        validation.check_role_document, "x" * 65_537, "role",
        "role document of 65537 bytes exceeds the limit of 65536 bytes",
    ),
    # syb-idempotency-key
    (
        validation.check_idempotency_key, "", "syb-idempotency-key",
        "syb-idempotency-key must be 1 to 128 bytes of printable ASCII without space",
    ),
    (
        validation.check_idempotency_key, "a b", "syb-idempotency-key",
        "syb-idempotency-key must be 1 to 128 bytes of printable ASCII without space",
    ),
    (
        validation.check_idempotency_key, "k" * 129, "syb-idempotency-key",
        "syb-idempotency-key must be 1 to 128 bytes of printable ASCII without space",
    ),
    # SubmitBatchedMessages
    (
        validation.check_batch_count, limits.BATCH_MESSAGES_MAX + 1, "messages",
        "batch of 1048577 messages exceeds the limit of 1048576",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("check", "request_", "field", "text"), REFUSED)
def test_a_field_out_of_shape_is_named_with_the_known_text(
    check: Callable[[Any], None], request_: Any, field: str, text: str
) -> None:
    with pytest.raises(CallError) as info:
        check(request_)
    error = info.value
    assert (error.code, error.field, error.text) == ("INVALID_ARGUMENT", field, text)
    assert error.retry_after_s is None


@pytest.mark.parametrize(
    ("check", "request_"),
    [
        (
            check_message,
            mq.MessageInfo(routingKey="k", data=bytes(limits.BODY_BYTES_DEFAULT)),
        ),
        (validation.check_fetch, mq.RequestMessageData(queueName="q", amount=(1 << 32) - 1)),
        (validation.check_answer, mq.AckUpdate(queueName="q", id=bytes(16))),
        (validation.check_new_queue, mq.QueueInfo(routingKey="k", name="q", size=1, retryLimit=0)),
        (
            validation.check_new_queue,
            mq.QueueInfo(routingKey="k", name="x" * 251, size=1, hasDLQueue=True),
        ),
        (validation.check_new_queue, mq.QueueInfo(routingKey="k", name="x" * 255, size=1)),
        (validation.check_binding, mq.AddRoute(queueName="a:/%b c", routeName="größe")),
        (validation.check_credentials, mq.Credentials(username="no such user", password="ü")),
        (validation.check_new_user, mq.UserCreds(username="~" * 128, password="p" * 1024)),
        (assignments["AssignRole"], mq.AssignRoleRequest(role="R", username="u")),
        (validation.check_role_document, "x" * 65_536),
        (validation.check_idempotency_key, "~" * 128),
        (validation.check_batch_count, limits.BATCH_MESSAGES_MAX),
    ],
)
def test_what_the_contract_allows_passes(check: Callable[[Any], None], request_: Any) -> None:
    check(request_)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a\nb", r"must not contain control characters: 'a\x0ab'"),
        ("a\x85b", r"must not contain control characters: 'a\x85b'"),
        ("a,b", "must not contain ',': 'a,b'"),
        (" a", "must not begin or end with white space: ' a'"),
        ("a\u3000", "must not begin or end with white space: 'a\u3000'"),
        ("*", "must not be '*', which means any"),
    ],
)
def test_a_name_that_is_not_allowed_says_why(name: str, text: str) -> None:
    for check, what in (
        (validation.check_queue_name, "queue name"),
        (validation.check_routing_key, "routingKey"),
    ):
        with pytest.raises(CallError) as info:
            check(name)
        assert info.value.text == f"{what} {text}"


@given(st.text(min_size=1, max_size=260))
def test_a_name_passes_exactly_when_the_rule_says_so(name: str) -> None:
    is_allowed = (
        len(name.encode()) <= 255
        and "," not in name
        and name == name.strip()
        and name != "*"
        and not any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in name)
    )
    for check in (validation.check_queue_name, validation.check_routing_key):
        if is_allowed:
            check(name)
        else:
            with pytest.raises(CallError):
                check(name)


@given(st.text(min_size=1, max_size=130))
def test_a_user_name_passes_exactly_when_the_rule_says_so(name: str) -> None:
    is_allowed = len(name) <= 128 and all("!" <= c <= "~" and c not in ":/%," for c in name)
    if is_allowed:
        validation.check_user_name(name)
    else:
        with pytest.raises(CallError):
            validation.check_user_name(name)


# --- lists of ids ---
def check_ids(ids: list[bytes]) -> None:
    validation.check_ids("q", ids, field="ids")


def test_a_list_of_ids_is_checked_to_the_last() -> None:
    check_ids([ID] * limits.BATCH_IDS_MAX)
    with pytest.raises(CallError) as info:
        check_ids([ID, ID, b"abc"])
    assert info.value.text == "invalid UUID (got 3 bytes) at 2"
    assert info.value.field == "ids[2]"


def test_reg_s8a_a_million_ids_are_refused_by_a_named_limit() -> None:
    with pytest.raises(CallError, match="number of ids 1000000 exceeds the limit of 10000"):
        check_ids([ID] * 1_000_000)


def test_an_empty_list_of_ids_and_an_empty_queue_are_refused() -> None:
    with pytest.raises(CallError, match="id must not be empty"):
        check_ids([])
    with pytest.raises(CallError, match="queue name cannot be empty"):
        validation.check_ids("", [ID], field="ids")
