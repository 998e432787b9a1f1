"""An order to go on without the lost majority, given by a file that a member reads when it starts.

For who can restart a member but not run `sybline recover` on its disk: an operator on Kubernetes. The order names one
state of one disk, so it is carried out once, by the member it is for, however often and by whomever it is read; what
it does is what `forced_configuration` does. Nothing here decides that a majority is lost.
"""

from pathlib import Path
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta, Struct

from sybline import limits
from sybline.replication.configuration import Configuration, MemberNumber
from sybline.replication.files import Files
from sybline.replication.forced_configuration import make_sole_voter
from sybline.replication.identity import read_identity
from sybline.replication.journal import JournalOptions
from sybline.replication.survey import Survey, survey

log = structlog.get_logger(__name__)

_Positive = Annotated[int, Meta(ge=1)]


class BadOrder(Exception):
    """The file holds no order; the text says why."""


class RecoveryOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to go on alone, and the state in which its disk was seen when this was decided."""

    member: MemberNumber
    configuration_version: _Positive
    cluster_uid: _Positive
    last_term: _Positive
    last_index: _Positive
    request: Annotated[str, Meta(max_length=limits.RECOVERY_REQUEST_CHARACTERS_MAX)] = ""


def load_order(path: Path) -> RecoveryOrder | None:
    """Return the order in a JSON file; None: there is no file.

    Raises:
        BadOrder: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limits.RECOVERY_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadOrder(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > limits.RECOVERY_FILE_BYTES_MAX:
        raise BadOrder(f"{path}: larger than {limits.RECOVERY_FILE_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(content, type=RecoveryOrder)
    except msgspec.DecodeError as error:
        raise BadOrder(f"{path}: {error}") from error


def obey(path: Path, files: Files, directory: Path, *, options: JournalOptions) -> None:
    """Carry out the order in a file if it is for this disk as it is now; the member must not run.

    An order that is unreadable, or for another disk or another state, is logged and changes nothing.

    Raises:
        CorruptData, DirectoryInUse, OSError: the order is for this member, and its disk cannot be used.
    """
    try:
        order = load_order(path)
    except BadOrder as error:
        log.warning("recovery_order_unreadable", reason=str(error))
        return
    if order is not None:
        carry_out(order, files, directory, options=options)


def carry_out(
    order: RecoveryOrder, files: Files, directory: Path, *, options: JournalOptions
) -> Configuration | None:
    """Make the member of a directory the only one of a new cluster; None: the order is not for it as it is now.

    Raises:
        CorruptData, DirectoryInUse, OSError: as `obey`.
    """
    identity = directory / "IDENTITY"
    if not files.exists(identity):
        _ignore(order, "this disk is empty")
        return None
    member = read_identity(files, identity).member
    if member != order.member:
        _ignore(order, f"it is for member {order.member}, this is member {member}")
        return None
    found = survey(files, directory)
    objection = _objection(order, found)
    if objection:
        _ignore(order, objection)
        return None
    made = make_sole_voter(files, found, options=options)
    log.warning(
        "recovery_order_carried_out", request=order.request, member=member,
        cluster_uid=made.cluster_uid, configuration=made.version,
        kept_up_to=found.last_index, left_behind=[n for n in found.configuration.ids if n != member],
    )  # fmt: skip
    return made


def _objection(order: RecoveryOrder, found: Survey) -> str:
    """Return why the order is not for this state of the disk; "": it is.

    The number of the cluster is that in the configuration: a life that was killed while it carried out the order has
    changed the other one already, and is to finish.
    """
    configuration = found.configuration
    ordered = (
        order.cluster_uid, order.configuration_version, order.last_term, order.last_index,
    )  # fmt: skip
    here = (configuration.cluster_uid, configuration.version, *found.position)
    if here != ordered:
        return (
            f"it is for {_show_state(*ordered)}; this disk has {_show_state(*here)}: it has been carried out, "
            "or was not meant for this state"
        )
    if configuration.get(found.member) is None:
        return "this member was removed from its cluster"
    if configuration.ids == (found.member,):
        return "this member is the only one of its cluster already"
    return ""


def _show_state(cluster_uid: int, version: int, term: int, index: int) -> str:
    return f"configuration {version} of cluster {cluster_uid}, a log up to entry {index} of term {term}"


def _ignore(order: RecoveryOrder, reason: str) -> None:
    log.warning("recovery_order_ignored", request=order.request, reason=reason)
