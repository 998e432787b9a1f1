"""How Kubernetes wakes a reconcile: changes of a SyblineCluster, changes of its pods and objects, and time.

The only module that knows kopf. A handler decides nothing: it asks for a look, and `Looks` takes care that a cluster is
looked at by one thread at a time, soon after it changed and again when the last look said so.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import kopf
import structlog

from sybline_operator import limits
from sybline_operator.kubernetes_api import ApiError, connect
from sybline_operator.names import CLUSTER_LABEL, GROUP, PLURAL, VERSION
from sybline_operator.reconcile import Context, reconcile

log = structlog.get_logger(__name__)
IMAGE_VARIABLE: Final = "SYBLINE_OPERATOR_BROKER_IMAGE"
Key = tuple[str, str]  # namespace, name


class Looks:
    """One task for each cluster: look, then wait for news or for the time that the look asked for."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._news: dict[Key, asyncio.Event] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self.finished_s = asyncio.get_running_loop().time()  # when the last look ended well

    def wake(self, namespace: str, name: str) -> None:
        """Look at a cluster soon."""
        key = (namespace, name)
        self._news.setdefault(key, asyncio.Event()).set()
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._follow(key))

    def forget(self, namespace: str, name: str) -> None:
        """Stop looking: the resource is gone."""
        task = self._tasks.pop((namespace, name), None)
        self._news.pop((namespace, name), None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Stop all looks; one under way ends by its own time-outs."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, key: Key) -> None:
        while True:
            self._news[key].clear()
            try:
                again_s = await asyncio.to_thread(reconcile, self._context, *key)
                self.finished_s = asyncio.get_running_loop().time()
            except ApiError as error:
                log.warning("look_failed", namespace=key[0], cluster=key[1], error=str(error))
                again_s = limits.ERROR_BACKOFF_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._news[key].wait()


_looks: Looks  # set at startup


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Set the belts of kopf and connect."""
    global _looks
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = limits.API_TIMEOUT_S
    settings.networking.request_timeout = 60
    settings.posting.enabled = False  # events are ours, with reasons
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.progress_storage = kopf.StatusProgressStorage(field="status.kopf")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    context = Context(
        api=await asyncio.to_thread(connect),
        default_image=os.environ.get(IMAGE_VARIABLE, "sybline:0.1.0"),
        now=_now,
    )
    _looks = Looks(context)


@kopf.on.cleanup()
async def stop(**_: Any) -> None:
    """End all looks."""
    await _looks.stop()


@kopf.on.event(GROUP, VERSION, PLURAL)
async def cluster_moved(namespace: str | None, name: str | None, **event: Any) -> None:
    """A cluster was made, changed, deleted, or was there when the operator started."""
    assert namespace is not None
    assert name is not None
    if event["type"] == "DELETED":
        _looks.forget(namespace, name)
    else:
        _looks.wake(namespace, name)


@kopf.on.event("pods", labels={CLUSTER_LABEL: kopf.PRESENT})
@kopf.on.event("statefulsets", labels={CLUSTER_LABEL: kopf.PRESENT})
@kopf.on.event("configmaps", labels={CLUSTER_LABEL: kopf.PRESENT})
@kopf.on.event("services", labels={CLUSTER_LABEL: kopf.PRESENT})
async def child_moved(namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
    """Something that belongs to a cluster changed."""
    assert namespace is not None
    _looks.wake(namespace, labels[CLUSTER_LABEL])


@kopf.on.probe(id="last_look_age_s")
async def last_look_age_s(**_: Any) -> float:
    """Return how long ago a look ended well."""
    return asyncio.get_running_loop().time() - _looks.finished_s


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251 - the edge to the wall clock
