"""One look at one cluster: observe, repair the quiet children, plan, take at most one step, tell the status.

The same function for every reason to look. It keeps nothing between two looks, and two of it at once do no harm:
objects are applied whole, membership changes carry the expected version.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

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
from sybline_operator.quiet import delete_ours, refusal, refusal_of
from sybline_operator.reasons import Refusal
from sybline_operator.recovery import show_completed
from sybline_operator.resource.spec import ClusterSpec, SpecError, parse_spec, watched_part
from sybline_operator.restarts import PendingRestart, Wish, look_at_restart
from sybline_operator.status import Fact, describe, is_news, merge_conditions
from sybline_operator.steps import FinishRecovery, RecordFounding
from sybline_operator.telling import Teller
from sybline_operator.tls.upkeep import Upkeep

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
    spec, refused = _read_spec(body.get("spec", {}))
    wanted = Wanted(
        spec, Names(namespace, name), Owner(name, body["metadata"]["uid"]), context.default_image,
        context.operator_namespace,
    )  # fmt: skip
    return _Look(context, body, wanted, refused).run()


def _read_spec(raw: Json) -> tuple[ClusterSpec, str]:
    """Return the spec, or as much of it as can be used, and why it cannot be carried out; "": it can."""
    try:
        return parse_spec(raw), ""
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
        if self._may_act:
            self._apply_secrets()
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
            children = self._apply_quiet(seen) if self._may_act else []
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
        is_done = plan.is_done and report.is_quiet
        return look_again_s(facts, is_done=is_done)

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
            names = self._wanted.names
            self._api.patch_status(API_VERSION, KIND, names.namespace, names.cluster, status)

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

    def _settings_file(self, seen: Observed) -> str:
        """Return what members are to read: a key that needs a restart comes with it, not before."""
        in_force = None if seen.workload is None else read_made_of(seen.workload.made_of)
        return configuration.settings_file(
            self._wanted,
            starting_with=None if in_force is None else in_force.settings,
            present=seen.settings_file,
        )

    def _apply_quiet(self, seen: Observed) -> list[Fact]:
        """Apply what may change at any time, where it differs from what is there; return what there is to say of it."""
        wanted = self._wanted
        needed = pods_needed(wanted.spec.replicas, seen)
        objects = [
            disruption.service_account(wanted),
            network.peer_service(wanted),
            network.client_service(wanted),
            configuration.config_map(wanted, self._settings_file(seen)),
        ]
        if needed is not None:
            objects.append(disruption.disruption_budget(wanted, pods_needed=needed))
        else:
            delete_ours(self._api, wanted, *disruption.BUDGET, wanted.names.disruption_budget)
        if wanted.spec.network_policy.enabled:
            objects.append(network.network_policy(wanted))
        else:
            delete_ours(self._api, wanted, *network.POLICY, wanted.names.network_policy)
        refused = [text for body in objects if (text := refusal_of(self._api, body))]
        mend = partial(mend_workload, self._api, wanted, seen, template=self._template)
        if text := refusal(mend):
            refused.append(text)
        wrong = (
            [Fact("SpecValid", False, Refusal.SPEC_REFUSED, "; ".join(refused))] if refused else []
        )
        return [*wrong, keep_pod_monitor(self._api, wanted)]


def look_again_s(facts: Iterable[Fact], *, is_done: bool) -> float:
    """Return after how long to look again when nothing happens."""
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
        context.api.patch_status(API_VERSION, KIND, *key, status)
        Teller(context.api, context.metrics, body, context.now).refused(facts)
