"""One look at one cluster: observe, repair the quiet children, plan, take at most one step, tell the status.

The same function for every reason to look. It keeps nothing between two looks, and two of it at once do no harm:
objects are applied whole, membership changes carry the expected version.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from sybline_operator import limits
from sybline_operator.broker_admin import (
    AdminError,
    BrokerAdmin,
    ChannelTls,
    Credentials,
    GrpcAdmin,
)
from sybline_operator.budget import pods_needed
from sybline_operator.carry_out import carry_out, mend_workload
from sybline_operator.claims import recorded
from sybline_operator.decision import Goal, Plan
from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.manifests import configuration, disruption, network, workload
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.manifests.made_of import made_of, read_made_of
from sybline_operator.metrics import Metrics
from sybline_operator.monitored import keep_pod_monitor
from sybline_operator.names import (
    APPROVE_ANNOTATION,
    GROUP,
    KIND,
    RECOVER_ANNOTATION,
    VERSION,
    Names,
)
from sybline_operator.observation import Observed
from sybline_operator.observe import observe
from sybline_operator.plan import make_plan
from sybline_operator.quiet import apply_if_changed, delete_ours, refusal
from sybline_operator.reasons import FOR_SOMEBODY, Refusal
from sybline_operator.recovery import show_completed
from sybline_operator.resource.spec import (
    ClusterSpec,
    SpecError,
    check_references,
    parse_spec,
    watched_part,
)
from sybline_operator.restarts import PendingRestart, Wish, look_at_restart
from sybline_operator.status import Fact, describe, is_news, merge_conditions
from sybline_operator.steps import FinishRecovery, RecordFounding
from sybline_operator.telling import Teller
from sybline_operator.tls.upkeep import Upkeep

CONFLICT: Final = 409  # as HTTP calls it
API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class Context:
    """What a reconcile works with."""

    api: KubernetesApi
    default_image: str
    now: Callable[[], str]  # RFC 3339
    new_admin: Callable[[Sequence[str], Credentials, ChannelTls | None], BrokerAdmin] = GrpcAdmin
    operator_namespace: str = ""  # where its pods are; "": it runs outside of Kubernetes
    may_act: Callable[[], None] = lambda: None  # raises ApiError while another replica acts
    metrics: Metrics = field(default_factory=Metrics)


def reconcile(context: Context, namespace: str, name: str) -> float | None:
    """Look at a cluster once and return after how many seconds to look again; None: there is no such cluster.

    Raises:
        ApiError: the API server does not answer.
    """
    body = context.api.get(API_VERSION, KIND, namespace, name)
    if body is None:
        return None
    if "deletionTimestamp" in body["metadata"]:
        return limits.RECONCILE_IDLE_S
    spec, refused = _read_spec(body.get("spec", {}), Names(namespace, name))
    wanted = Wanted(
        spec, Names(namespace, name), Owner(name, body["metadata"]["uid"]), context.default_image,
        context.operator_namespace,
    )  # fmt: skip
    try:
        return _Look(context, body, wanted, refused).run()
    except _Moved:
        return limits.RECONCILE_AGAIN_S


def _read_spec(raw: Json, names: Names) -> tuple[ClusterSpec, str]:
    """Return the spec, or as much of it as can be used, and why it cannot be carried out; "": it can."""
    try:
        spec = parse_spec(raw)
        check_references(spec, names)
        return spec, ""
    except SpecError as error:
        refused = "; ".join(error.problems)
    try:
        return watched_part(raw), refused
    except SpecError:
        return ClusterSpec(), refused


class _Look:
    def __init__(self, context: Context, body: Json, wanted: Wanted, refused: str) -> None:
        self._context = context
        self._refused = refused
        self._may_act = not wanted.spec.paused and not refused
        self._api = context.api
        self._now = datetime.fromisoformat(context.now())
        self._body = body
        self._wanted = wanted
        self._founded_uid = int(body.get("status", {}).get("clusterUid") or 0)
        self._template = workload.pod_template(wanted)
        self._wish = Wish(
            workload.template_hash(self._template),
            made_of(wanted, configuration.restart_settings(wanted)),
        )
        self._tell = Teller(context.api, context.metrics, body, context.now)

    def run(self) -> float:
        wanted, spec = self._wanted, self._wanted.spec
        certificates = self._certificates()
        certificates.prepare()

        def new_admin(targets: Sequence[str], credentials: Credentials) -> BrokerAdmin:
            asked = targets if certificates.may_dial else ()
            return self._context.new_admin(asked, credentials, certificates.channel)

        seen, admin = observe(
            self._api, wanted.names, founded_uid=self._founded_uid,
            recorded=recorded(self._body.get("status", {})), storage_size=spec.storage.size,
            status=self._body.get("status", {}), now=self._context.now(),
            new_admin=new_admin,
        )  # fmt: skip
        try:
            pending = self._pending_restart(seen)
            goal = self._goal(spec, pending)
            children = self._apply_children(seen) if self._may_act else []
            plan = make_plan(goal, seen)
            error = self._take(plan, admin, seen)
        finally:
            if admin is not None:
                admin.close()
        report = certificates.finish(seen)
        status, facts = describe(
            seen, plan, goal, generation=self._body["metadata"]["generation"], pending=pending,
            last_error=error,
        )  # fmt: skip
        if isinstance(plan.step, RecordFounding | FinishRecovery):
            status |= _founding(plan.step)
        report.tell(status, facts)
        facts += children
        _write_status(self._context, self._body, status, facts)
        if not report.is_quiet:
            return limits.RECONCILE_AGAIN_S
        is_for_somebody = goal.paused or plan.refusal in FOR_SOMEBODY
        return look_again_s(facts, is_done=plan.is_done, is_for_somebody=is_for_somebody)

    def _certificates(self) -> Upkeep:
        return Upkeep(
            self._api, self._wanted, self._tell, now=self._now,
            before=self._body.get("status", {}).get("tls", {}), may_write=self._may_act,
        )  # fmt: skip

    def _pending_restart(self, seen: Observed) -> PendingRestart | None:
        if self._refused:
            return None
        annotations = self._body["metadata"].get("annotations", {})
        return look_at_restart(
            self._wish, seen, self._wanted.spec.restarts,
            approved_with=annotations.get(APPROVE_ANNOTATION, ""),
            now=self._now,
        )  # fmt: skip

    def _goal(self, spec: ClusterSpec, pending: PendingRestart | None) -> Goal:
        return Goal(
            replicas=spec.replicas,
            template_hash=self._wish.hash,
            made_of=self._wish.made_of.annotation(),
            may_restart=pending is None or pending.may_restart,
            may_mend=pending is None or pending.may_mend,
            restart_why="" if pending is None else "; ".join(pending.changes),
            delete_claims=spec.storage.retention.on_scale_down == "Delete",
            paused=spec.paused,
            spec_refused=self._refused,
            storage_size=spec.storage.size,
            recovery=self._body["metadata"].get("annotations", {}).get(RECOVER_ANNOTATION, ""),
        )

    def _take(self, plan: Plan, admin: BrokerAdmin | None, seen: Observed) -> str:
        """Take the step and return why not; "": done, or there was none."""
        if plan.step is None:
            return ""
        if isinstance(plan.step, RecordFounding | FinishRecovery):
            self._record(_founding(plan.step))
        try:
            self._context.may_act()  # a change of membership is no write to the API server
            text = carry_out(plan.step, self._api, admin, self._wanted, seen)
        except (ApiError, AdminError) as error:
            return str(error)
        self._tell.did(type(plan.step).__name__, text)
        return ""

    def _record(self, status: Json) -> None:
        """Write it before the step: else a crash behind the deletion would permit a second founding.

        Only what is not written yet: an operator that never outlives its first write still gets on.
        """
        if is_news(status, self._body.get("status", {})):
            _patch_status(self._context, self._body, status)

    # --- children that restart nothing ---
    def _apply_secrets(self, seen: Observed) -> Iterator[str]:
        """Make the generated secrets, once, and yield what is wrong with them.

        Another password would split users from the cluster; another secret of the members, those that restart from
        those that run.
        """
        names = self._wanted.names
        for name, build, is_in_use in (
            (names.admin_secret, configuration.admin_secret, bool(seen.claims)),
            (names.peer_secret, configuration.peer_secret, any(pod.running for pod in seen.pods)),
        ):
            if self._api.get("v1", "Secret", names.namespace, name) is not None:
                continue
            if is_in_use:
                yield (
                    f"the Secret {name} is gone, and what members have is not made again: restore it, from a backup "
                    "or from a pod that has it mounted"
                )
                continue
            body = build(self._wanted, secrets.token_urlsafe(limits.PASSWORD_BYTES))
            if text := refusal(partial(self._api.create, body)):
                yield text

    def _settings_file(self, seen: Observed) -> str:
        """Return what members are to read: a key that needs a restart comes with it, not before."""
        in_force = None if seen.workload is None else read_made_of(seen.workload.made_of)
        return configuration.settings_file(
            self._wanted,
            starting_with=None if in_force is None else in_force.settings,
            present=seen.settings_file,
        )

    def _apply_children(self, seen: Observed) -> list[Fact]:
        """Apply what may change at any time, where it differs from what is there; return what there is to say of it."""
        refused = [*self._apply_secrets(seen), *self._apply_quiet(seen)]
        wrong = (
            [Fact("SpecValid", False, Refusal.SPEC_REFUSED, "; ".join(refused))] if refused else []
        )
        return [*wrong, keep_pod_monitor(self._api, self._wanted)]

    def _apply_quiet(self, seen: Observed) -> Iterator[str]:
        """Apply the objects and yield what the API server refuses: it keeps no other from being mended."""
        api, wanted = self._api, self._wanted
        needed = pods_needed(wanted.spec.replicas, seen)
        policy = wanted.spec.network_policy
        writes = [
            partial(apply_if_changed, api, body)
            for body in (
                disruption.service_account(wanted),
                network.peer_service(wanted),
                network.client_service(wanted),
                configuration.config_map(wanted, self._settings_file(seen)),
                *([network.network_policy(wanted)] if policy.enabled else []),
                *(
                    []
                    if needed is None
                    else [disruption.disruption_budget(wanted, pods_needed=needed)]
                ),
            )
        ]
        if needed is None:
            writes.append(
                partial(
                    delete_ours, api, wanted, *disruption.BUDGET, wanted.names.disruption_budget
                )
            )
        if not policy.enabled:
            writes.append(
                partial(delete_ours, api, wanted, *network.POLICY, wanted.names.network_policy)
            )
        writes.append(partial(mend_workload, api, wanted, seen, template=self._template))
        return filter(None, map(refusal, writes))


def look_again_s(facts: Iterable[Fact], *, is_done: bool, is_for_somebody: bool = False) -> float:
    """Return after how long to look again when nothing happens; `is_for_somebody`: nothing else will end the wait."""
    if is_for_somebody:
        return limits.RECONCILE_DEGRADED_S
    if not is_done:
        return limits.RECONCILE_AGAIN_S
    is_degraded = any(fact.type == "Degraded" and fact.is_true for fact in facts)
    return limits.RECONCILE_DEGRADED_S if is_degraded else limits.RECONCILE_IDLE_S


def _founding(step: RecordFounding | FinishRecovery) -> Json:
    """Return what status has to say of the cluster from now on."""
    status: Json = {"clusterUid": str(step.cluster_uid)}
    if isinstance(step, FinishRecovery):
        status["recovery"] = show_completed(step.request)
    return status


def _write_status(context: Context, body: Json, status: Json, facts: list[Fact]) -> None:
    """Write the status if it says anything new."""
    before = body.get("status", {})
    generation = body["metadata"]["generation"]
    status["conditions"] = merge_conditions(
        facts, before.get("conditions", []), generation=generation, now=context.now()
    )
    metadata = body["metadata"]
    key = (metadata["namespace"], metadata["name"])
    context.metrics.clusters.tell(key, status)
    if is_news(status, before):
        _patch_status(context, body, status)
        Teller(context.api, context.metrics, body, context.now).refused(facts)


def _patch_status(context: Context, body: Json, status: Json) -> None:
    """Write into the status of the very resource that was looked at.

    Raises:
        _Moved: it has changed since, so that what was decided on it may be wrong by now.
        ApiError: the API server does not answer.
    """
    metadata = body["metadata"]
    try:
        metadata["resourceVersion"] = context.api.patch_status(
            API_VERSION, KIND, metadata["namespace"], metadata["name"], status,
            version=metadata["resourceVersion"],
        )  # fmt: skip
    except ApiError as error:
        if error.status == CONFLICT:
            raise _Moved from error
        raise


class _Moved(Exception):
    """The resource has changed during the look: the next one decides."""
