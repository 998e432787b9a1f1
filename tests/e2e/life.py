"""A SyblineCluster as an administrator and its clients see it: what scenarios look at, change and wait for.

A scenario changes one thing, and returns when the cluster has come to rest. What happened to the clients meanwhile is
measured around it (`measure.py`); nothing here knows the operator's own code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.e2e.kube import Json, Kube, wait_for
from tests.support.channels import Trust
from tests.support.cluster import ADMIN, ADMIN_PASSWORD

CLUSTER: Final = "orders"
SETTLED_S: Final = 240.0  # for one scenario; a loaded machine starts a pod within 20 s
GONE_S: Final = 120.0
CLIENT_PORT: Final = "grpc"  # its name in the Service


@dataclass(frozen=True)
class Life:
    """One cluster in its namespace, with the image that its members run."""

    kube: Kube
    image: str
    name: str = CLUSTER
    tls: bool = True

    # --- looking ---
    def body(self) -> Json:
        """Return the resource, status included."""
        return self.kube.get("syb", self.name)

    def status(self) -> Json:
        """Return the status; empty before the operator's first look."""
        status: Json = self.body().get("status", {})
        return status

    def condition(self, kind: str) -> str:
        """Return True, False or Unknown as Kubernetes writes them; "": there is no such condition."""
        return condition_of(self.status(), kind)

    def members(self) -> list[Json]:
        """Return the rows of the status."""
        rows: list[Json] = self.status().get("members", [])
        return rows

    def member(self, role: str) -> Json:
        """Return one member of a role, such as a follower to be hurt."""
        rows = self.members()
        found = [row for row in rows if row["role"] == role]
        assert found, f"no {role} in {rows}"
        return found[0]

    def pods(self) -> dict[str, Json]:
        """Return the pods by name."""
        found = self.kube.list("pod", f"sybline.io/cluster={self.name}")
        return {pod["metadata"]["name"]: pod for pod in found}

    def uids(self) -> dict[str, str]:
        """Return the identity of each pod: another one after a restart."""
        return {name: pod["metadata"]["uid"] for name, pod in self.pods().items()}

    # --- clients ---
    def addresses(self) -> list[str]:
        """Return where the members' Service answers outside Kubernetes: a port of every node."""
        ports = self.kube.get("service", self.name)["spec"]["ports"]
        [port] = [port["nodePort"] for port in ports if port["name"] == CLIENT_PORT]
        return [
            f"{address['address']}:{port}"
            for node in self.kube.list("node")
            for address in node["status"]["addresses"]
            if address["type"] == "InternalIP"
        ]

    def trust(self) -> Trust | None:
        """Return what a client needs to trust the members; None: they speak plain text."""
        if not self.tls:
            return None
        ca: str = self.kube.get("configmap", f"{self.name}-ca")["data"]["ca.crt"]
        return Trust(ca.encode(), host=f"{self.name}.{self.kube.namespace}.svc")

    # --- waiting ---
    def settle(self, voters: int) -> float:
        """Wait until so many voters are at rest; return the seconds it took.

        Raises:
            Failed: not in time; the message tells the last phase.
        """
        last: Json = {}

        def is_settled() -> bool:
            last.update(self.body())
            return is_at_rest(last, voters) and self._are_ready(voters)

        def what() -> str:
            return f"{voters} voters at rest; it says: {last.get('status', {}).get('phase')}"

        return wait_for(what, is_settled, deadline_s=SETTLED_S)

    def _are_ready(self, count: int) -> bool:
        """Return whether so many pods are ready by themselves: the status may be a moment older."""
        pods = self.pods().values()
        ready = [
            condition["status"]
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready"
        ]
        return len(pods) == count and ready == ["True"] * count

    # --- acting ---
    def install(self, replicas: int = 3) -> float:
        """Apply the resource, with a password that the load knows; return the seconds until it was available."""
        self.kube.apply(
            {
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{self.name}-admin"},
                "stringData": {"username": ADMIN, "password": f"{ADMIN_PASSWORD}\n"},
            }
        )  # fmt: skip
        self.kube.apply(self.resource(replicas))
        available_s = wait_for(
            "the cluster is available",
            lambda: self.condition("Available") == "True",
            deadline_s=SETTLED_S,
        )
        self.settle(replicas)
        return available_s

    def resource(self, replicas: int) -> Json:
        """Return the resource as the run applies it first: small, for many pods share a machine."""
        return {
            "apiVersion": "sybline.io/v1alpha1",
            "kind": "SyblineCluster",
            "metadata": {"name": self.name},
            "spec": {
                "replicas": replicas,
                "image": self.image,
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
                "service": {"type": "NodePort"},
                "storage": {"size": "1Gi", "retention": {"onDelete": "Delete"}},
                "tls": {"mode": "SelfSigned" if self.tls else "Disabled"},
                "config": {"queues": {"lease_s": 5}},
            },
        }

    def patch(self, spec: Json) -> None:
        """Change the spec as `kubectl patch` does."""
        self.kube.patch("syb", self.name, {"spec": spec})

    def uninstall(self) -> None:
        """Delete the resource; everything it owned goes."""
        self.kube.kubectl("delete", "syb", self.name, "--timeout=60s")
        wait_for("all pods are gone", lambda: not self.pods(), deadline_s=GONE_S)


@dataclass(frozen=True)
class Scenario:
    """One thing that happens to a cluster of three voters at rest, which is what it leaves behind as well."""

    name: str
    run: Callable[[Life], None]
    core: bool = False  # also in the short run
    unnoticed: bool = False  # no publish may fail meanwhile, not even for a moment


def condition_of(status: Json, kind: str) -> str:
    """Return what a status says of one condition; "": nothing."""
    return next((c["status"] for c in status.get("conditions", []) if c["type"] == kind), "")


def is_at_rest(body: Json, voters: int) -> bool:
    """Return whether the operator has seen the latest spec, has nothing to do, and every member is a fit voter."""
    status = body.get("status", {})
    roles = [member["role"] for member in status.get("members", [])]
    return (
        status.get("observedGeneration") == body["metadata"]["generation"]
        and condition_of(status, "Progressing") == "False"
        and condition_of(status, "Degraded") == "False"
        and len(roles) == voters
        and all(role in ("leader", "voter") for role in roles)
        and status.get("readyReplicas") == voters
    )
