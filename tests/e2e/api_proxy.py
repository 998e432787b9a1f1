"""A way to the API server that can be cut or can go silent, for a client of this machine."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import yaml

from tests.support.partition import Proxies
from tests.support.ports import free_port

CLIENT, SERVER = 1, 2  # as the proxies number the two ends
START_S = 10.0


class ApiProxy:
    """Use it as a context; `kubeconfig` leads through it."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        """`kubeconfig`: the way without the proxy; `directory`: where the other one is written."""
        settings = yaml.safe_load(kubeconfig.read_text())
        [cluster] = [entry["cluster"] for entry in settings["clusters"]]
        server = urlsplit(cluster["server"])
        assert server.hostname is not None
        port = free_port()
        self._proxies = Proxies([(CLIENT, SERVER, port, server.port or 443)], host=server.hostname)
        # The server's certificate does not name this machine.
        cluster.pop("certificate-authority-data", None)
        cluster.pop("certificate-authority", None)
        cluster.update({"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True})
        self.kubeconfig = directory / "kubeconfig-through-proxy"
        self.kubeconfig.write_text(yaml.safe_dump(settings))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api proxy")

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        self._do(lambda: self._proxies.break_link(CLIENT, SERVER))

    def silence(self) -> None:
        """Let no byte through, in either direction, without closing anything."""
        self._do(lambda: self._proxies.stall(CLIENT, SERVER))
        self._do(lambda: self._proxies.stall(SERVER, CLIENT))

    def heal(self) -> None:
        """Undo all of it."""
        self._do(self._proxies.heal)

    def _do(self, what: Callable[[], None]) -> None:
        async def do() -> None:
            what()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(START_S)

    def __enter__(self) -> "ApiProxy":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxies.start(), self._loop).result(START_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()  # what is stalled could not end
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)
        self._loop.close()

    async def _stop(self) -> None:
        await self._proxies.stop()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
