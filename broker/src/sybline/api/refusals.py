"""What the state machine refuses, in the words and codes of the wire contract (§6).

Pure: replies in, `CallError`s out. Every `Reason` has its line here; the texts themselves are built by `error_texts`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sybline.api.error_texts import CallError, Word, escape, no_session, refuse
from sybline.state_machine.replies import Reason, Refused, SettleFailure

UNSETTLED_IDS_NAMED_MAX: Final = 10
_SOON_S: Final = 1.0  # a consumer may have made room by then
_Mapper = Callable[[Refused], CallError]


def refusal(refused: Refused) -> CallError:
    """Return the error that tells a caller why a command was refused."""
    return _MAPPERS[refused.reason](refused)


def forbidden(action: str, entity: str) -> CallError:
    """Return the denial: it names action and object, and nothing that exists (A-2)."""
    if not entity:
        return refuse(
            "PERMISSION_DENIED",
            "does not have permission to perform action {}",
            Word(action),
            reason="FORBIDDEN",
            facts={"action": action},
        )
    return refuse(
        "PERMISSION_DENIED",
        "does not have permission to perform action {} on {}",
        Word(action),
        entity,
        reason="FORBIDDEN",
        facts={"action": action},
    )


def invalid_login() -> CallError:
    """Return the one answer to an unknown user and to a wrong password (U-5)."""
    return refuse("UNAUTHENTICATED", "invalid login details", reason="INVALID_LOGIN")


def other_users_password() -> CallError:
    """Return the answer to ChangePassword naming somebody else."""
    text = "password of another user cannot be changed"
    return refuse("PERMISSION_DENIED", text, reason="OTHER_USERS_PASSWORD")


def queue_not_found(queue: str) -> CallError:
    """Return the answer to a fetch from, or an answer to, an unknown queue."""
    return _not_found("queue does not exist: {}", queue, reason=Reason.QUEUE_NOT_FOUND)


def user_exists() -> CallError:
    """Return the answer to CreateUser with a name that is taken."""
    return refuse("ALREADY_EXISTS", "username already taken", reason=Reason.USER_EXISTS.name)


def unsettled(reason: Reason, message_id: str) -> CallError:
    """Return the answer to Ack and Nack of a message that the caller may not settle; the id as text."""
    shown = Word(escape(message_id))
    if reason is Reason.LEASE_LOST:
        return _precondition("could not find item with id: {}: lease lost", shown, reason=reason)
    return _not_found("could not find item with id: {}", shown, reason=reason)


def unsettled_batch(
    failures: Iterable[SettleFailure], first_ids: Sequence[str], asked: int
) -> CallError:
    """Return the answer to BatchAck and BatchNack: the first ids, and counts by cause; the others are settled (B-4)."""
    counts: Counter[str] = Counter()
    for failure in failures:
        counts[failure.reason.name] += failure.count
    shown = ", ".join("{}" for _ in first_ids)
    return refuse(
        "FAILED_PRECONDITION",
        "{} of {} ids could not be settled: " + shown,
        counts.total(),
        asked,
        *(Word(escape(message_id)) for message_id in first_ids),
        reason="IDS_NOT_SETTLED",
        facts=counts,
    )


def unknown_user_named(refused: Refused) -> CallError:
    """Return the answer of AssignRole and UnassignRole to an unknown user; DeleteUser has its own."""
    text = "user with name {} does not exist"
    return _not_found(text, refused.subject, reason=Reason.USER_NOT_FOUND)


def _not_found(template: str, *values: str | int, reason: Reason) -> CallError:
    return refuse("NOT_FOUND", template, *values, reason=reason.name)


def _precondition(template: str, *values: str | int, reason: Reason) -> CallError:
    return refuse("FAILED_PRECONDITION", template, *values, reason=reason.name)


def _key_not_found(refused: Refused) -> CallError:
    keys: Sequence[str | int] = refused.values or (refused.subject,)
    template = "routing key does not exist: " + ", ".join("{}" for _ in keys)
    return _not_found(template, *keys, reason=refused.reason)


def _queue_exists(refused: Refused) -> CallError:
    what, held, asked = refused.values
    return refuse(
        "ALREADY_EXISTS",
        "failed to create new queue: {} exists with {} {}, asked for {}",
        refused.subject,
        Word(what),
        _value(what, held),
        _value(what, asked),
        reason=refused.reason.name,
        facts={"field": what},
    )


def _value(what: str | int, value: str | int) -> str | int:
    """Keys are names, everything else is a number or a word of ours."""
    return value if what == "routingKey" or isinstance(value, int) else Word(value)


def _queue_full(refused: Refused) -> CallError:
    size, held, asked = refused.values
    return refuse(
        "RESOURCE_EXHAUSTED",
        "queue is full: {} holds {} of {} messages, asked for {} more",
        refused.subject,
        held,
        size,
        asked,
        reason=refused.reason.name,
        retry_after_s=_SOON_S,
        facts={"queue": refused.subject},
    )


def _queue_bytes_full(refused: Refused) -> CallError:
    bytes_max, held, asked = refused.values
    return refuse(
        "RESOURCE_EXHAUSTED",
        "queue is full: {} holds {} of {} bytes, asked for {} more",
        refused.subject,
        held,
        bytes_max,
        asked,
        reason=refused.reason.name,
        retry_after_s=_SOON_S,
        facts={"queue": refused.subject},
    )


def _batch_never_fits(refused: Refused) -> CallError:
    size, asked = refused.values
    text = "batch of {} messages exceeds the size of queue {}, which is {}"
    return _precondition(text, asked, refused.subject, size, reason=refused.reason)


def _limit(refused: Refused) -> CallError:
    (most,) = refused.values
    return refuse(
        "RESOURCE_EXHAUSTED",
        "number of {} has reached the limit of {}",
        Word(refused.subject),
        most,
        reason="LIMIT",
        facts={"limit": refused.subject, "value": most},
    )


def _role_not_assigned(refused: Refused) -> CallError:
    (user,) = refused.values
    text = "user with name {} does not have role {} to be unassigned"
    return _not_found(text, user, refused.subject, reason=refused.reason)


def _internal(refused: Refused) -> CallError:
    text = "internal error while applying the command: {}"
    return refuse("INTERNAL", text, Word(refused.subject), reason="INTERNAL")


def outcome_unknown() -> CallError:
    """Return the answer when a command may or may not have been applied (C-3)."""
    return refuse("UNKNOWN", "the outcome of the call is unknown", reason="OUTCOME_UNKNOWN")


def _fixed(code: str, template: str) -> _Mapper:
    """Return a mapper whose text names at most the subject."""

    def build(refused: Refused) -> CallError:
        names = (refused.subject,) if "{}" in template else ()
        return refuse(code, template, *names, reason=refused.reason.name)

    return build


def _dead_letter_owned(refused: Refused) -> CallError:
    text = "dead-letter queue {} belongs to queue {} and cannot be deleted, purge it"
    return _precondition(text, refused.subject, *refused.values, reason=refused.reason)


def _denied(refused: Refused) -> CallError:
    action = str(refused.values[0]) if refused.values else ""
    return forbidden(action, refused.subject)


_MAPPERS: Final[dict[Reason, _Mapper]] = {
    Reason.UNAUTHENTICATED: lambda _: no_session(),
    Reason.FORBIDDEN: _denied,
    Reason.INVALID_LOGIN: lambda _: invalid_login(),
    Reason.OTHER_USERS_PASSWORD: lambda _: other_users_password(),
    Reason.QUEUE_NOT_FOUND: lambda refused: queue_not_found(refused.subject),
    Reason.BIND_QUEUE_NOT_FOUND: _fixed("NOT_FOUND", "queue name used does not exist: {}"),
    Reason.KEY_NOT_FOUND: _key_not_found,
    Reason.QUEUE_EXISTS: _queue_exists,
    Reason.DEAD_LETTER_NAME_TAKEN: _fixed(
        "ALREADY_EXISTS", "failed to create new queue: {} exists already"
    ),
    Reason.DEAD_LETTER_OWNED: _dead_letter_owned,
    Reason.LAST_BINDING: _fixed(
        "FAILED_PRECONDITION", "each queue must have at least one routing key: {}"
    ),
    Reason.NOT_DEAD_LETTER: _fixed("FAILED_PRECONDITION", "{} is not a dead-letter queue"),
    Reason.QUEUE_FULL: _queue_full,
    Reason.QUEUE_BYTES_FULL: _queue_bytes_full,
    Reason.BATCH_NEVER_FITS: _batch_never_fits,
    Reason.IDEMPOTENCY_CONFLICT: _fixed(
        "ALREADY_EXISTS", "idempotency key {} was used for other content"
    ),
    Reason.MESSAGE_NOT_FOUND: lambda refused: unsettled(refused.reason, refused.subject),
    Reason.LEASE_LOST: lambda refused: unsettled(refused.reason, refused.subject),
    Reason.USER_EXISTS: lambda _: user_exists(),
    Reason.USER_NOT_FOUND: _fixed("NOT_FOUND", "user does not exist"),
    Reason.LAST_USER: _fixed(
        "FAILED_PRECONDITION", "cannot delete all accounts, at least one must remain"
    ),
    Reason.LAST_ROOT: _fixed("FAILED_PRECONDITION", "at least one user must keep the role ROOT"),
    Reason.ROLE_EXISTS: _fixed("ALREADY_EXISTS", "role {} already exists"),
    Reason.ROLE_NOT_FOUND: _fixed("NOT_FOUND", "role with name {} does not exist"),
    Reason.ROLE_NOT_ASSIGNED: _role_not_assigned,
    Reason.ROLE_ASSIGNED: _fixed("FAILED_PRECONDITION", "role {} is assigned to users"),
    Reason.ROLE_BUILT_IN: _fixed("FAILED_PRECONDITION", "role {} is built in"),
    Reason.LIMIT: _limit,
    Reason.REPLY_FORGOTTEN: lambda _: outcome_unknown(),
    Reason.INTERNAL: _internal,
}
