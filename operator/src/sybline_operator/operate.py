"""The operator as a process: its parts, put together, started and stopped in order.

Serves probes from the first moment; then waits for the Lease, if there is one, and for the resource definition; then
watches until SIGTERM. Whoever loses the Lease ends at once: a look that is under way cannot be called back.
"""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from sybline_operator import limits
from sybline_operator.handlers import watch
from sybline_operator.kubernetes_api import ApiError, KubernetesApi, new_client
from sybline_operator.lease import Candidate, Lease, acquire, keep
from sybline_operator.looks import Looks
from sybline_operator.metrics import Metrics
from sybline_operator.names import GROUP, KIND, VERSION
from sybline_operator.probes import serve
from sybline_operator.reconcile import Context, reconcile

log = structlog.get_logger(__name__)
LEASE_LOST: Final = 3  # exit status


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line and the environment."""

    namespaces: tuple[str, ...]  # none: all
    default_image: str  # the broker's
    identity: str
    own_namespace: str = ""  # "": it runs outside of Kubernetes
    listen: str = ""  # "host:port" of probes and metrics; "": none
    lease: Candidate | None = None  # None: it is the only one


async def operate(settings: Settings) -> None:
    """Run until SIGTERM.

    Raises:
        ApiError, OSError: it cannot begin; kopf's errors when it cannot go on.
    """
    process = _Process(settings)
    if not settings.listen:
        await process.run()
        return
    async with serve(settings.listen, process.metrics, process.readiness) as port:
        log.info("listening", port=port)
        await process.run()


class _Process:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = Metrics()
        client = new_client()
        self._lease = None if settings.lease is None else Lease(
            KubernetesApi(client, on_answer=self.metrics.answered, timeout_s=limits.LEASE_TIMEOUT_S),
            settings.lease,
        )  # fmt: skip
        may_act = (lambda: None) if self._lease is None else self._lease.check
        self._api = KubernetesApi(client, before_write=may_act, on_answer=self.metrics.answered)
        self._context = Context(
            api=self._api,
            default_image=settings.default_image,
            operator_namespace=settings.own_namespace,
            now=_now,
            may_act=may_act,
            metrics=self.metrics,
        )
        self._looks: Looks | None = None  # while it acts

    async def run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):  # until kopf has its own
            loop.add_signal_handler(number, stop.set)
        if self._lease is None:
            await self._act(stop)
        elif await acquire(self._lease, stop):
            keeper = asyncio.create_task(keep(self._lease), name="lease")
            keeper.add_done_callback(_end_at_once)
            try:
                await self._act(stop)
            finally:
                keeper.remove_done_callback(_end_at_once)
                keeper.cancel()
            await asyncio.to_thread(self._lease.release)

    async def _act(self, stop: asyncio.Event) -> None:
        self.metrics.acts.set(1)
        if not await self._definition_is_there(stop):
            return
        self._looks = Looks(lambda *key: reconcile(self._context, *key), self.metrics)
        await watch(self._looks, self._settings.namespaces, identity=self._settings.identity)

    async def _definition_is_there(self, stop: asyncio.Event) -> bool:
        """Wait for the resource definition, which may come after the operator; False: stopped before."""
        namespace = next(iter(self._settings.namespaces), "")
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._api.list, f"{GROUP}/{VERSION}", KIND, namespace, {})
                return True
            except ApiError as error:
                log.warning("definition_not_there", reason=str(error))
            try:
                await asyncio.wait_for(stop.wait(), limits.DEFINITION_RETRY_S)
            except TimeoutError:
                continue
        return False

    def readiness(self) -> dict[str, Any]:
        """Return whether the process does what it is there for, and whether it is the one that acts."""
        if self._lease is not None and not self._lease.is_held:
            return {"ready": True, "acts": False, "holder": self._lease.holder}
        if self._looks is None:
            return {"ready": False, "acts": True, "waits_for": "the resource definition"}
        age_s = self._looks.age_s()
        return {
            "ready": age_s < limits.RECONCILE_STALE_S,
            "acts": True,
            "last_look_age_s": round(age_s, 1),
        }


def _end_at_once(_: "asyncio.Task[None]") -> None:
    log.error("lease_lost")
    sys.stderr.flush()
    os._exit(LEASE_LOST)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251 - the edge to the wall clock
