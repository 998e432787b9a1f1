"""How errors travel: gRPC code, text, and `google.rpc` details (wire contract §4.1).

Pure but for protobuf. The texts come ready from `error_texts`; what replication raises gets its words here.
"""

from typing import Final

import grpc
from google.protobuf.message import Message
from google.rpc import (  # type: ignore[import-untyped]  # ships no types
    error_details_pb2,
    status_pb2,
)

from sybline.api.error_texts import CallError, Word, no_leader, refuse
from sybline.api.refusals import outcome_unknown
from sybline.errors import (
    DeadlinePassed,
    NoLeader,
    NotProposed,
    OutcomeUnknown,
    Overloaded,
    SyblineError,
)

DETAILS_KEY: Final = "grpc-status-details-bin"
_DOMAIN: Final = "sybline"
_SOON_S: Final = 1.0
_TIMER_S: Final = 0.01  # a timer may fire so much early


def code_of(error: CallError) -> grpc.StatusCode:
    """Return the gRPC code."""
    return grpc.StatusCode[error.code]


def encode_details(error: CallError) -> bytes:
    """Return the value of DETAILS_KEY: a google.rpc.Status with reason, retry delay and field."""
    status = status_pb2.Status(code=code_of(error).value[0], message=error.text)
    _add(
        status,
        error_details_pb2.ErrorInfo(reason=error.reason, domain=_DOMAIN, metadata=error.facts),
    )
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after_s * 1000))
        _add(status, retry)
    if error.field:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=error.text)
        _add(status, bad)
    encoded: bytes = status.SerializeToString(deterministic=True)
    return encoded


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def describe(error: SyblineError, remaining_s: float) -> CallError:
    """Return the words for what replication or hashing raised; `remaining_s` is what was left of the call's time."""
    if isinstance(error, NoLeader):
        return no_leader()
    if isinstance(error, Overloaded):
        return refuse(
            error.status,
            "limit reached: {}, retry in {} s",
            Word(error.limit),
            max(1, round(error.retry_after_s)),
            reason="OVERLOADED",
            retry_after_s=error.retry_after_s,
            facts={"limit": error.limit},
        )
    if isinstance(error, DeadlinePassed):
        text = "the deadline passed, the outcome of the call is unknown"
        return refuse(error.status, text, reason="OUTCOME_UNKNOWN")
    if isinstance(error, OutcomeUnknown):
        return outcome_unknown()
    if isinstance(error, NotProposed) and remaining_s <= _TIMER_S:
        return refuse(error.status, "the deadline passed, nothing was done", reason="NOT_APPLIED")
    text = "this member takes no more calls, nothing was done"
    return refuse("UNAVAILABLE", text, reason="NOT_APPLIED", retry_after_s=_SOON_S)
