"""Every refusal of the state machine in its code and words (wire contract §6)."""

import pytest

from sybline.api import refusals
from sybline.api.error_texts import RESERVED_TEXTS
from sybline.api.refusals import refusal, unsettled_batch
from sybline.api.statuses import encode_details
from sybline.state_machine.replies import Reason, Refused, SettleFailure

UUID = "6f1a2b3c-0000-0000-0000-00000000002a"
# reason: (subject, values, code, text)
EXPECTED: dict[Reason, tuple[str, tuple[str | int, ...], str, str]] = {
    Reason.UNAUTHENTICATED: ("", (), "UNAUTHENTICATED", "no valid auth token provided"),
    Reason.FORBIDDEN: (
        "q", ("GetMessages",), "PERMISSION_DENIED",
        "does not have permission to perform action GetMessages on 'q'",
    ),
    Reason.INVALID_LOGIN: ("", (), "UNAUTHENTICATED", "invalid login details"),
    Reason.OTHER_USERS_PASSWORD: (
        "", (), "PERMISSION_DENIED", "password of another user cannot be changed",
    ),
    Reason.QUEUE_NOT_FOUND: ("q", (), "NOT_FOUND", "queue does not exist: 'q'"),
    Reason.BIND_QUEUE_NOT_FOUND: ("q", (), "NOT_FOUND", "queue name used does not exist: 'q'"),
    Reason.KEY_NOT_FOUND: (
        "k", ("k", "l"), "NOT_FOUND", "routing key does not exist: 'k', 'l'",
    ),
    Reason.QUEUE_EXISTS: (
        "q", ("size", 5, 6), "ALREADY_EXISTS",
        "failed to create new queue: 'q' exists with size 5, asked for 6",
    ),
    Reason.DEAD_LETTER_NAME_TAKEN: (
        "q-dlq", (), "ALREADY_EXISTS", "failed to create new queue: 'q-dlq' exists already",
    ),
    Reason.DEAD_LETTER_OWNED: (
        "q-dlq", ("q",), "FAILED_PRECONDITION",
        "dead-letter queue 'q-dlq' belongs to queue 'q' and cannot be deleted, purge it",
    ),
    Reason.LAST_BINDING: (
        "q", (), "FAILED_PRECONDITION", "each queue must have at least one routing key: 'q'",
    ),
    Reason.NOT_DEAD_LETTER: ("q", (), "FAILED_PRECONDITION", "'q' is not a dead-letter queue"),
    Reason.QUEUE_FULL: (
        "q", (10, 9, 2), "RESOURCE_EXHAUSTED",
        "queue is full: 'q' holds 9 of 10 messages, asked for 2 more",
    ),
    Reason.QUEUE_BYTES_FULL: (
        "q", (10, 9, 2), "RESOURCE_EXHAUSTED",
        "queue is full: 'q' holds 9 of 10 bytes, asked for 2 more",
    ),
    Reason.BATCH_NEVER_FITS: (
        "q", (10, 11), "FAILED_PRECONDITION",
        "batch of 11 messages exceeds the size of queue 'q', which is 10",
    ),
    Reason.IDEMPOTENCY_CONFLICT: (
        "key", (), "ALREADY_EXISTS", "idempotency key 'key' was used for other content",
    ),
    Reason.MESSAGE_NOT_FOUND: (UUID, (), "NOT_FOUND", f"could not find item with id: {UUID}"),
    Reason.LEASE_LOST: (
        UUID, (), "FAILED_PRECONDITION", f"could not find item with id: {UUID}: lease lost",
    ),
    Reason.USER_EXISTS: ("u", (), "ALREADY_EXISTS", "username already taken"),
    Reason.USER_NOT_FOUND: ("u", (), "NOT_FOUND", "user does not exist"),
    Reason.LAST_USER: (
        "", (), "FAILED_PRECONDITION",
        "cannot delete all accounts, at least one must remain",
    ),
    Reason.LAST_ROOT: (
        "", (), "FAILED_PRECONDITION", "at least one user must keep the role ROOT",
    ),
    Reason.ROLE_EXISTS: ("r", (), "ALREADY_EXISTS", "role 'r' already exists"),
    Reason.ROLE_NOT_FOUND: ("r", (), "NOT_FOUND", "role with name 'r' does not exist"),
    Reason.ROLE_NOT_ASSIGNED: (
        "r", ("u",), "NOT_FOUND", "user with name 'u' does not have role 'r' to be unassigned",
    ),
    Reason.ROLE_ASSIGNED: ("r", (), "FAILED_PRECONDITION", "role 'r' is assigned to users"),
    Reason.ROLE_BUILT_IN: ("r", (), "FAILED_PRECONDITION", "role 'r' is built in"),
    Reason.LIMIT: (
        "queues", (10_000,), "RESOURCE_EXHAUSTED",
        "number of queues has reached the limit of 10000",
    ),
    Reason.REPLY_FORGOTTEN: ("", (), "UNKNOWN", "the outcome of the call is unknown"),
    Reason.INTERNAL: (
        "KeyError", (), "INTERNAL", "internal error while applying the command: KeyError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_code_and_text(reason: Reason) -> None:
    subject, values, code, text = EXPECTED[reason]
    error = refusal(Refused(reason, subject, values))
    assert (error.code, error.text) == (code, text)
    assert error.reason


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("name", [*RESERVED_TEXTS, "a\nb" * 200, "ü" * 500])
def test_reg_w2_no_refusal_says_what_a_name_wants_it_to_say(reason: Reason, name: str) -> None:
    _, values, _, _ = EXPECTED[reason]
    told = tuple(name if isinstance(value, str) else value for value in values)
    if reason is Reason.QUEUE_EXISTS:
        told = ("routingKey", name, name)
    subject = name if reason not in (Reason.LIMIT, Reason.INTERNAL) else "queues"
    if reason is Reason.FORBIDDEN:
        told = values  # an action is a word of ours
    error = refusal(Refused(reason, subject, told))
    assert "\n" not in error.text
    assert len(error.text.encode()) <= 1024
    assert len(encode_details(error)) <= 4096
    if reason is not Reason.UNAUTHENTICATED:
        assert not any(reserved in error.text for reserved in RESERVED_TEXTS)


def test_a_difference_of_names_is_quoted_and_one_of_values_is_not() -> None:
    by_key = refusal(Refused(Reason.QUEUE_EXISTS, "q", ("routingKey", "k", "l")))
    by_flag = refusal(Refused(Reason.QUEUE_EXISTS, "q", ("hasDLQueue", "true", "false")))
    assert by_key.text.endswith("exists with routingKey 'k', asked for 'l'")
    assert by_flag.text.endswith("exists with hasDLQueue true, asked for false")


def test_what_passes_by_itself_tells_when_to_retry() -> None:
    assert refusal(Refused(Reason.QUEUE_FULL, "q", (1, 1, 1))).retry_after_s == 1.0
    assert refusal(Refused(Reason.QUEUE_NOT_FOUND, "q")).retry_after_s is None


def test_reg_w11_a_failed_batch_names_ten_ids_and_counts_all_by_cause() -> None:
    failures = (
        SettleFailure(0, 9_000, Reason.MESSAGE_NOT_FOUND),
        SettleFailure(1 << 20, 1_000, Reason.LEASE_LOST),
    )
    error = unsettled_batch(failures, [UUID] * refusals.UNSETTLED_IDS_NAMED_MAX, 10_000)
    assert error.code == "FAILED_PRECONDITION"
    assert error.text.startswith(f"10000 of 10000 ids could not be settled: {UUID}, ")
    assert error.text.count(UUID) == 10
    assert error.facts == {"MESSAGE_NOT_FOUND": "9000", "LEASE_LOST": "1000"}
    assert len(error.text.encode()) <= 1024


def test_a_denial_without_an_object_names_the_action_only() -> None:
    error = refusals.forbidden("CreateQueue", "")
    assert error.text == "does not have permission to perform action CreateQueue"
