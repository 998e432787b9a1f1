"""The exception tree of the broker.

    SyblineError
    ├── NotApplied            nothing happened and nothing will: a retry is safe
    │   ├── NoLeader          no leader is known or reachable
    │   ├── Overloaded        a bound was reached before proposing
    │   │   └── HashingOverloaded   too many passwords wait to be hashed
    │   ├── NotProposed       the deadline passed, or the member drains, before proposing
    │   ├── MembershipBusy    a membership change or leadership transfer is in progress
    │   └── Unreachable       nobody at an address says who it is
    └── OutcomeUnknown        it may or may not be applied
        └── DeadlinePassed    the deadline passed after proposing
    FailStop                  storage or an invariant is broken: the process must end (C-8)

Each class says how it shows to a gRPC client (`status`, the code's name) and whether a blind retry is safe. Nothing
here imports gRPC: the edge maps names to codes.
"""

from typing import ClassVar


class SyblineError(Exception):
    """Base of the errors a caller is told about."""

    status: ClassVar[str] = "INTERNAL"
    retry_safe: ClassVar[bool] = False


class NotApplied(SyblineError):
    """The command was not applied and never will be (G-2)."""

    status = "UNAVAILABLE"
    retry_safe = True


class NoLeader(NotApplied):
    """No leader could be reached in time (C-2)."""


class Overloaded(NotApplied):
    """A named bound is reached (Z-6)."""

    def __init__(self, limit: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(f"{limit} is reached, retry in {retry_after_s:g} s")
        self.limit = limit
        self.retry_after_s = retry_after_s


class HashingOverloaded(Overloaded):
    """Too many passwords wait to be hashed (U-4)."""

    status = "RESOURCE_EXHAUSTED"


class NotProposed(NotApplied):
    """The call ended before its command left this member: dropped without effect (C-4)."""

    status = "DEADLINE_EXCEEDED"


class MembershipBusy(NotApplied):
    """Another membership change or a leadership transfer is under way."""

    status = "FAILED_PRECONDITION"


class Unreachable(NotApplied):
    """Nobody at an address for members proved to be one, or not in time; the text says why."""

    status = "FAILED_PRECONDITION"


class OutcomeUnknown(SyblineError):
    """The command may have been applied; repeat it only under the same request or idempotency key."""

    status = "UNKNOWN"


class DeadlinePassed(OutcomeUnknown):
    """The deadline passed after the command was proposed; it may still apply (C-4)."""

    status = "DEADLINE_EXCEEDED"


class FailStop(BaseException):
    """Broken storage or a broken invariant: end the process, never go on in an unknown state (C-8).

    A BaseException because pysyncobj and asyncio have handlers that would swallow an Exception.
    """
