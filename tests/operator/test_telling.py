"""What is told of steps and refusals: each once, with a reason of the closed list, and without secrets."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sybline.telemetry.logging import configure_logging
from sybline_operator.kubernetes_api import KubernetesApi
from sybline_operator.metrics import Metrics
from sybline_operator.reasons import REFUSALS, STEPS, Refusal, refused
from sybline_operator.status import Fact, merge_conditions
from sybline_operator.telling import Teller
from tests.operator.api_stub import ApiStub

EVENTS = "/api/v1/namespaces/here/events/"


@pytest.fixture
def stub() -> Iterator[ApiStub]:
    with ApiStub().serving() as stub:
        yield stub


class Resource:
    """A SyblineCluster whose conditions are stored between two looks."""

    def __init__(self, stub: ApiStub) -> None:
        self.stub = stub
        self.metrics = Metrics()
        self.conditions: list[dict[str, Any]] = []

    def teller(self) -> Teller:
        body = {
            "apiVersion": "sybline.io/v1alpha1",
            "kind": "SyblineCluster",
            "metadata": {"name": "orders", "namespace": "here", "uid": "u1"},
            "status": {"conditions": self.conditions},
        }
        api = KubernetesApi(self.stub.new_client())
        return Teller(api, self.metrics, body, lambda: "2026-01-01T00:00:00Z")

    def look(self, *facts: Fact) -> None:
        self.teller().refused(facts)
        self.conditions = merge_conditions(list(facts), self.conditions, generation=1, now="now")

    def events(self) -> list[tuple[str, str, int]]:
        found = [body for path, body in self.stub.objects.items() if path.startswith(EVENTS)]
        return [(event["reason"], event["message"], event["count"]) for event in found]


@pytest.fixture
def resource(stub: ApiStub) -> Resource:
    return Resource(stub)


def waits(reason: str, text: str) -> Fact:
    return Fact("Progressing", True, reason, text)


def test_a_refusal_is_told_when_it_begins_and_not_while_it_lasts(resource: Resource) -> None:
    for lag in (9, 7, 5):
        resource.look(waits(Refusal.NOT_SAFE_TO_STOP, f"lag {lag}"))
    assert resource.events() == [("NotSafeToStop", "lag 9", 1)]


def test_a_refusal_that_comes_back_is_counted_in_the_event_that_is_there(
    resource: Resource,
) -> None:
    for reason in (Refusal.NO_QUORUM, "Waiting", Refusal.NO_QUORUM):
        resource.look(waits(reason, "nobody leads"))
    assert resource.events() == [("NoQuorum", "nobody leads", 2)]


def test_another_refusal_is_told_beside_the_first(resource: Resource) -> None:
    resource.look(waits(refused("AddMember"), "FAILED_PRECONDITION"))
    resource.look(waits(refused("PromoteMember"), "FAILED_PRECONDITION"))
    assert [reason for reason, *_ in resource.events()] == [
        "AddMemberRefused",
        "PromoteMemberRefused",
    ]


def test_plain_waiting_is_told_to_nobody(resource: Resource) -> None:
    resource.look(waits("Waiting", "orders-1 catches up"), Fact("Available", True, "Serving"))
    assert resource.events() == []


def test_a_step_is_told_and_counted_each_time_it_is_taken(resource: Resource) -> None:
    for _ in range(3):
        resource.teller().did("RestartPod", "Restarting orders-1")
    assert resource.events() == [("RestartPod", "Restarting orders-1", 3)]
    steps = resource.metrics.registry.get_sample_value(
        "sybline_operator_steps_total", {"step": "RestartPod"}
    )
    assert steps == 3


def test_a_step_without_a_reason_of_the_list_cannot_be_told(resource: Resource) -> None:
    with pytest.raises(AssertionError):
        resource.teller().did("Improvise", "")


def test_that_events_cannot_be_left_changes_nothing(stub: ApiStub, resource: Resource) -> None:
    stub.instead = lambda *_: (403, {"message": "you may not"})
    resource.teller().did("RestartPod", "Restarting orders-1")
    assert resource.events() == []


def test_reasons_are_what_kubernetes_accepts() -> None:
    for reason in STEPS | REFUSALS:
        assert reason.isalpha()
        assert reason[0].isupper()
        assert len(reason) <= 128  # of an event


def test_a_line_of_the_log_names_the_cluster_and_withholds_what_is_called_a_secret(
    resource: Resource,
) -> None:
    stream = io.StringIO()
    configure_logging(level="info", member=None, stream=stream)
    teller = resource.teller()
    teller.did("AddMember", "Added orders-1 as a learner")
    teller._log.warning("event_not_left", password="swordfish", peer_secret="swordfish")
    step, slip = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert step["event"] == "step_taken"
    assert (step["namespace"], step["cluster"], step["step"]) == ("here", "orders", "AddMember")
    assert step["reason"] == "Added orders-1 as a learner"
    assert "swordfish" not in json.dumps(slip)
