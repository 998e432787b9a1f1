"""Of several operators, the one that holds the Lease acts; the others stand by.

Clocks of two machines are never compared: who stands by measures on its own clock how long the Lease has not moved, who
holds it counts from the moment its last renewal was sent. The holder stops acting well before the others begin.
The library's own election compares wall clocks, and cannot stop what is under way.
"""

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from sybline_operator import limits
from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError, KubernetesApi

log = structlog.get_logger(__name__)
API_VERSION: Final = "coordination.k8s.io/v1"
KIND: Final = "Lease"


class NotActing(ApiError):
    """This process does not hold the Lease, so it may change nothing."""

    def __init__(self) -> None:
        super().__init__("write", 0, "another replica acts")


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who wants which Lease."""

    namespace: str
    name: str
    identity: str  # of the pod: a process that starts again in the same pod goes on at once


class Lease:
    """One Lease in the eyes of one process. `try_once` and `release` block and take turns: call them from threads.

    A renewal that is under way when its task is cancelled still ends, and must not take back what was given away.
    """

    def __init__(self, api: KubernetesApi, candidate: Candidate) -> None:
        self._api = api
        self._candidate = candidate
        self._held_until_s = 0.0
        self._turn = threading.Lock()
        self._is_released = False
        self._seen = ""  # the version that was last seen
        self._seen_s = 0.0  # when it was first seen
        self.holder = ""

    @property
    def is_held(self) -> bool:
        return _now_s() < self._held_until_s

    def check(self) -> None:
        """Raise NotActing unless the Lease is held right now."""
        if not self.is_held:
            raise NotActing

    def try_once(self) -> bool:
        """Take or renew the Lease and return whether it is held; no answer changes nothing."""
        with self._turn:
            return not self._is_released and self._try()

    def _try(self) -> bool:
        sent_s = _now_s()
        try:
            taken = self._take(sent_s)
        except ApiError as error:
            log.warning("lease_not_answered", reason=str(error))
            taken = False
        if taken:
            self._held_until_s = sent_s + limits.LEASE_RENEW_WITHIN_S
            self.holder = self._candidate.identity
        elif self.holder not in ("", self._candidate.identity):
            self._held_until_s = 0.0  # it was taken from us
        return self.is_held

    def release(self) -> None:
        """Give the Lease away for good, so that nobody has to wait; only once nothing is under way."""
        with self._turn:
            self._is_released = True
            self._give_away()

    def _give_away(self) -> None:
        was_held, self._held_until_s = self.is_held, 0.0
        try:
            found = self._get() if was_held else None
            if found is not None and _holder(found) == self._candidate.identity:
                found["spec"]["holderIdentity"] = ""
                self._api.replace(found)
        except ApiError as error:
            log.warning("lease_not_released", reason=str(error))

    def _take(self, now_s: float) -> bool:
        found = self._get()
        if found is None:
            return self._api.create(self._body({}, transitions=0))
        self.holder = _holder(found)
        version = found["metadata"]["resourceVersion"]
        if version != self._seen:
            self._seen, self._seen_s = version, now_s
        if self.holder not in ("", self._candidate.identity) and not self._has_ended(found, now_s):
            return False
        changes_hands = self.holder != self._candidate.identity
        transitions = found["spec"].get("leaseTransitions", 0) + changes_hands
        try:
            taken = self._api.replace(self._body(found, transitions=transitions))
        except ApiError as error:
            if error.status == 409:  # somebody else was faster
                return False
            raise
        self._seen, self._seen_s = taken["metadata"]["resourceVersion"], now_s
        return True

    def _has_ended(self, found: Json, now_s: float) -> bool:
        duration_s = found["spec"].get("leaseDurationSeconds") or limits.LEASE_S
        return now_s - self._seen_s > duration_s

    def _get(self) -> Json | None:
        return self._api.get(API_VERSION, KIND, self._candidate.namespace, self._candidate.name)

    def _body(self, found: Json, *, transitions: int) -> Json:
        """Return the Lease as ours; `found` carries the version that it must still have."""
        # For people: nothing decides by it.
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: TID251
        before = found.get("spec", {})
        goes_on = before.get("holderIdentity") == self._candidate.identity
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": found.get("metadata")
            or {"name": self._candidate.name, "namespace": self._candidate.namespace},
            "spec": {
                "holderIdentity": self._candidate.identity,
                "leaseDurationSeconds": limits.LEASE_S,
                "acquireTime": before.get("acquireTime", now) if goes_on else now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }


async def acquire(lease: Lease, stop: asyncio.Event) -> bool:
    """Wait until the Lease is held; False: stopped before."""
    holder = ""
    while not stop.is_set():
        if await asyncio.to_thread(lease.try_once):
            log.info("lease_taken")
            return True
        if lease.holder != holder:
            holder = lease.holder
            log.info("stands_by", holder=holder)
        try:
            await asyncio.wait_for(stop.wait(), limits.LEASE_RETRY_S)
        except TimeoutError:
            continue
    return False


async def keep(lease: Lease) -> None:
    """Renew the Lease and return when it is lost."""
    while lease.is_held:
        await asyncio.sleep(limits.LEASE_RETRY_S)
        await asyncio.to_thread(lease.try_once)


def _holder(found: Json) -> str:
    return str(found["spec"].get("holderIdentity") or "")


def _now_s() -> float:
    """Return seconds of a clock that goes on while the machine is suspended, as the others' clocks do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
