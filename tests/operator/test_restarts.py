"""When members may be restarted, and what is said of a restart that waits."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sybline_operator.manifests import workload
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.manifests.configuration import restart_settings
from sybline_operator.manifests.made_of import MADE_OF_ANNOTATION, made_of, read_made_of
from sybline_operator.names import Names
from sybline_operator.observation import MemberStatusSeen, Observed, PodSeen, WorkloadSeen
from sybline_operator.resource.spec import Restarts, Window, parse_spec
from sybline_operator.restarts import (
    DAYS,
    Cause,
    PendingRestart,
    Wish,
    is_in_window,
    look_at_restart,
    next_opening,
    settings_of,
)
from sybline_operator.status import is_news

NAMES = Names("shop", "orders")
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday
MINUTE = timedelta(minutes=1)


# --- windows ---
def window(start: str, hours: int, *days: str, zone: str = "UTC") -> Window:
    return Window.model_validate({"start": start, "hours": hours, "days": days, "timeZone": zone})


@pytest.mark.parametrize(
    ("given_window", "moment", "is_open"),
    [
        (window("02:00", 2), "2026-11-25T02:00+00:00", True),
        (window("02:00", 2), "2026-11-25T03:59+00:00", True),
        (window("02:00", 2), "2026-11-25T04:00+00:00", False),
        (window("02:00", 2), "2026-11-25T01:59+00:00", False),
        (window("22:00", 6, "Sat"), "2026-11-29T03:59+00:00", True),  # Sunday morning
        (window("22:00", 6, "Sat"), "2026-11-29T22:30+00:00", False),  # Sunday evening
        (window("22:00", 6, "Sun"), "2026-11-30T01:00+00:00", True),  # over the end of the week
        (window("00:00", 24, "Wed"), "2026-11-25T23:59+00:00", True),
        (window("09:00", 1, zone="Asia/Kolkata"), "2026-11-25T03:30+00:00", True),
        (window("00:30", 1, "Wed", zone="Pacific/Auckland"), "2026-11-24T11:45+00:00", True),
        # In Berlin the clocks jump from 02:00 to 03:00 on 29 March 2026, and back on 25 October.
        (window("02:30", 1, zone="Europe/Berlin"), "2026-03-29T01:29+00:00", False),
        (window("02:30", 1, zone="Europe/Berlin"), "2026-03-29T01:30+00:00", True),
        (window("01:00", 3, zone="Europe/Berlin"), "2026-10-25T01:59+00:00", True),
        (window("01:00", 3, zone="Europe/Berlin"), "2026-10-25T02:00+00:00", False),
    ],
)
def test_a_window_is_open_from_its_wall_clock_time_on_for_its_hours(
    given_window: Window, moment: str, is_open: bool
) -> None:
    assert is_in_window([given_window], datetime.fromisoformat(moment)) is is_open


WINDOWS = st.builds(
    window,
    st.times().map(lambda time: f"{time:%H:%M}"),
    st.integers(1, 24),
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"]
    ),
).flatmap(
    lambda built: st.lists(st.sampled_from(DAYS), unique=True, max_size=7).map(
        lambda days: built.model_copy(update={"days": days})
    )
)  # fmt: skip
MOMENTS = st.integers(0, 3 * 366 * 24 * 60).map(
    lambda minutes: datetime(2025, 1, 1, tzinfo=UTC) + minutes * MINUTE
)


@settings(deadline=None, max_examples=60)
@given(windows=st.lists(WINDOWS, min_size=1, max_size=3), now=MOMENTS)
@example([window("02:30", 1, zone="Europe/Berlin")], datetime(2026, 3, 29, tzinfo=UTC))
def test_the_next_opening_is_the_first_moment_of_a_window_and_none_opens_before(
    windows: list[Window], now: datetime
) -> None:
    opening = next_opening(windows, now)
    assert opening is not None
    assert now < opening <= now + timedelta(days=8)
    assert is_in_window(windows, opening)
    if not is_in_window(windows, now):
        assert not is_in_window(windows, opening - MINUTE)
        halfway = now + (opening - now) / 2
        assert not is_in_window(windows, halfway)


@settings(deadline=None, max_examples=60)
@given(one=WINDOWS, now=MOMENTS)
def test_a_window_opens_at_its_local_time_on_its_days_and_lasts_its_hours(
    one: Window, now: datetime
) -> None:
    opening = next_opening([one], now)
    assert opening is not None
    zone = ZoneInfo(one.time_zone)
    local = opening.astimezone(zone)
    if f"{local:%H:%M}" != one.start:  # the clocks jumped over it
        assert local.utcoffset() != (opening - timedelta(hours=24)).astimezone(zone).utcoffset()
    else:
        assert not one.days or DAYS[local.weekday()] in one.days
    ends = opening + timedelta(hours=one.hours)
    assert is_in_window([one], ends - MINUTE)


def test_without_windows_none_is_open_and_none_comes() -> None:
    assert not is_in_window([], NOON)
    assert next_opening([], NOON) is None


# --- causes and changes ---
def wanted(default_image: str = "sybline:1", **spec: Any) -> Wanted:
    return Wanted(parse_spec(spec), NAMES, Owner("orders", "0b6e0c9e"), default_image)


def wish(wanted: Wanted) -> Wish:
    template = workload.pod_template(wanted)
    return Wish(workload.template_hash(template), made_of(wanted, restart_settings(wanted)))


def running(*pods: Wanted, template: Wanted | None = None) -> Observed:
    """Return three pods, the last of them made of the last that is given; in force is `template`, else the first's."""
    in_force = wish(template or pods[0])
    made = [wish(pods[min(ordinal, len(pods) - 1)]) for ordinal in range(3)]
    return Observed(
        NAMES,
        WorkloadSeen(3, {}, in_force.hash, "1Gi", made_of=in_force.made_of.annotation()),
        tuple(
            PodSeen(NAMES.pod(o), o, str(o), "10.0.0.1", "n", True, False, True, each.hash,
                    made_of=each.made_of.annotation())
            for o, each in enumerate(made)
        ),
    )  # fmt: skip


