"""What a membership change or a transfer is refused for, in codes and words (proto/sybline/v1/admin.proto).

Pure. Every `ChangeReason` has its code here; the sentence comes from replication, which knows the numbers.
"""

from typing import Final

from sybline.api.error_texts import CallError, Word, refuse
from sybline.replication.configuration import ChangeReason, ChangeRefused

_SOON_S: Final = 1.0
_CODES: Final[dict[ChangeReason, str]] = {
    ChangeReason.VERSION: "ABORTED",
    ChangeReason.PENDING: "FAILED_PRECONDITION",
    ChangeReason.UNKNOWN_MEMBER: "NOT_FOUND",
    ChangeReason.ALREADY_MEMBER: "ALREADY_EXISTS",
    ChangeReason.NOT_CAUGHT_UP: "FAILED_PRECONDITION",
    ChangeReason.WOULD_BREAK_QUORUM: "FAILED_PRECONDITION",
    ChangeReason.LEADS: "FAILED_PRECONDITION",
    ChangeReason.LAST_VOTER: "FAILED_PRECONDITION",
    ChangeReason.ADDRESS_TAKEN: "ALREADY_EXISTS",
    ChangeReason.LIMIT: "RESOURCE_EXHAUSTED",
}
_PASSES_BY_ITSELF: Final = (ChangeReason.PENDING, ChangeReason.NOT_CAUGHT_UP)


def change_refusal(refused: ChangeRefused, member: int = 0) -> CallError:
    """Return the error of a refused change; `member`: whom it was about, 0: not known."""
    return refuse(
        _CODES[refused.reason],
        "{}",
        _one_line(refused.text),
        reason=refused.reason.name,
        retry_after_s=_SOON_S if refused.reason in _PASSES_BY_ITSELF else None,
        facts={"member": member} if member else None,
    )


def unknown_member(member: int) -> CallError:
    """Return the answer to a call about a member that is not in the configuration."""
    text = "there is no member {} in the cluster"
    return refuse("NOT_FOUND", text, member, reason=ChangeReason.UNKNOWN_MEMBER.name)


def not_a_voter(member: int) -> CallError:
    """Return the answer to a transfer to a learner."""
    text = "member {} is a learner and cannot lead: promote it first"
    return refuse("FAILED_PRECONDITION", text, member, reason="NOT_A_VOTER")


def not_transferred(leader: int) -> CallError:
    """Return the answer to a transfer from this leader that nobody took in time."""
    return refuse(
        "FAILED_PRECONDITION",
        "leadership did not move away from member {} in time: nobody was fit to take it",
        leader,
        reason="NOT_TRANSFERRED",
        retry_after_s=_SOON_S,
    )


def unreachable(address: str, why: str) -> CallError:
    """Return the answer to AddMember when nobody at the address says who it is."""
    return refuse(
        "FAILED_PRECONDITION",
        "no member answers at {}: {}",
        address,
        _one_line(why),
        reason="UNREACHABLE",
    )


def stranger(address: str) -> CallError:
    """Return the answer to AddMember when who answers has belonged to another cluster."""
    text = "the member at {} belongs to another cluster: give it an empty data directory"
    return refuse("FAILED_PRECONDITION", text, address, reason="STRANGER")


def _one_line(text: str) -> Word:
    """Return a sentence of replication's; what callers typed stands in it only as far as its shape was checked."""
    return Word(" ".join(text.split()))
