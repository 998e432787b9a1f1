"""One look at one cluster: observe, repair the quiet children, plan, take at most one step, tell the status.

The same function for every reason to look. It keeps nothing between two looks, and two of it at once do no harm:
objects are applied whole, membership changes carry the expected version.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from sybline_operator import limits
from sybline_operator.broker_admin import AdminError, BrokerAdmin, GrpcAdmin
from sybline_operator.carry_out import carry_out
from sybline_operator.events import event
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.manifests import configuration, disruption, network, workload
from sybline_operator.manifests.common import Json, Owner, Wanted, digest
from sybline_operator.names import GROUP, KIND, VERSION, Names
from sybline_operator.observation import Observed
from sybline_operator.observe import AdminFactory, observe
from sybline_operator.plan import Goal, Plan, make_plan
from sybline_operator.resource.spec import ClusterSpec, SpecError, parse_spec
from sybline_operator.status import Fact, describe, invalid, is_news, merge_conditions
from sybline_operator.steps import RecordFounding

log = structlog.get_logger(__name__)
API_VERSION = f"{GROUP}/{VERSION}"
HASH_ANNOTATION = "sybline.io/intent"  # hash of what was applied: equal means nothing to write


@dataclass(frozen=True, slots=True)
class Context:
    """What a reconcile works with."""

    api: KubernetesApi
    default_image: str
    now: Callable[[], str]  # RFC 3339
    new_admin: AdminFactory = GrpcAdmin


def reconcile(context: Context, namespace: str, name: str) -> float:
    """Look at a cluster once and return after how many seconds to look again.

    Raises:
        ApiError: the API server does not answer.
    """
    body = context.api.get(API_VERSION, KIND, namespace, name)
    if body is None or "deletionTimestamp" in body["metadata"]:
        return limits.RECONCILE_IDLE_S
    generation = body["metadata"]["generation"]
    try:
        spec = parse_spec(body.get("spec", {}))
    except SpecError as error:
        status, facts = invalid(error.problems, generation)
        _write_status(context, body, status, facts)
        return limits.RECONCILE_IDLE_S
    wanted = Wanted(
        spec, Names(namespace, name), Owner(name, body["metadata"]["uid"]), context.default_image
    )
    return _Look(context, body, wanted).run()


class _Look:
    def __init__(self, context: Context, body: Json, wanted: Wanted) -> None:
        self._context = context
        self._api = context.api
        self._body = body
        self._wanted = wanted
        self._founded_uid = int(body.get("status", {}).get("clusterUid") or 0)

    def run(self) -> float:
        wanted, spec = self._wanted, self._wanted.spec
        if not spec.paused:
            self._apply_secrets()
        seen, admin = observe(
            self._api, wanted.names, founded_uid=self._founded_uid,
            new_admin=self._context.new_admin,
        )  # fmt: skip
        try:
            goal = self._goal(spec)
            if not spec.paused:
                self._apply_quiet(seen)
            plan = make_plan(goal, seen)
            error = self._take(plan, admin, seen)
        finally:
            if admin is not None:
                admin.close()
        status, facts = describe(
            seen, plan, goal, generation=self._body["metadata"]["generation"], last_error=error
        )
        if isinstance(plan.step, RecordFounding):
            status["clusterUid"] = str(plan.step.cluster_uid)
        _write_status(self._context, self._body, status, facts)
        return limits.RECONCILE_IDLE_S if plan.is_done else limits.RECONCILE_AGAIN_S

    def _goal(self, spec: ClusterSpec) -> Goal:
        return Goal(
            replicas=spec.replicas,
            template_hash=workload.template_hash(workload.pod_template(self._wanted)),
            delete_claims=spec.storage.retention.on_scale_down == "Delete",
            paused=spec.paused,
        )

    def _take(self, plan: Plan, admin: BrokerAdmin | None, seen: Observed) -> str:
        """Take the step and return why not; "": done, or there was none."""
        if plan.step is None:
            return ""
        if isinstance(plan.step, RecordFounding) and not self._founded_uid:
            # The record first: without it, a crash behind the deletion would permit a second founding.
            status = {"clusterUid": str(plan.step.cluster_uid)}
            self._api.patch_status(
                API_VERSION, KIND, self._wanted.names.namespace, self._wanted.names.cluster, status
            )
        reason = type(plan.step).__name__
        try:
            text = carry_out(plan.step, self._api, admin, self._wanted, seen)
        except (ApiError, AdminError) as error:
            log.warning("step_refused", step=reason, error=str(error))
            self._tell("Warning", f"{reason}Refused", str(error))
            return str(error)
        log.info("step_taken", step=reason, text=text)
        self._tell("Normal", reason, text)
        return ""

    def _tell(self, kind: str, reason: str, text: str) -> None:
        """Leave an event; that it cannot be left changes nothing."""
        try:
            self._api.create(event(self._body, kind, reason, text, self._context.now()))
        except ApiError as error:
            log.warning("event_not_left", reason=reason, error=str(error))

    # --- children that restart nothing ---
    def _apply_secrets(self) -> None:
        """Make the generated secrets, once: another password would split users from the cluster."""
        names = self._wanted.names
        for name, build in (
            (names.admin_secret, configuration.admin_secret),
            (names.peer_secret, configuration.peer_secret),
        ):
            if self._api.get("v1", "Secret", names.namespace, name) is None:
                self._api.create(build(self._wanted, secrets.token_urlsafe(limits.PASSWORD_BYTES)))

    def _apply_quiet(self, seen: Observed) -> None:
        """Apply what may change at any time, where it differs from what is there."""
        wanted = self._wanted
        voters = len(seen.membership.voters) if seen.membership else wanted.spec.replicas
        fit = (
            all(m.healthy and m.caught_up for m in seen.membership.voters)
            if seen.membership
            else False
        )
        budget = disruption.disruption_budget(wanted, voters=voters, may_disrupt=fit)
        objects = [
            disruption.service_account(wanted),
            network.peer_service(wanted),
            network.client_service(wanted),
            network.network_policy(wanted),
            configuration.config_map(wanted),
        ]
        if budget is not None:
            objects.append(budget)
        for body in objects:
            self._apply_if_changed(body)
        if budget is None:
            self._delete_budget()

    def _apply_if_changed(self, body: Json) -> None:
        intent = digest(body)
        metadata = body["metadata"]
        found = self._api.get(
            body["apiVersion"], body["kind"], metadata["namespace"], metadata["name"]
        )
        if found is not None and _same(body, found, intent):
            return
        annotations = {**metadata.get("annotations", {}), HASH_ANNOTATION: intent}
        self._api.apply({**body, "metadata": {**metadata, "annotations": annotations}})

    def _delete_budget(self) -> None:
        names = self._wanted.names
        key = ("policy/v1", "PodDisruptionBudget", names.namespace, names.disruption_budget)
        if self._api.get(*key) is not None:
            self._api.delete(*key)


def _same(body: Json, found: Json, intent: str) -> bool:
    """Return whether everything we want is there, by value and not only by hash: drift is repaired."""
    stored = found["metadata"].get("annotations", {}).get(HASH_ANNOTATION)
    return stored == intent and _covers(found, body)


def _covers(found: Any, wanted: Any) -> bool:
    """Return whether `found` has all that `wanted` names; the server adds defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and _covers(found[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_covers(f, w) for f, w in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


def _write_status(context: Context, body: Json, status: Json, facts: list[Fact]) -> None:
    """Write the status if it says anything new."""
    before = body.get("status", {})
    generation = body["metadata"]["generation"]
    status["conditions"] = merge_conditions(
        facts, before.get("conditions", []), generation=generation, now=context.now()
    )
    if is_news(status, before):
        metadata = body["metadata"]
        context.api.patch_status(API_VERSION, KIND, metadata["namespace"], metadata["name"], status)
