"""What the tests against an API server share: resource definitions, namespaces of their own, a cluster's resource."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

from sybline_operator.names import GROUP, KIND, VERSION, Names
from tests.e2e.kube import Json, run

CLUSTER = "orders"
NOWHERE = {"nodeSelector": {"sybline.io/no-such-node": "true"}}


def define(definition: str, name: str) -> None:
    """Put a resource definition in place and wait until it is served.

    Raises:
        Failed: it is refused, or not served in time.
    """
    run(["kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-"], text=definition)
    run(["kubectl", "wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s"])


def define_clusters() -> None:
    """Put the operator's own resource definition in place."""
    crd = resources.files("sybline_operator.resource").joinpath("crd.yaml").read_text()
    define(crd, f"syblineclusters.{GROUP}")


@contextmanager
def own_namespace() -> Iterator[str]:
    """Make a namespace for one test and let it go afterwards."""
    namespace = f"sybline-{secrets.token_hex(4)}"
    run(["kubectl", "create", "namespace", namespace])
    try:
        yield namespace
    finally:
        run(["kubectl", "delete", "namespace", namespace, "--wait=false", "--ignore-not-found"])


def cluster(names: Names, **spec: Any) -> Json:
    """Return a SyblineCluster; its pods fit no node unless `scheduling` says otherwise."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": names.cluster, "namespace": names.namespace},
        "spec": {"scheduling": NOWHERE, **spec},
    }
