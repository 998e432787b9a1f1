"""Doing one step: through the members where it is about membership, through the API server else.

A step that is refused has done nothing; the next reconcile looks again and decides anew.
"""

from sybline_operator import recovery_record
from sybline_operator.broker_admin import BrokerAdmin
from sybline_operator.claims import growth
from sybline_operator.crash_points import reach
from sybline_operator.expansion import template_size
from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.manifests import configuration, workload
from sybline_operator.manifests.common import Wanted
from sybline_operator.names import LEFT_ANNOTATION
from sybline_operator.observation import Observed, Victim
from sybline_operator.quiet import delete_ours
from sybline_operator.steps import (
    AddMember,
    BeginRecovery,
    CancelRecovery,
    DeleteClaim,
    ExpandClaim,
    FenceMember,
    FinishRecovery,
    HandOver,
    OrderRecovery,
    PermitFounding,
    PromoteMember,
    RecordFounding,
    RemoveMember,
    RenewBlankDisk,
    ReplaceWorkload,
    RestartPod,
    SetReplicas,
    Step,
    WithdrawFounding,
    WriteTemplate,
)


def carry_out(
    step: Step, api: KubernetesApi, admin: BrokerAdmin | None, wanted: Wanted, seen: Observed
) -> str:
    """Do it and return what was done, for an event.

    Raises:
        ApiError, AdminError: it was refused, or nobody knows.
    """
    name = type(step).__name__
    reach(f"before-{name}")
    text = _do(step, api, admin, wanted, seen)
    reach(f"after-{name}")
    return text


def _do(
    step: Step, api: KubernetesApi, admin: BrokerAdmin | None, wanted: Wanted, seen: Observed
) -> str:
    names = wanted.names
    match step:
        case PermitFounding():
            api.apply(configuration.seed_config_map(wanted))
            return f"{names.pod(0)} may found the cluster"
        case WithdrawFounding():
            delete_ours(api, wanted, "v1", "ConfigMap", names.seed_config_map)
            return "Nobody may found the cluster: disks are here that may belong to one"
        case RenewBlankDisk(victim):
            _delete_with_disk(api, names.namespace, victim)
            return f"Making {victim.pod} anew, whose disk was empty, so that it founds the cluster"
        case RecordFounding():
            delete_ours(api, wanted, "v1", "ConfigMap", names.seed_config_map)
            return "The cluster is founded"
        case SetReplicas():
            _write_workload(api, wanted, seen, replicas=step.replicas, template_is_new=False)
            return f"Scaled the StatefulSet to {step.replicas}: {step.why}"
        case WriteTemplate():
            assert seen.workload is not None
            replicas = seen.workload.replicas
            _write_workload(api, wanted, seen, replicas=replicas, template_is_new=True)
            if not step.why:
                return "Recorded what the pods are made of; nobody is restarted"
            return f"A new pod template is in force: {step.why}"
        case RestartPod():
            api.delete("v1", "Pod", names.namespace, step.pod, uid=step.uid)
            return f"Restarting {step.pod}: {step.why}"
        case DeleteClaim():
            api.delete("v1", "PersistentVolumeClaim", names.namespace, step.claim, uid=step.uid)
            return f"Deleted the disk {step.claim} of a member that has left"
        case ExpandClaim():
            patch = growth(step.uid, step.size)
            api.patch("v1", "PersistentVolumeClaim", names.namespace, step.claim, patch)
            return f"Asked for {step.size} for the disk {step.claim}"
        case ReplaceWorkload():
            key = ("apps/v1", "StatefulSet", names.namespace, names.stateful_set)
            api.delete(*key, uid=step.uid, orphan=True)
            return f"Making the StatefulSet anew for disks of {step.size}; its pods stay"
        case (
            BeginRecovery() | FenceMember() | OrderRecovery() | CancelRecovery() | FinishRecovery()
        ):
            return _recover(step, api, wanted)
        case _:
            assert admin is not None
            return _change_members(step, admin, wanted)


def _delete_with_disk(api: KubernetesApi, namespace: str, victim: Victim) -> None:
    """Delete the claim first: once its pod is gone, another one must not find this disk."""
    if victim.claim_uid:
        api.delete("v1", "PersistentVolumeClaim", namespace, victim.claim, uid=victim.claim_uid)
        reach("claim-deleted")
    if victim.pod_uid:
        api.delete("v1", "Pod", namespace, victim.pod, uid=victim.pod_uid)