def pending(
    before: Wanted, after: Wanted, *, approved_with: str = "", now: datetime = NOON, **rules: Any
) -> PendingRestart:
    found = look_at_restart(
        wish(after), running(before), Restarts.model_validate(rules),
        approved_with=approved_with, now=now,
    )  # fmt: skip
    assert found is not None
    return found


def test_pods_that_are_as_they_are_to_be_wait_for_nothing() -> None:
    assert (
        look_at_restart(wish(wanted()), running(wanted()), Restarts(), approved_with="", now=NOON)
        is None
    )


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        ({"image": "sybline:2"}, "broker image sybline:1 -> sybline:2"),
        ({"resources": {"requests": {"cpu": "1"}}}, "resources"),
        ({"config": {"raft": {"election_timeout_s": 2}}}, "config: raft.election_timeout_s"),
        ({"scheduling": {"nodeSelector": {"disk": "fast"}}}, "scheduling"),
        ({"podTemplate": {"labels": {"team": "shop"}}}, "pod template"),
    ],
)
def test_a_change_of_the_spec_is_named_and_goes_ahead_at_once(
    spec: dict[str, Any], change: str
) -> None:
    found = pending(wanted(), wanted(**spec))
    assert (found.cause, found.changes) == (Cause.SPEC, (change,))
    assert found.pods == ("orders-0", "orders-1", "orders-2")
    assert found.may_restart


def test_a_setting_that_members_take_while_they_run_restarts_nobody() -> None:
    before, after = wanted(), wanted(config={"queues": {"lease_s": 5}, "log": {"level": "debug"}})
    assert wish(before).hash == wish(after).hash


def test_another_default_image_is_the_operators_doing_and_waits() -> None:
    found = pending(wanted("sybline:1"), wanted("sybline:2"))
    assert (found.cause, found.may_restart, found.may_mend) == (Cause.OPERATOR, False, False)
    assert found.changes == ("broker image sybline:1 -> sybline:2",)
    assert f"sybline.io/approve-restart={found.approve_with}" in found.waits_for()


def test_another_way_to_build_pods_is_the_operators_doing_and_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = wish(wanted())
    seen = running(wanted())
    monkeypatch.setattr(workload, "STOP_S", 41)
    after = wish(wanted())
    assert before.hash != after.hash
    found = look_at_restart(after, seen, Restarts(), approved_with="", now=NOON)
    assert found is not None
    assert (found.cause, found.may_restart) == (Cause.OPERATOR, False)
    assert found.changes == ("what the operator itself puts into pods",)


def test_what_the_operator_changed_goes_along_with_a_change_of_the_spec() -> None:
    after = wanted("sybline:2", resources={"requests": {"cpu": "1"}})
    found = pending(wanted("sybline:1"), after)
    assert (found.cause, found.may_restart) == (Cause.SPEC, True)


@pytest.mark.parametrize("approved", [True, False])
def test_with_the_policy_approval_a_change_waits_for_the_very_template_to_be_approved(
    approved: bool,
) -> None:
    after = wanted(image="sybline:2")
    token = wish(after).hash if approved else wish(wanted(image="sybline:3")).hash
    found = pending(wanted(), after, policy="Approval", approved_with=token)
    assert (found.may_restart, found.is_approved) == (approved, approved)
    assert found.may_mend, "what cannot run is replaced all the same"


@pytest.mark.parametrize("policy", ["Automatic", "Approval"])
def test_with_windows_a_change_waits_for_the_next_one(policy: str) -> None:
    night = {"start": "22:00", "hours": 4, "timeZone": "Europe/Berlin"}
    rules = {"policy": policy, "windows": [night]}
    by_day = pending(wanted(), wanted(image="sybline:2"), **rules)
    assert not by_day.may_restart
    assert by_day.row()["nextWindow"] == "2026-11-25T21:00:00Z"
    late = NOON.replace(hour=23)
    by_night = pending(wanted(), wanted(image="sybline:2"), now=late, **rules)
    assert by_night.may_restart
    assert by_night.row()["nextWindow"] is None


