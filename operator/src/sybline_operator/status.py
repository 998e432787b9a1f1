"""The status of a SyblineCluster, derived from what was seen and what is planned: pure.

A condition keeps the time of its last change. An unchanged status is not written: it would wake the operator again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sybline_operator import limits
from sybline_operator.names import CLIENT_PORT
from sybline_operator.observation import MembershipSeen, Observed
from sybline_operator.plan import Goal, Plan

Json = dict[str, Any]
CONDITIONS: Final = ("Available", "Progressing", "Degraded", "QuorumHealthy", "SpecValid", "Paused")


@dataclass(frozen=True, slots=True)
class Fact:
    """A condition without its times."""

    type: str
    is_true: bool
    reason: str
    message: str = ""


def describe(
    seen: Observed, plan: Plan, goal: Goal, *, generation: int, last_error: str = ""
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
        "pendingRestart": _pending_restart(seen, goal),
        "members": _members(seen),
        "endpoints": {
            "clients": f"{seen.names.client_service}.{seen.names.namespace}.svc:{CLIENT_PORT}"
        },
        "secrets": {"admin": seen.names.admin_secret},
    }
    return status, _facts(seen, plan, goal, ready, last_error)


def invalid(problems: tuple[str, ...], generation: int) -> tuple[Json, list[Fact]]:
    """Return what is said of a spec that cannot be carried out; the cluster goes on as it was."""
    text = _short("; ".join(problems))
    return (
        {"observedGeneration": generation, "phase": f"The spec is refused: {text}"},
        [Fact("SpecValid", False, "Refused", text)],
    )


def merge_conditions(
    facts: list[Fact], before: list[Json], *, generation: int, now: str
) -> list[Json]:
    """Return the conditions in their order, with the time of the last change of each."""
    old = {condition["type"]: condition for condition in before}
    for fact in facts:
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
    return any(
        before.get(key) != value for key, value in status.items() if value is not None
    ) or any(value is None and before.get(key) is not None for key, value in status.items())


def _phase(seen: Observed, plan: Plan, goal: Goal, last_error: str) -> str:
    if goal.paused:
        return "Paused"
    if last_error:
        return _short(f"Tries again: {last_error}")
    if plan.step is not None:
        return f"Under way: {type(plan.step).__name__}"
    if plan.waiting:
        return _short(f"Waits: {plan.waiting}")
    return f"{len(seen.membership.voters) if seen.membership else 0} members serve"


def _facts(seen: Observed, plan: Plan, goal: Goal, ready: int, last_error: str) -> list[Fact]:
    membership = seen.membership
    has_quorum = membership is not None
    unfit = _unfit(membership) if membership is not None else []
    missing = max(0, goal.replicas - ready)
    return [
        Fact("SpecValid", True, "Accepted"),
        Fact("Paused", goal.paused, "Paused" if goal.paused else "Running"),
        Fact(
            "QuorumHealthy", has_quorum, "LeaderConfirmed" if has_quorum else "NoLeader",
            "" if has_quorum else "no leader that a quorum confirms answers",
        ),
        Fact(
            "Available", has_quorum and ready > 0, "Serving" if has_quorum and ready else "NotServing",
            f"{ready} of {goal.replicas} pods serve",
        ),
        Fact(
            "Progressing", not plan.is_done, type(plan.step).__name__ if plan.step else
            ("Waiting" if plan.waiting else "Done"), last_error or plan.waiting,
        ),
        Fact(
            "Degraded", bool(unfit or missing), "MembersUnfit" if unfit else
            ("PodsMissing" if missing else "AllFit"), ", ".join(unfit),
        ),
    ]  # fmt: skip


def _unfit(membership: MembershipSeen) -> list[str]:
    return [m.name for m in membership.voters if not (m.healthy and m.caught_up)]


def _pending_restart(seen: Observed, goal: Goal) -> Json | None:
    """Return which pods a change would restart; None: none."""
    outdated = [pod.name for pod in seen.pods if pod.template != goal.template_hash]
    if not outdated:
        return None
    return {"pods": outdated, "approved": goal.may_restart}


def _members(seen: Observed) -> list[Json]:
    if seen.membership is None:
        return [
            {"name": pod.name, "role": "unknown", "node": pod.node, "ready": pod.ready, "trouble": pod.trouble}
            for pod in seen.pods
        ]  # fmt: skip
    pods = {pod.name: pod for pod in seen.pods}
    rows = []
    for member in seen.membership.members:
        pod = pods.get(member.name)
        verdict = seen.verdicts.get(member.id)
        rows.append(
            {
                "name": member.name,
                "memberId": str(member.id),
                "role": "leader" if member.leads else ("voter" if member.voter else "learner"),
                "caughtUp": member.caught_up,
                "node": pod.node if pod else "",
                "ready": pod.ready if pod else False,
                "trouble": pod.trouble if pod else "",
                "safeToStop": verdict.allowed if verdict else False,
                "blockedBy": "" if verdict and verdict.allowed else (verdict.reason if verdict else "NO_VERDICT"),
            }
        )  # fmt: skip
    return rows


def _short(text: str) -> str:
    return text[: limits.STATUS_TEXT_CHARACTERS_MAX]
