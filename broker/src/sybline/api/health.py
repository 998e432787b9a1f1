"""grpc.health.v1.Health: whether this member serves.

Not the library's servicer: its Watch streams never end, and a drain would wait for them.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_Context: TypeAlias = (
    "grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]"
)
_Answer = health_pb2.HealthCheckResponse
_SERVING: Final = _Answer(status=_Answer.SERVING)
_NOT_SERVING: Final = _Answer(status=_Answer.NOT_SERVING)
_UNKNOWN: Final = _Answer(status=_Answer.SERVICE_UNKNOWN)


class Health(health_pb2_grpc.HealthServicer):
    """One status for the whole member, under the name of each service and under the empty name."""

    def __init__(self, *services: str) -> None:
        self._names = frozenset(("", *services))
        self._is_serving = False
        self._is_ended = False
        self._changed = asyncio.Event()  # a new one for each change

    def set_serving(self, serving: bool) -> None:
        """Tell everybody who watches."""
        self._is_serving = serving and not self._is_ended
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Not serving, for good: watchers learn it and their streams end."""
        self._is_ended = True
        self.set_serving(False)

    async def Check(
        self,
        request: health_pb2.HealthCheckRequest,
        context: _Context,
    ) -> health_pb2.HealthCheckResponse:
        """Return the status of a service of this member."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self._answer(request.service)

    async def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: _Context,
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield the status of a service now and whenever it changes."""
        told = None
        while True:
            changed, is_last, answer = self._changed, self._is_ended, self._answer(request.service)
            if answer is not told:
                yield answer
                told = answer
            if is_last:
                return
            await changed.wait()

    def _answer(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._names:
            return _UNKNOWN
        return _SERVING if self._is_serving else _NOT_SERVING
