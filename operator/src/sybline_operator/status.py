"""The status of a SyblineCluster, derived from what was seen and what is planned: pure.

A condition keeps the time of its last change. An unchanged status is not written: it would wake the operator again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sybline_operator import limits, recovery
from sybline_operator.decision import Goal, Plan
from sybline_operator.degraded import Ailment, troubles
from sybline_operator.json_object import Json
from sybline_operator.member_rows import member_rows
from sybline_operator.names import CLIENT_PORT
from sybline_operator.observation import Observed
from sybline_operator.reasons import Refusal, refused
from sybline_operator.restarts import PendingRestart

CONDITIONS: Final = (
    "Available", "Progressing", "Degraded", "QuorumHealthy", "Recovery", "TLSReady", "SpecValid",
    "Monitored", "Paused",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fact:
    """A condition without its times."""

    type: str
    is_true: bool
    reason: str
    message: str = ""


def describe(
    seen: Observed,
    plan: Plan,
    goal: Goal,
    *,
    generation: int,
    pending: PendingRestart | None = None,
    last_error: str = "",
) -> tuple[Json, list[Fact]]:
    """Return the status without its conditions, and the conditions."""
    membership = seen.membership
    ready = sum(pod.ready for pod in seen.pods)
    next_step = type(plan.step).__name__ if plan.step is not None else ""
    status: Json = {
        "observedGeneration": generation,
        "phase": _phase(seen, plan, goal, last_error),
        "nextStep": next_step,
        "replicas": len(seen.pods),
        "readyReplicas": ready,
        "selector": ",".join(f"{k}={v}" for k, v in sorted(seen.names.selector.items())),
        "clusterUid": str(seen.founded_uid or ""),
        "leader": next((m.name for m in membership.members if m.leads), "") if membership else "",
        "configurationVersion": membership.version if membership else None,
        "pendingRestart": None if pending is None else pending.row(),
        "recovery": recovery.show(seen),
        "members": member_rows(seen),
        "endpoints": {
            "clients": f"{seen.names.client_service}.{seen.names.namespace}.svc:{CLIENT_PORT}"
        },
        "secrets": {"admin": seen.names.admin_secret},
    }
    news = last_error or plan.waiting
    if plan.refusal is Refusal.RESTART_WAITS and pending is not None:
        news = pending.waits_for()
    return status, _facts(seen, plan, goal, ready, news, has_failed=bool(last_error))


def merge_conditions(
    facts: list[Fact], before: list[Json], *, generation: int, now: str
) -> list[Json]:
    """Return the conditions in their order, each with the time of its last change; of a type the last fact counts."""
    old = {condition["type"]: condition for condition in before}
    for fact in {fact.type: fact for fact in facts}.values():
        value = "True" if fact.is_true else "False"
        known = old.get(fact.type, {})
        changed = now if known.get("status") != value else known["lastTransitionTime"]
        old[fact.type] = {
            "type": fact.type,
            "status": value,
            "reason": fact.reason,
            "message": _short(fact.message),
            "observedGeneration": generation,
            "lastTransitionTime": changed,
        }
    return [old[kind] for kind in CONDITIONS if kind in old]


def is_news(status: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Return whether the status says anything that the stored one does not."""
    return any(before.get(key) != _as_stored(value) for key, value in status.items())


def _as_stored(value: Any) -> Any:
    """Return a value as a merge patch leaves it: a null takes its key away."""
    if not isinstance(value, dict):
        return value
    return {key: _as_stored(inner) for key, inner in value.items() if inner is not None}


def _phase(seen: Observed, plan: Plan, goal: Goal, last_error: str) -> str:
    if goal.paused:
        return "Paused"
    if goal.spec_refused:
        return _short(f"The spec is refused: {goal.spec_refused}")
    if last_error:
        return _short(f"Tries again: {last_error}")
    if plan.step is not None:
        return f"Under way: {type(plan.step).__name__}"
    if plan.waiting:
        return _short(f"Waits: {plan.waiting}")
    serving = f"{sum(pod.ready for pod in seen.pods)} of {goal.replicas} members serve"
    return f"{serving}; a restart waits" if plan.refusal is Refusal.RESTART_WAITS else serving


def _facts(
    seen: Observed, plan: Plan, goal: Goal, ready: int, news: str, *, has_failed: bool
) -> list[Fact]:
    membership = seen.membership
    has_quorum = membership is not None
    return [
        _spec(goal),
        Fact("Paused", goal.paused, "Paused" if goal.paused else "Running"),
        _quorum(seen),
        _recovery(seen, goal),
        Fact(
            "Available", has_quorum and ready > 0, "Serving" if has_quorum and ready else "NotServing",
            f"{ready} of {goal.replicas} pods serve",
        ),
        Fact("Progressing", not plan.is_done, _progress(plan, has_failed=has_failed), news),
        _degraded(seen, goal),
    ]  # fmt: skip


def _spec(goal: Goal) -> Fact:
    if goal.spec_refused:
        return Fact("SpecValid", False, Refusal.SPEC_REFUSED, goal.spec_refused)
    return Fact("SpecValid", True, "Accepted")


def _quorum(seen: Observed) -> Fact:
    if seen.membership is not None:
        return Fact("QuorumHealthy", True, "LeaderConfirmed")
    loss = recovery.assess(seen)
    if loss is None:
        return Fact("QuorumHealthy", False, "NotFounded", "the cluster has not been founded yet")
    reason = Refusal.QUORUM_LOST if loss.is_offered else "NoLeader"
    return Fact("QuorumHealthy", False, reason, loss.text)


def _recovery(seen: Observed, goal: Goal) -> Fact:
    """Return whether a recovery is under way, and what is wrong with a request that is not carried out."""
    if seen.recovery.record is not None:
        return Fact("Recovery", True, "UnderWay", f"as asked for: {seen.recovery.record.request}")
    wrong = recovery.why_refused(goal.recovery, seen)
    if wrong:
        return Fact("Recovery", False, Refusal.RECOVERY_REFUSED, wrong)
    loss = recovery.assess(seen)
    is_offered = loss is not None and loss.is_offered
    return Fact("Recovery", False, "Offered" if is_offered else "NotNeeded")


def _degraded(seen: Observed, goal: Goal) -> Fact:
    found = troubles(seen, goal.replicas)
    reason = found[0].reason if found else Ailment.ALL_FIT
    return Fact("Degraded", bool(found), reason, "; ".join(trouble.text for trouble in found))


def _progress(plan: Plan, *, has_failed: bool) -> str:
    if plan.step is not None:
        step = type(plan.step).__name__
        return refused(step) if has_failed else step
    if plan.refusal is not None:
        return plan.refusal
    return "Waiting" if plan.waiting else "Done"


def _short(text: str) -> str:
    return text[: limits.STATUS_TEXT_CHARACTERS_MAX]
