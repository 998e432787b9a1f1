"""Errors on the wire: codes, details, and what replication raises (wire contract §4.1, C-2 to C-4, Z-6)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sybline.api.error_texts import CallError, refuse
from sybline.api.statuses import code_of, describe, encode_details
from sybline.api.validation import invalid
from sybline.errors import (
    DeadlinePassed,
    HashingOverloaded,
    MembershipBusy,
    NoLeader,
    NotProposed,
    OutcomeUnknown,
    Overloaded,
    SyblineError,
)
from tests.support.error_details import unpack_details


def sent(error: CallError) -> dict[str, Any]:
    """Return what a client unpacks, by message name."""
    details = unpack_details(encode_details(error))
    status = details.pop("Status")
    assert (status.code, status.message) == (code_of(error).value[0], error.text)
    return details


def test_every_error_says_its_reason_and_domain() -> None:
    [(kind, info)] = sent(refuse("NOT_FOUND", "gone", reason="R", facts={"n": 1})).items()
    assert kind == "ErrorInfo"
    assert (info.reason, info.domain, dict(info.metadata)) == ("R", "sybline", {"n": "1"})


def test_a_malformed_field_is_named() -> None:
    bad = sent(invalid("queueName", "queue name cannot be empty"))["BadRequest"]
    [violation] = bad.field_violations
    assert (violation.field, violation.description) == ("queueName", "queue name cannot be empty")


def test_a_retry_delay_is_told() -> None:
    error = refuse("UNAVAILABLE", "later", reason="R", retry_after_s=1.5)
    assert sent(error)["RetryInfo"].retry_delay.ToMilliseconds() == 1500


@given(st.text(max_size=2_000), st.dictionaries(st.sampled_from("abcdef"), st.text(max_size=200)))
def test_details_are_never_above_four_kibibytes(name: str, facts: dict[str, str]) -> None:
    error = refuse(
        "INVALID_ARGUMENT", "{}" * 20, *[name] * 20,
        reason="R", retry_after_s=60.0, field=f"messages[{1 << 20}].routingKey", facts=facts,
    )  # fmt: skip
    assert len(encode_details(error)) <= 4_096


@pytest.mark.parametrize(
    ("raised", "left_s", "code", "reason"),
    [
        (NoLeader("none"), 1.0, "UNAVAILABLE", "NO_LEADER"),
        (Overloaded("pending proposals"), 1.0, "UNAVAILABLE", "OVERLOADED"),
        (HashingOverloaded("passwords"), 1.0, "RESOURCE_EXHAUSTED", "OVERLOADED"),
        (NotProposed("too late"), 0.0, "DEADLINE_EXCEEDED", "NOT_APPLIED"),
        (NotProposed("stopping"), 5.0, "UNAVAILABLE", "NOT_APPLIED"),
        (MembershipBusy("change"), 5.0, "UNAVAILABLE", "NOT_APPLIED"),
        (OutcomeUnknown("who knows"), 1.0, "UNKNOWN", "OUTCOME_UNKNOWN"),
        (DeadlinePassed("too late"), 0.0, "DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN"),
    ],
)
def test_what_replication_raises_says_whether_it_was_applied(
    raised: SyblineError, left_s: float, code: str, reason: str
) -> None:
    error = describe(raised, left_s)
    assert (error.code, error.reason) == (code, reason)
    assert (error.retry_after_s is not None) == (code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"))


def test_the_leader_text_stands_for_no_leader_and_nothing_else() -> None:
    text = "cannot communicate with non-leader nodes"
    assert describe(NoLeader("none"), 1.0).text == text
    for raised in (Overloaded(text), NotProposed(text), OutcomeUnknown(text), DeadlinePassed(text)):
        assert text not in describe(raised, 1.0).text


def test_an_overload_names_the_limit() -> None:
    error = describe(Overloaded("pending proposals of this member", retry_after_s=2.0), 1.0)
    assert error.text == "limit reached: pending proposals of this member, retry in 2 s"
