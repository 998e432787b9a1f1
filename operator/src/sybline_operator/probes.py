"""What Kubernetes and Prometheus ask the process: /livez, /readyz, /metrics.

Live: the event loop answers, nothing more, for a restart mends nothing else. Ready: it stands by, or some look ended
well lately; an update of the Deployment goes on only then. An API server that is away is no reason for a restart.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from aiohttp import web

from sybline_operator import limits
from sybline_operator.metrics import Metrics

_PROMETHEUS: Final = "text/plain; version=1.0.0; charset=utf-8"
Readiness = Callable[[], dict[str, Any]]  # "ready" and what explains it


@contextlib.asynccontextmanager
async def serve(listen: str, metrics: Metrics, readiness: Readiness) -> AsyncIterator[int]:
    """Answer on "host:port" for the time of a block, which is given the port.

    Raises:
        OSError: the address cannot be used.
    """

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        found = readiness()
        return web.json_response(found, status=200 if found["ready"] else 503)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": _PROMETHEUS})

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/metrics", exposition),
        ]
    )
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=limits.PROBE_TIMEOUT_S,
        shutdown_timeout=limits.PROBE_STOP_S,
    )
    await runner.setup()
    try:
        host, _, port = listen.rpartition(":")
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
