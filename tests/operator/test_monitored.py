"""A PodMonitor whose resource definition is missing: said in a condition, and nothing stops for it."""

from typing import Any

import pytest

from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.monitored import keep_pod_monitor
from sybline_operator.names import Names
from sybline_operator.reasons import REFUSALS
from sybline_operator.resource.spec import parse_spec


class Server:
    """An API server that answers writes with one status; 200: it stores them."""

    def __init__(self, status: int, found: Json | None = None) -> None:
        self.status = status
        self.found = found
        self.deleted: list[str] = []

    def get(self, *_: str) -> Json | None:
        return self.found

    def apply(self, body: Json) -> Json:
        if self.status != 200:
            raise ApiError("apply PodMonitor", self.status, "no")
        self.found = body
        return body

    def delete(self, *key: str, uid: str) -> bool:
        self.deleted.append(uid)
        return True


def wanted(*, asked: bool) -> Wanted:
    spec = parse_spec({"monitoring": {"podMonitor": asked}})
    return Wanted(spec, Names("shop", "orders"), Owner("orders", "1"), "sybline:1")


def keep(server: Any, *, asked: bool = True) -> Any:
    return keep_pod_monitor(server, wanted(asked=asked))


def test_a_missing_definition_is_a_condition_and_an_event_and_no_crash() -> None:
    fact = keep(Server(404))
    assert not fact.is_true
    assert fact.reason in REFUSALS, "so that it is told as an event"
    assert "podmonitors.monitoring.coreos.com" in fact.message


def test_a_missing_right_is_told_in_the_servers_words() -> None:
    assert "403" in keep(Server(403)).message


@pytest.mark.parametrize("status", [0, 500])
def test_a_server_that_does_not_answer_ends_the_look(status: int) -> None:
    with pytest.raises(ApiError):
        keep(Server(status))


def test_it_is_applied_once_and_told() -> None:
    server = Server(200)
    assert keep(server).is_true
    server.status = 500  # a second write would be refused
    assert keep(server).is_true


def test_a_pod_monitor_of_somebody_else_stays() -> None:
    labels: Json = {"team": "shop"}
    server = Server(200, {"metadata": {"uid": "7", "labels": labels}})
    fact = keep(server)
    assert fact.reason in REFUSALS
    assert "somebody else" in fact.message
    assert keep(server, asked=False).reason == "NotAsked"
    assert server.deleted == []
    labels |= Names("shop", "orders").labels
    keep(server, asked=False)
    assert server.deleted == ["7"]
