"""Doing one step: through the members where it is about membership, through the API server else.

A step that is refused has done nothing; the next reconcile looks again and decides anew.
"""

from sybline_operator.broker_admin import BrokerAdmin
from sybline_operator.kubernetes_api import KubernetesApi
from sybline_operator.manifests import configuration, workload
from sybline_operator.manifests.common import Wanted
from sybline_operator.observation import Observed
from sybline_operator.steps import (
    AddMember,
    DeleteClaim,
    HandOver,
    PermitFounding,
    PromoteMember,
    RecordFounding,
    RemoveMember,
    RestartPod,
    SetReplicas,
    Step,
    WriteTemplate,
)


def carry_out(
    step: Step, api: KubernetesApi, admin: BrokerAdmin | None, wanted: Wanted, seen: Observed
) -> str:
    """Do it and return what was done, for an event.

    Raises:
        ApiError, AdminError: it was refused, or nobody knows.
    """
    names = wanted.names
    match step:
        case PermitFounding():
            api.apply(configuration.seed_config_map(wanted))
            return f"{names.pod(0)} may found the cluster"
        case RecordFounding():
            api.delete("v1", "ConfigMap", names.namespace, names.seed_config_map)
            return "The cluster is founded"
        case SetReplicas():
            _write_workload(api, wanted, seen, replicas=step.replicas, template_is_new=False)
            return f"Scaled the StatefulSet to {step.replicas}: {step.why}"
        case WriteTemplate():
            assert seen.workload is not None
            replicas = seen.workload.replicas
            _write_workload(api, wanted, seen, replicas=replicas, template_is_new=True)
            return "A new pod template is in force, members are restarted one by one"
        case RestartPod():
            api.delete("v1", "Pod", names.namespace, step.pod, uid=step.uid)
            return f"Restarting {step.pod}: {step.why}"
        case DeleteClaim():
            api.delete("v1", "PersistentVolumeClaim", names.namespace, step.claim)
            return f"Deleted the disk {step.claim} of a member that has left"
        case _:
            assert admin is not None
            return _change_members(step, admin, wanted)


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
            admin.hand_over()
            return f"Handed over leadership: {step.why}"


def _write_workload(
    api: KubernetesApi, wanted: Wanted, seen: Observed, *, replicas: int, template_is_new: bool
) -> None:
    """Apply the StatefulSet; without a decision to roll, the template in force stays to the letter."""
    template = workload.pod_template(wanted)
    if seen.workload is not None and not template_is_new:
        template = seen.workload.template
    api.apply(workload.stateful_set(wanted, replicas=replicas, template=template))