def _recover(
    step: BeginRecovery | FenceMember | OrderRecovery | CancelRecovery | FinishRecovery,
    api: KubernetesApi,
    wanted: Wanted,
) -> str:
    names = wanted.names
    record = ("v1", "ConfigMap", names.namespace, names.recovery_config_map)
    match step:
        case BeginRecovery(begun):
            api.create(recovery_record.config_map(wanted, begun))
            return f"Going on with {begun.pod} alone, as asked for by {begun.request}; fencing all others"
        case FenceMember(victim):
            _delete_with_disk(api, names.namespace, victim)
            return f"Deleting the pod {victim.pod} and its disk {victim.claim}: it must never serve again"
        case OrderRecovery(fenced):
            api.patch(*record, recovery_record.order_patch(fenced))
            return f"All others are gone: {fenced.pod} has its order to go on alone"
        case CancelRecovery(why):
            api.delete(*record)
            return f"The recovery is taken back: {why}"
        case FinishRecovery():
            api.delete(*record)
            return (
                f"The survivor leads the new cluster {step.cluster_uid}; new members will join it"
            )


def _change_members(
    step: AddMember | PromoteMember | RemoveMember | HandOver, admin: BrokerAdmin, wanted: Wanted
) -> str:
    match step:
        case AddMember():
            admin.add(wanted.names.peer_address(step.pod), step.pod, step.expected_version)
            return f"Added {step.pod} as a learner"
        case PromoteMember():
            admin.promote(step.id, step.expected_version)
            return f"Promoted {step.pod} to voter"
        case RemoveMember():
            admin.remove(step.id, step.expected_version)
            return f"Removed {step.name} (member {step.id}): {step.why}"
        case HandOver():
            admin.hand_over(step.target)
            return f"Handed over leadership: {step.why}"


def _write_workload(
    api: KubernetesApi, wanted: Wanted, seen: Observed, *, replicas: int, template_is_new: bool
) -> None:
    """Apply the StatefulSet; without a decision to roll, the template in force stays to the letter.

    Raises:
        ApiError: with status 409 if it is not what was seen: another operator may have gone on, and a size that was
            right may take a member's pod away by now.
    """
    template = workload.pod_template(wanted) if template_is_new else None
    body = _workload(wanted, seen, replicas=replicas, template=template, changes=1)
    if seen.workload is not None:
        about = body["metadata"]
        now = api.get(body["apiVersion"], body["kind"], about["namespace"], about["name"])
        if now is None or now["metadata"]["generation"] != seen.workload.generation:
            raise ApiError(f"apply StatefulSet {about['name']}", 409, "it was changed meanwhile")
        about["resourceVersion"] = now["metadata"]["resourceVersion"]
    api.apply(body)


def _workload(
    wanted: Wanted, seen: Observed, *, replicas: int, template: Json | None, changes: int
) -> Json:
    """Return the StatefulSet; `changes`: how many generations further its spec is once this is applied."""
    found = seen.workload
    in_force = found.template if found is not None else seen.revision
    return workload.stateful_set(
        wanted, replicas=replicas, template=template or in_force or workload.pod_template(wanted),
        storage_size=template_size(wanted.spec.storage.size, seen),
        generation=changes + (found.generation if found is not None else 0),
    )  # fmt: skip


def mend_workload(api: KubernetesApi, wanted: Wanted, seen: Observed, *, template: Json) -> None:
    """Apply the StatefulSet again unless it is as an earlier look left it, and that is what is wanted.

    `template`: the wanted one. While that waits for its restart, the one in force stays, for what somebody else made of
    it cannot be told.

    Raises:
        ApiError: refused, or the API server does not answer.
    """
    found = seen.workload
    if found is None or found.deleting:
        return
    is_in_force = found.template_hash == workload.template_hash(template)
    body = _workload(
        wanted, seen, replicas=found.replicas, template=template if is_in_force else None, changes=0
    )
    if found.left != body["metadata"]["annotations"][LEFT_ANNOTATION]:
        api.apply(body)
