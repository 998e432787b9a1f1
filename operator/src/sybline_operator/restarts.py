"""When members may be restarted for a change, and what is said of a change that waits. Pure: the time is an argument.

A window opens at a wall-clock time of its zone and stays open for so many hours of real time, over midnight and over a
change of the clocks. At a wall-clock time that the clocks jump over, it opens as late after the jump.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from sybline_operator import limits
from sybline_operator.json_object import Json
from sybline_operator.manifests.made_of import MadeOf, read_made_of
from sybline_operator.observation import MemberStatusSeen, Observed
from sybline_operator.resource.spec import Restarts, Window

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # as date.weekday() counts
_DAYS_BACK: Final = (
    2  # a window of 24 h that began two dates ago may still be open where a day has 25 h
)
_DAYS_AHEAD: Final = 8  # every window opens once in a week


class Cause(StrEnum):
    """Who changed the pods."""

    SPEC = "spec"
    OPERATOR = "operator"  # another version of it, or another default image


@dataclass(frozen=True, slots=True)
class Wish:
    """The template that the spec comes to."""

    hash: str
    made_of: MadeOf


@dataclass(frozen=True, slots=True)
class PendingRestart:
    """Pods that are not what they are to be."""

    cause: Cause
    changes: tuple[str, ...]
    pods: tuple[str, ...]
    approve_with: str
    is_approved: bool  # by the annotation
    may_restart: bool
    may_mend: bool  # what cannot run may be replaced all the same
    next_window: datetime | None  # None: one is open, or there are none

    def waits_for(self) -> str:
        """Return what has to happen before members are restarted, in one sentence."""
        when = "" if self.next_window is None else f", or wait until {_rfc3339(self.next_window)}"
        return (
            f"{len(self.pods)} pods wait for a restart ({'; '.join(self.changes)}): approve it with the annotation "
            f"sybline.io/approve-restart={self.approve_with}{when}"
        )

    def row(self) -> Json:
        """Return it as the status shows it."""
        return {
            "cause": self.cause.value,
            "changes": list(self.changes),
            "pods": list(self.pods),
            "approved": self.may_restart,
            "approveWith": self.approve_with,
            "nextWindow": None if self.next_window is None else _rfc3339(self.next_window),
        }


def look_at_restart(
    wish: Wish, seen: Observed, rules: Restarts, *, approved_with: str, now: datetime
) -> PendingRestart | None:
    """Return what a restart would be for, and whether it may be; None: every pod is as it is to be.

    `approved_with` is the value of the user's annotation, "" without one; `now` has a time zone.
    """
    workload = seen.workload
    if workload is None:
        return None
    is_written = workload.template_hash == wish.hash
    outdated = [pod for pod in seen.pods if pod.template != wish.hash]
    if is_written and not outdated:
        return None
    before = read_made_of(outdated[0].made_of if is_written else workload.made_of)
    cause = Cause.SPEC if before is None or before.spec != wish.made_of.spec else Cause.OPERATOR
    is_approved = approved_with == wish.hash
    is_open = is_in_window(rules.windows, now)
    by_itself = rules.policy == "Automatic" and not rules.windows
    return PendingRestart(
        cause=cause,
        changes=describe_changes(before, wish.made_of),
        pods=tuple(pod.name for pod in outdated),
        approve_with=wish.hash,
        is_approved=is_approved,
        # A template that is written was allowed once: what began goes on.
        may_restart=is_approved or is_open or (by_itself and (is_written or cause is Cause.SPEC)),
        may_mend=is_approved or is_open or is_written or cause is Cause.SPEC,
        next_window=None if is_open else next_opening(rules.windows, now),
    )


def describe_changes(before: MadeOf | None, after: MadeOf) -> tuple[str, ...]:
    """Return what is different in two templates, for people."""
    if before is None:
        return ("the pods are of a version of the operator that did not say what they are made of",)
    changes = []
    if before.image != after.image:
        changes.append(f"broker image {before.image} -> {after.image}")
    if before.resources != after.resources:
        changes.append("resources")
    changes += [f"config: {key}" for key in _changed_keys(before.settings, after.settings)]
    if before.scheduling != after.scheduling:
        changes.append("scheduling")
    if before.extras != after.extras:
        changes.append("pod template")
    return tuple(changes) or ("what the operator itself puts into pods",)


def _changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    old, new = dict(_flat(before)), dict(_flat(after))
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, keys in settings.items():
        if isinstance(keys, Mapping):
            yield from ((f"{section}.{name}", value) for name, value in keys.items())
        else:
            yield section, keys


# --- windows ---
def is_in_window(windows: Iterable[Window], now: datetime) -> bool:
    """Return whether one of the windows is open."""
    return any(
        opening <= now < opening + timedelta(hours=window.hours)
        for window in windows
        for opening in _openings(window, now)
    )


def next_opening(windows: Iterable[Window], now: datetime) -> datetime | None:
    """Return when the next window opens, in UTC; None: there are none."""
    coming = [each for window in windows for each in _openings(window, now) if each > now]
    return min(coming, default=None)


def _openings(window: Window, now: datetime) -> Iterator[datetime]:
    """Yield when a window opens around now, in UTC."""
    zone = ZoneInfo(window.time_zone)
    start = time.fromisoformat(window.start)
    today = now.astimezone(zone).date()
    for days in range(-_DAYS_BACK, _DAYS_AHEAD + 1):
        day: date = today + timedelta(days=days)
        if not window.days or DAYS[day.weekday()] in window.days:
            yield datetime.combine(day, start, zone).astimezone(UTC)


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# --- settings of a member ---
def settings_of(status: MemberStatusSeen | None, file: str) -> str:
    """Return whether a file is in force at a member: inForce, pending, or why it refuses it; "": it does not say."""
    if status is None or not status.config_sha256:
        return ""
    if status.settings_refused_because:
        return status.settings_refused_because[: limits.STATUS_TEXT_CHARACTERS_MAX]
    digest = hashlib.sha256(file.encode()).hexdigest()
    if status.config_sha256 != digest or status.settings_pending:
        return "pending"
    return "inForce"
