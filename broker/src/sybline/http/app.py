"""What the HTTP port answers: is this member alive, is it ready, and its metrics. Changes nothing, needs no login.

Everything else is 404 or 405 with the error body of the wire contract, `{"message": "<text>"}`. Answers are built on
the loop, because they read what only the loop may touch.
"""

from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sybline.http.server import PROVED
from sybline.telemetry.exposition import CONTENT_TYPE
from sybline.telemetry.metrics import Metrics

UNMATCHED: Final = "unmatched"  # stands for every path without a route, in metrics
_FRESH: Final = {"cache-control": "no-store"}


class Health(Protocol):
    """What a member says of itself; "" means well, anything else is one line why not."""

    def live(self) -> str:
        """Whether the process should go on: a "no" gets it restarted."""

    def ready(self) -> str:
        """Whether clients should be sent here."""


def build_app(
    *, metrics: Metrics, health: Health, metrics_need_certificate: bool = False
) -> Starlette:
    """Return the application for GET and HEAD of /livez, /readyz and /metrics.

    `metrics_need_certificate`: show metrics only over connections with a verified client certificate. Health is for
    probes, which have none.
    """

    async def livez(_request: Request) -> Response:
        return _verdict(health.live())

    async def readyz(_request: Request) -> Response:
        return _verdict(health.ready())

    async def metrics_page(request: Request) -> Response:
        if metrics_need_certificate and not getattr(request.state, PROVED, False):
            raise HTTPException(403, "a client certificate is required")
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    app = Starlette(
        routes=[
            Route("/livez", livez, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics_page, methods=["GET"]),
        ],
        middleware=[Middleware(_Counted, metrics=metrics)],
        exception_handlers={HTTPException: _refused, 500: _failed},
    )
    app.router.redirect_slashes = False
    return app


def _verdict(reason: str) -> Response:
    if reason:
        return JSONResponse({"message": reason}, status_code=503, headers=_FRESH)
    return PlainTextResponse("ok\n", headers=_FRESH)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"message": error.detail}, status_code=error.status_code, headers=error.headers
    )


async def _failed(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"message": "internal error"}, status_code=500)


class _Counted:
    """Counts every request with its route, status and time."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        status = 500  # unless an answer begins

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started_s = self._metrics.http_started(method)
        try:
            await self._app(scope, receive, send_noted)
        finally:
            route = scope.get("route")
            path = route.path if isinstance(route, Route) else UNMATCHED
            self._metrics.http_ended(method, path, status, started_s=started_s)
