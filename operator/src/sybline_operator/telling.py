"""Telling what was done and what was refused: as events of the resource, as metrics, and in the log.

A refusal is told when it becomes the reason of a condition, not again while it stays: what was told before is read from
the stored conditions. That an event cannot be left changes nothing.
"""

from collections.abc import Callable, Iterable

import structlog

from sybline_operator.events import event
from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.metrics import Metrics
from sybline_operator.reasons import REFUSALS, STEPS
from sybline_operator.status import Fact

log = structlog.get_logger(__name__)


class Teller:
    """What there is to tell about one resource, during one look."""

    def __init__(
        self, api: KubernetesApi, metrics: Metrics, body: Json, now: Callable[[], str]
    ) -> None:
        """`body`: the resource as it was at the beginning of the look."""
        self._api = api
        self._metrics = metrics
        self._body = body
        self._now = now
        metadata = body["metadata"]
        self._log = log.bind(namespace=metadata["namespace"], cluster=metadata["name"])

    def did(self, step: str, text: str) -> None:
        """Tell of a step that was taken."""
        assert step in STEPS, step
        self._log.info("step_taken", step=step, reason=text)
        self._metrics.steps.labels(step).inc()
        self._leave("Normal", step, text)

    def refused(self, facts: Iterable[Fact]) -> None:
        """Tell of the refusals among the conditions that were not there before."""
        before = self._body.get("status", {}).get("conditions", [])
        told = {condition["reason"] for condition in before}
        for fact in facts:
            if fact.reason in REFUSALS and fact.reason not in told:
                told.add(fact.reason)
                self._log.warning("refused", step=fact.reason, reason=fact.message)
                self._metrics.refusals.labels(fact.reason).inc()
                self._leave("Warning", fact.reason, fact.message)

    def _leave(self, kind: str, reason: str, text: str) -> None:
        """Leave an event; the same once more is counted in the one that is there."""
        now = self._now()
        body = event(self._body, kind, reason, text, now)
        where = (body["apiVersion"], body["kind"], body["metadata"]["namespace"])
        name = body["metadata"]["name"]
        try:
            if self._api.create(body):
                return
            found = self._api.get(*where, name)
            if found is not None:
                again = {"count": found.get("count", 1) + 1, "lastTimestamp": now}
                self._api.patch(*where, name, again)
        except ApiError as error:
            self._log.warning("event_not_left", step=reason, reason=str(error))
