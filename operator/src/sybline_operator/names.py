"""What the children of a cluster are called, and the labels that find them.

Pure. A name is derived, never stored: who knows the cluster knows all of its objects.
"""

from dataclasses import dataclass
from typing import Final

GROUP: Final = "sybline.io"
VERSION: Final = "v1alpha1"
KIND: Final = "SyblineCluster"
PLURAL: Final = "syblineclusters"
FIELD_MANAGER: Final = "sybline-operator"
OPERATOR_LABELS: Final = {
    "app.kubernetes.io/name": "sybline-operator"
}  # of its pods, as the chart sets them

CLUSTER_LABEL: Final = "sybline.io/cluster"
TEMPLATE_ANNOTATION: Final = "sybline.io/template"  # hash of the pod template a pod was made from
LEFT_ANNOTATION: Final = (
    "sybline.io/left"  # how the StatefulSet was left: its generation, a hash of what was wanted
)
APPROVE_ANNOTATION: Final = "sybline.io/approve-restart"  # the template hash that may be rolled out
RECOVER_ANNOTATION: Final = "sybline.io/recover-quorum"  # the request in status.recovery

CLIENT_PORT: Final = 2221
HTTP_PORT: Final = 7878
PEER_PORT: Final = 1111


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one cluster."""

    namespace: str
    cluster: str

    @property
    def cluster_id(self) -> str:
        """Return what the members call their cluster; the same when the resource is made anew over its old disks."""
        return f"{self.namespace}.{self.cluster}"  # a namespace has no dot

    @property
    def stateful_set(self) -> str:
        return self.cluster

    @property
    def client_service(self) -> str:
        return self.cluster

    @property
    def peer_service(self) -> str:
        return f"{self.cluster}-peers"

    @property
    def config_map(self) -> str:
        return f"{self.cluster}-config"

    @property
    def seed_config_map(self) -> str:
        """Return the one-time permission to found the cluster."""
        return f"{self.cluster}-seed"

    @property
    def admin_secret(self) -> str:
        return f"{self.cluster}-admin"

    @property
    def peer_secret(self) -> str:
        return f"{self.cluster}-peer"

    @property
    def recovery_config_map(self) -> str:
        """Return the one-time order to go on without the others."""
        return f"{self.cluster}-recovery"

    @property
    def ca_secret(self) -> str:
        """Return the operator's own CA, which no pod sees."""
        return f"{self.cluster}-ca"

    @property
    def tls_secret(self) -> str:
        """Return what members serve with and whom they trust: mounted into every pod."""
        return f"{self.cluster}-tls"

    @property
    def issued_secret(self) -> str:
        """Return where cert-manager puts what it issued."""
        return f"{self.cluster}-issued"

    @property
    def client_ca_config_map(self) -> str:
        """Return the CAs that clients are to trust."""
        return f"{self.cluster}-ca"

    @property
    def service_account(self) -> str:
        return self.cluster

    @property
    def disruption_budget(self) -> str:
        return self.cluster

    @property
    def network_policy(self) -> str:
        return self.cluster

    @property
    def pod_monitor(self) -> str:
        return self.cluster

    @property
    def secrets(self) -> frozenset[str]:
        """Return the names of all Secrets that are the operator's."""
        return frozenset(
            {
                self.admin_secret,
                self.peer_secret,
                self.tls_secret,
                self.issued_secret,
                self.ca_secret,
            }
        )

    def pod(self, ordinal: int) -> str:
        return f"{self.stateful_set}-{ordinal}"

    def claim(self, ordinal: int) -> str:
        return self.claim_of(self.pod(ordinal))

    def claim_of(self, pod: str) -> str:
        return f"data-{pod}"

    def ordinal(self, pod: str) -> int | None:
        """Return the ordinal in a pod's name; None: not a pod of this cluster."""
        prefix, dash, number = pod.rpartition("-")
        if prefix != self.stateful_set or not dash or not number.isdecimal():
            return None
        return int(number) if str(int(number)) == number else None

    def ordinal_of_claim(self, claim: str) -> int | None:
        """Return the ordinal of the pod that finds a claim by its name; None: no pod of this cluster does."""
        pod = claim.removeprefix("data-")
        return None if pod == claim else self.ordinal(pod)

    @property
    def client_host(self) -> str:
        """Return the name that clients inside Kubernetes dial."""
        return f"{self.client_service}.{self.namespace}.svc"

    @property
    def peer_identity(self) -> str:
        """Return the URI name that only members' certificates carry."""
        return f"sybline://{self.cluster_id}/peer"

    def peer_host(self, pod: str) -> str:
        return f"{pod}.{self.peer_service}.{self.namespace}.svc"

    def peer_address(self, pod: str) -> str:
        """Return where other members find a pod."""
        return f"{self.peer_host(pod)}:{PEER_PORT}"

    @property
    def selector(self) -> dict[str, str]:
        """Return the labels that find the pods."""
        return {"app.kubernetes.io/name": "sybline", CLUSTER_LABEL: self.cluster}

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of every child."""
        return {
            **self.selector,
            "app.kubernetes.io/instance": self.cluster,
            "app.kubernetes.io/component": "broker",
            "app.kubernetes.io/managed-by": FIELD_MANAGER,
        }
