"""Settings and restarts: what members take while they run, what waits for leave, what stops at the first pod."""

import json
from datetime import UTC, datetime, timedelta

from sybline.clock import SystemClock
from tests.e2e.kube import Json, wait_for
from tests.e2e.life import SETTLED_S, Life, Scenario, condition_of

APPROVE = "sybline.io/approve-restart"
MEMBERS = 3
IMAGE_VARIABLE = "SYBLINE_OPERATOR_BROKER_IMAGE"
WINDOW_S = 300.0  # until the next but one minute, and a look of the operator


# --- looking ---
def pending(life: Life) -> Json:
    """Return what is said of a restart that is due; empty: none is."""
    found: Json = life.status().get("pendingRestart") or {}
    return found


def reason_of(life: Life, condition: str) -> str:
    """Return the reason of a condition."""
    found = life.status().get("conditions", [])
    return next((each["reason"] for each in found if each["type"] == condition), "")


def config_text(life: Life) -> str:
    """Return the members' configuration file."""
    text: str = life.kube.get("configmap", f"{life.name}-config")["data"]["sybline.yaml"]
    return text


def events(life: Life, reason: str) -> list[str]:
    """Return what the events of a reason say."""
    found = life.kube.list("events")
    return [event["message"] for event in found if event["reason"] == reason]


def wait_in_force(life: Life, text: str) -> None:
    """Wait until every member has taken a file with this text; the kubelet brings it within two minutes."""
    wait_for(f"the file says {text}", lambda: text in config_text(life), deadline_s=SETTLED_S)
    wait_for(
        lambda: f"every member took the file: {[m.get('settings') for m in life.members()]}",
        lambda: {member.get("settings") for member in life.members()} == {"inForce"},
        deadline_s=SETTLED_S,
    )


def wait_for_restart_to_wait(life: Life, cause: str) -> Json:
    """Wait until a restart is announced, see that it waits, and return what is said of it."""
    wait_for(
        "a restart waits",
        lambda: reason_of(life, "Progressing") == "RestartWaits",
        deadline_s=SETTLED_S,
    )
    said = pending(life)
    assert (said["cause"], said["approved"]) == (cause, False), said
    assert len(said["pods"]) == MEMBERS, said
    assert events(life, "RestartWaits"), "no event tells of it"
    return said


def wait_restarted(life: Life, before: dict[str, str], deadline_s: float = SETTLED_S) -> None:
    """Wait until every pod is another one and the cluster is at rest."""
    wait_for(
        "every pod is another one",
        lambda: not set(before.values()) & set(life.uids().values()),
        deadline_s=deadline_s,
    )
    life.settle(MEMBERS)


# --- changes that roll ---
def roll_for(life: Life, spec: Json, change: str) -> None:
    """Change the spec: every member is restarted, and the events say for what."""
    before = life.uids()
    life.patch(spec)
    wait_restarted(life, before)
    told = [text for text in events(life, "RestartPod") if change in text]
    assert len(told) >= MEMBERS, events(life, "RestartPod")


def roll_for_resources(life: Life) -> None:
    """Ask for another amount of memory."""
    roll_for(life, {"resources": {"requests": {"memory": "65Mi"}}}, "resources")


def roll_for_configuration(life: Life) -> None:
    """Change a key that only a start reads: members run with it afterwards, and not before."""
    change = "config: raft.checkpoint_entries"
    roll_for(life, {"config": {"raft": {"checkpoint_entries": 90_000}}}, change)
    wait_in_force(life, "checkpoint_entries: 90000")


# --- changes that restart nobody ---
def apply_live(life: Life) -> None:
    """Change a key that members take while they run; then spoil their file, which is repaired."""
    before = life.uids()
    life.patch({"config": {"queues": {"lease_s": 6}}})
    wait_in_force(life, "lease_s: 6")
    life.kube.patch("configmap", f"{life.name}-config", {"data": {"sybline.yaml": "queues: 7"}})
    wait_in_force(life, "lease_s: 6")
    life.patch({"config": {"queues": {"lease_s": 5}}})
    wait_in_force(life, "lease_s: 5")
    life.settle(MEMBERS)
    assert life.uids() == before, "somebody was restarted"


def refuse_configuration(life: Life) -> None:
    """Ask for what the broker does not take: nothing changes, and every problem is told."""
    before, file = life.uids(), config_text(life)
    life.patch({"config": {"queues": {"lease_s": 9_999}, "quues": {"lease_s": 1}}})
    wait_for(
        "the spec is refused", lambda: life.condition("SpecValid") == "False", deadline_s=SETTLED_S
    )
    [said] = [c["message"] for c in life.status()["conditions"] if c["type"] == "SpecValid"]
    assert "spec.config.queues.lease_s" in said, said
    assert "spec.config.quues" in said, said
    assert config_text(life) == file
    life.patch({"config": {"queues": {"lease_s": 5}, "quues": None}})
    wait_for(
        "the spec is valid", lambda: life.condition("SpecValid") == "True", deadline_s=SETTLED_S
    )
    life.settle(MEMBERS)
    assert life.uids() == before, "somebody was restarted"


