"""Fixtures of the tests against an API server. They need KUBECONFIG, which `make e2e` sets."""

from collections.abc import Iterator

import pytest

from sybline_operator.kubernetes_api import KubernetesApi, connect
from sybline_operator.names import Names
from tests.e2e.api_server import CLUSTER, define_clusters, own_namespace
from tests.e2e.kube import Kube


@pytest.fixture(scope="module")
def api() -> KubernetesApi:
    """A connection, with the resource definition in place."""
    define_clusters()
    return connect()


@pytest.fixture
def names() -> Iterator[Names]:
    """The names of a cluster in a namespace of its own."""
    with own_namespace() as namespace:
        yield Names(namespace, CLUSTER)


@pytest.fixture
def kube() -> Iterator[Kube]:
    """kubectl in a namespace of its own."""
    with own_namespace() as namespace:
        yield Kube(namespace)
