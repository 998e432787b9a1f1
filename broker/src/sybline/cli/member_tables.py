"""What `sybline members …` prints, for people and as JSON. Pure: messages in, text out."""

import json
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from sybline.v1 import admin_pb2 as admin

_ROLES: Final = {
    admin.MEMBER_ROLE_VOTER: "voter",
    admin.MEMBER_ROLE_LEARNER: "learner",
    admin.MEMBER_ROLE_UNSPECIFIED: "no member",
}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_KIB: Final = 1024


def as_json(message: Message) -> str:
    """Return a message in the JSON mapping of protobuf: 64-bit numbers are strings."""
    shown: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(shown, indent=2)


def describe_member(member: admin.Member) -> str:
    """Return how a line of text names a member."""
    name = f" ({member.name})" if member.name else ""
    return f"member {member.id}{name}"


def role_of(member: admin.Member) -> str:
    """Return the word for a member's role."""
    return _ROLES[member.role]


def show_membership(view: admin.Membership) -> str:
    """Return the table of `list`."""
    rows: list[tuple[str, ...]] = [("ID", "NAME", "ADDRESS", "ROLE", "LAG", "HEARD", "STATE")]
    rows += [_row(view, each) for each in view.members]
    return "\n".join([_headline(view), *_table(rows)])


def _headline(view: admin.Membership) -> str:
    pending = "" if view.committed else " (not committed yet)"
    leader = f"member {view.leader} leads" if view.leader else "no leader is known"
    source = "confirmed by a quorum" if view.confirmed else f"as member {view.observer} knows it"
    return (
        f"configuration {view.configuration.version}{pending}, term {view.term}, {leader}, {source}"
    )


def _row(view: admin.Membership, each: admin.MemberView) -> tuple[str, ...]:
    member = each.member
    lag = f"{each.lag_entries:,}" if each.HasField("lag_entries") else "-"
    heard = f"{each.heard_age_ms / 1000:.1f} s ago" if each.HasField("heard_age_ms") else "-"
    if each.leads:
        heard = "-"
    state = _state(view, each)
    return (
        str(member.id), member.name or "-", member.address or "-", role_of(member), lag, heard,
        state,
    )  # fmt: skip


def _state(view: admin.Membership, each: admin.MemberView) -> str:
    if each.leads:
        return "leads"
    if view.observer != view.leader:
        return "connected" if each.connected else "not connected"
    if not each.connected:
        return "not connected"
    if not each.healthy:
        return "connected, not heard"
    return "healthy" if each.caught_up else "catching up"


def show_status(status: admin.MemberStatusResponse) -> str:
    """Return the lines of `status`."""
    member = status.member
    role = "removed from the cluster" if status.removed else role_of(member)
    raft = admin.RaftRole.Name(status.raft_role).removeprefix("RAFT_ROLE_").lower()
    rows = [
        ("member", f"{member.id}{f' ({member.name})' if member.name else ''}, {role}, {raft}"),
        ("address", member.address or "-"),
        ("cluster", f"{status.cluster_id}, {_show_uid(status.cluster_uid)}"),
        ("configuration", str(status.configuration_version)),
        ("serves", "yes" if status.ready else f"no: {status.not_ready_because}"),
        ("publishes", f"refused: {because}" if (because := status.publishes_refused_because) else "taken"),
        ("settings", _show_settings(status)),
        ("version", status.version),
        ("term", f"{status.term}, {f'member {status.leader} leads' if status.leader else 'no leader'}"),
        ("log", f"entries {status.first_index:,} to {status.last_index:,}, {show_bytes(status.log_bytes)}, "
                f"of these {show_bytes(status.log_live_bytes)} waiting messages"),
        ("committed", f"{status.commit_index:,}"),
        ("applied", f"{status.applied_index:,}"),
        ("disk", f"{show_bytes(status.disk_free_bytes)} free"),
    ]  # fmt: skip
    return "\n".join(_table(rows))


def _show_settings(status: admin.MemberStatusResponse) -> str:
    if status.settings_refused_because:
        return f"as before, the file is refused: {status.settings_refused_because}"
    pending = ", ".join(status.settings_pending)
    return f"restart for {pending}" if pending else "in force"


def _show_uid(uid: int) -> str:
    return f"{uid:016x}" if uid else "not formed yet"


def show_verdict(verdict: admin.MayStopResponse) -> str:
    """Return the lines of `may-stop`."""
    answer = "yes" if verdict.allowed else "no"
    line = f"{answer}: {verdict.text}"
    if verdict.evidence.hand_over_to:
        line += f"\n  sybline members transfer-leadership {verdict.evidence.hand_over_to}"
    if not verdict.allowed and verdict.evidence.membership.members:
        line += "\n" + show_membership(verdict.evidence.membership)
    return line


def describe_change(
    configuration: admin.Configuration, member: admin.Member | None, asked: int
) -> str:
    """Return the line that says what a change of a member came to."""
    now = f"(configuration {configuration.version})"
    if member is None:
        return f"member {asked} is removed {now}"
    where = f" at {member.address}" if member.address else ""
    return f"{describe_member(member)}{where} is a {role_of(member)} {now}"


def describe_forced_removal(verdict: admin.MayStopResponse, member: int) -> str:
    """Return what the removal of a member by force may do, as the leader sees the others now."""
    facts = verdict.evidence
    fit = ", ".join(map(str, facts.fit_without_it)) or "none"
    return (
        f"Without member {member}, the voters that are healthy and caught up are: {fit}. Where they are "
        "no quorum of the voters that stay, nothing can be written or changed until more return, and "
        f"what was acknowledged by member {member} and members that never return is lost. Its id can "
        "never be used again."
    )


def show_bytes(size: float) -> str:
    """Return a size with the unit that suits it."""
    unit = 0
    while size >= _KIB and unit < len(_UNITS) - 1:
        size, unit = size / _KIB, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size:.0f} B"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
