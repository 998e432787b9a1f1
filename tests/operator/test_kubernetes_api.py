"""Requests to the API server: paths, absence, refusals, and every way of getting no answer."""

import socket
from collections.abc import Iterator

import pytest

from sybline_operator.kubernetes_api import ApiError, KubernetesApi, plural
from tests.operator.api_stub import ApiStub

SETTINGS = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "settings", "namespace": "here"},
}


@pytest.fixture
def stub() -> Iterator[ApiStub]:
    with ApiStub().serving() as stub:
        yield stub


@pytest.fixture
def answers() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def api(stub: ApiStub, answers: list[tuple[str, int]]) -> KubernetesApi:
    return KubernetesApi(
        stub.new_client(), on_answer=lambda *answer: answers.append(answer), timeout_s=0.2
    )


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("Pod", "pods"),
        ("NetworkPolicy", "networkpolicies"),
        ("StorageClass", "storageclasses"),
        ("SyblineCluster", "syblineclusters"),
    ],
)
def test_kinds_are_found_under_their_plural(kind: str, word: str) -> None:
    assert plural(kind) == word


def test_an_object_that_is_not_there_is_none_and_a_refusal_is_an_error(
    stub: ApiStub, api: KubernetesApi
) -> None:
    assert api.get("v1", "ConfigMap", "here", "settings") is None
    stub.instead = lambda *_: (403, {"message": "you may not"})
    with pytest.raises(ApiError, match="you may not") as refused:
        api.get("v1", "ConfigMap", "here", "settings")
    assert refused.value.status == 403


def test_making_an_object_twice_makes_it_once(stub: ApiStub, api: KubernetesApi) -> None:
    assert api.create(SETTINGS)
    assert not api.create(SETTINGS)
    assert list(stub.objects) == ["/api/v1/namespaces/here/configmaps/settings"]


def test_a_kind_without_namespace_is_reached_without_one(stub: ApiStub, api: KubernetesApi) -> None:
    api.get("storage.k8s.io/v1", "StorageClass", "", "fast")
    assert stub.asked == [("GET", "/apis/storage.k8s.io/v1/storageclasses/fast")]


def test_deleting_what_is_gone_or_another_one_of_that_name_does_no_harm(
    stub: ApiStub, api: KubernetesApi
) -> None:
    assert not api.delete("v1", "Pod", "here", "orders-0")
    stub.instead = lambda *_: (409, {"message": "the UID in the precondition does not match"})
    assert not api.delete("v1", "Pod", "here", "orders-0", uid="old")
    with pytest.raises(ApiError):
        api.delete("v1", "Pod", "here", "orders-0")


def test_a_write_that_is_forbidden_is_not_sent(stub: ApiStub) -> None:
    def forbid() -> None:
        raise ApiError("write", 0, "another replica acts")

    api = KubernetesApi(stub.new_client(), before_write=forbid)
    with pytest.raises(ApiError, match="another replica"):
        api.create(SETTINGS)
    assert api.get("v1", "ConfigMap", "here", "settings") is None
    assert [method for method, _ in stub.asked] == ["GET"]


def test_nobody_listens(api: KubernetesApi, answers: list[tuple[str, int]]) -> None:
    with ApiStub().serving() as closed:
        lost = KubernetesApi(closed.new_client(), on_answer=lambda *a: answers.append(a))
    with pytest.raises(ApiError) as error:
        lost.list("v1", "Pod", "here", {})
    assert error.value.status == 0
    assert answers == [("list", 0)]


def test_somebody_listens_and_never_answers(api: KubernetesApi, stub: ApiStub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stub.url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        silent = KubernetesApi(stub.new_client(), timeout_s=0.1)
        with pytest.raises(ApiError, match="timed out"):
            silent.get("v1", "Pod", "here", "orders-0")


def test_an_answer_that_is_no_json_is_an_error(stub: ApiStub, api: KubernetesApi) -> None:
    stub.instead = lambda *_: (200, b"<html>a proxy says hello</html>")
    with pytest.raises(ApiError):
        api.get("v1", "Pod", "here", "orders-0")


def test_no_request_is_sent_a_second_time_behind_our_back(
    stub: ApiStub, api: KubernetesApi
) -> None:
    stub.instead = lambda *_: (503, {"message": "etcd is away"})
    with pytest.raises(ApiError, match="etcd is away"):
        api.list("v1", "Pod", "here", {})
    assert len(stub.asked) == 1