def upgrade_operator(life: Life) -> None:
    """Let an operator with another default image take over: it announces a restart and does none."""
    life.patch({"image": ""})
    life.settle(MEMBERS)
    before = life.uids()
    generation = life.kube.get("statefulset", life.name)["metadata"]["generation"]
    set_default_image(life, "sybline:of-another-version")
    said = wait_for_restart_to_wait(life, "operator")
    assert said["changes"] == [f"broker image {life.image} -> sybline:of-another-version"], said
    assert life.uids() == before, "somebody was restarted"
    assert life.kube.get("statefulset", life.name)["metadata"]["generation"] == generation
    set_default_image(life, life.image)
    wait_for("nothing waits", lambda: not pending(life), deadline_s=SETTLED_S)
    life.patch({"image": life.image})
    life.settle(MEMBERS)
    assert life.uids() == before, "somebody was restarted"


def set_default_image(life: Life, image: str) -> None:
    """Replace the operator by one whose own version of the broker is another one."""
    [operator] = life.kube.list("deployment", "app.kubernetes.io/name=sybline-operator")
    name = operator["metadata"]["name"]
    life.kube.kubectl("set", "env", f"deployment/{name}", f"{IMAGE_VARIABLE}={image}")
    life.kube.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s")


# --- leave to restart ---
def approve(life: Life) -> None:
    """Let changes wait for an approval: nobody is restarted before it, everybody afterwards."""
    before = life.uids()
    life.patch({"restarts": {"policy": "Approval"}, "podTemplate": {"labels": {"e2e": "approved"}}})
    said = wait_for_restart_to_wait(life, "spec")
    assert said["changes"] == ["pod template"], said
    assert life.uids() == before, "somebody was restarted"
    life.kube.kubectl("annotate", "syb", life.name, f"{APPROVE}={said['approveWith']}")
    wait_restarted(life, before)
    life.kube.kubectl("annotate", "syb", life.name, f"{APPROVE}-")
    life.patch({"restarts": {"policy": "Automatic"}})
    life.settle(MEMBERS)


def wait_for_window(life: Life) -> None:
    """Let changes wait for a window of an hour that opens within two minutes."""
    before = life.uids()
    opens = now().replace(second=0, microsecond=0) + timedelta(minutes=2)
    window = {"start": f"{opens:%H:%M}", "hours": 1}
    life.patch({"restarts": {"windows": [window]}, "podTemplate": {"labels": {"e2e": "windowed"}}})
    said = wait_for_restart_to_wait(life, "spec")
    assert said["nextWindow"] == f"{opens:%Y-%m-%dT%H:%M:%SZ}", said

    def is_open() -> bool:
        found = life.uids()
        if now() >= opens:
            return True
        assert found == before, "somebody was restarted outside the window"
        return False

    wait_for("the window opens", is_open, deadline_s=WINDOW_S)
    wait_restarted(life, before, WINDOW_S)
    life.patch({"restarts": {"windows": []}})
    life.settle(MEMBERS)


def now() -> datetime:
    """Return the time of this machine."""
    return datetime.fromtimestamp(SystemClock().wall_ms() / 1000, UTC)


# --- what does not start ---
def stop_and_heal(life: Life, bad: Json, good: Json, trouble: str) -> None:
    """Roll out what cannot start: it stops at the first pod, the others serve, and a mended spec heals it."""
    before = life.uids()
    life.patch(bad)
    wait_for(
        lambda: f"the first pod cannot start: {[m.get('trouble') for m in life.members()]}",
        lambda: any(trouble in member.get("trouble", "") for member in life.members()),
        deadline_s=SETTLED_S,
    )
    assert condition_of(life.status(), "Available") == "True"
    kept = set(before.items()) & set(life.uids().items())
    assert len(kept) == MEMBERS - 1, json.dumps(life.members())
    life.patch(good)
    life.settle(MEMBERS)
    assert kept <= set(life.uids().items()), "somebody was restarted who served"


def bad_image(life: Life) -> None:
    """Roll out an image that does not exist."""
    missing = "nowhere/sybline:none"
    stop_and_heal(life, {"image": missing}, {"image": life.image}, "nowhere")


def bad_configuration(life: Life) -> None:
    """Roll out a configuration that passes every check and lets no member start: it runs for a moment each time."""
    bad: Json = {"config": {"passwords": {"pepper": "another"}}}
    stop_and_heal(life, bad, {"config": {"passwords": None}}, "status 1")


SCENARIOS = (
    Scenario("a live setting", apply_live, unnoticed=True),
    Scenario("a configuration that is refused", refuse_configuration, unnoticed=True),
    Scenario("roll for resources", roll_for_resources),
    Scenario("roll for configuration", roll_for_configuration),
    Scenario("an image that does not exist, then mended", bad_image, core=True),
    Scenario("a configuration that does not start, then mended", bad_configuration),
    Scenario("a restart that waits for approval", approve),
    Scenario("a restart that waits for its window", wait_for_window),
    Scenario("another version of the operator", upgrade_operator, unnoticed=True),
)