def test_a_restart_that_waits_is_no_news_once_it_is_stored() -> None:
    status = {"pendingRestart": pending(wanted("sybline:1"), wanted("sybline:2")).row()}
    assert is_news(status, {})
    stored = {key: value for key, value in status["pendingRestart"].items() if value is not None}
    assert "nextWindow" not in stored, "a merge patch takes it away"
    assert not is_news(status, {"pendingRestart": stored})
    assert is_news({"pendingRestart": None}, {"pendingRestart": stored})
    assert not is_news({"pendingRestart": None}, {})


def test_a_roll_that_has_begun_goes_on_and_one_outside_its_window_does_not() -> None:
    old, new = wanted("sybline:1"), wanted("sybline:2")
    half = running(old, new, template=new)
    going = look_at_restart(wish(new), half, Restarts(), approved_with="", now=NOON)
    assert going is not None
    assert (going.pods, going.cause, going.may_restart) == (("orders-0",), Cause.OPERATOR, True)
    night = Restarts(windows=[window("22:00", 4)])
    waiting = look_at_restart(wish(new), half, night, approved_with="", now=NOON)
    assert waiting is not None
    assert not waiting.may_restart


def test_pods_of_an_operator_that_said_nothing_of_them_may_be_restarted_by_the_spec() -> None:
    seen = running(wanted())
    assert seen.workload is not None
    silent = replace(seen, workload=replace(seen.workload, made_of=""))
    found = look_at_restart(
        wish(wanted(image="sybline:2")), silent, Restarts(), approved_with="", now=NOON
    )
    assert found is not None
    assert found.cause is Cause.SPEC


SPECS = st.fixed_dictionaries(
    {
        "image": st.sampled_from(["", "sybline:1", "sybline:2"]),
        "resources": st.sampled_from([{}, {"requests": {"cpu": "1"}}]),
        "config": st.sampled_from(
            [{}, {"queues": {"lease_s": 5}}, {"raft": {"heartbeat_s": 0.2}}, {"storage": {"compress_cold": True}}]
        ),
        "replicas": st.sampled_from([3, 5]),
        "service": st.sampled_from([{}, {"type": "NodePort"}]),
        "podTemplate": st.sampled_from([{}, {"labels": {"team": "shop"}}]),
    }
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(spec=SPECS, images=st.tuples(*[st.sampled_from(["sybline:1", "sybline:2"])] * 2))
def test_an_operator_upgrade_alone_never_restarts_anybody_by_itself(
    spec: dict[str, Any], images: tuple[str, str]
) -> None:
    before, after = (wanted(image, **spec) for image in images)
    found = look_at_restart(
        wish(after), running(before), Restarts(), approved_with="", now=NOON
    )  # fmt: skip
    assert found is None or (found.cause, found.may_restart) == (Cause.OPERATOR, False)


@settings(deadline=None, max_examples=60)
@given(one=SPECS, other=SPECS)
def test_every_template_that_differs_says_why(one: dict[str, Any], other: dict[str, Any]) -> None:
    before, after = wanted(**one), wanted(**other)
    if wish(before).hash == wish(after).hash:
        return
    assert pending(before, after).changes not in ((), ("what the operator itself puts into pods",))


def test_what_a_template_is_made_of_reads_back_and_is_not_part_of_its_hash() -> None:
    template = workload.pod_template(wanted())
    text = template["metadata"]["annotations"][MADE_OF_ANNOTATION]
    assert read_made_of(text) == wish(wanted()).made_of
    same_pods = wanted(image="sybline:1")
    assert wish(same_pods).hash == wish(wanted("sybline:1")).hash
    assert wish(same_pods).made_of != wish(wanted("sybline:1")).made_of
    assert read_made_of("{}") is None
    assert read_made_of("") is None


# --- settings of a member ---
FILE = "queues: {lease_s: 5}\n"
STATUS = MemberStatusSeen(
    id=1, cluster_uid=7, configuration_version=1, removed=False, ready=True, not_ready_because="",
    version="0.1.0", term=1, last_index=1, commit_index=1, publishes_refused_because="",
    config_sha256=hashlib.sha256(FILE.encode()).hexdigest(), settings_pending=(),
    settings_refused_because="",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "inForce"),
        ({"config_sha256": "another"}, "pending"),
        ({"settings_pending": ("raft.heartbeat_s",)}, "pending"),
        ({"settings_refused_because": "no such key"}, "no such key"),
        ({"config_sha256": ""}, ""),
    ],
)
def test_a_member_tells_whether_its_file_is_in_force(changed: dict[str, Any], told: str) -> None:
    assert settings_of(replace(STATUS, **changed), FILE) == told


def test_a_member_that_does_not_answer_tells_nothing_of_its_settings() -> None:
    assert settings_of(None, FILE) == ""
