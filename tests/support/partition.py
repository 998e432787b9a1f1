"""TCP proxies between the members' peer ports, so that links can be cut without root.

Every ordered pair (dialer, listener) has its own proxy port; member `dialer` is told that port instead of the real
one. A *stalled* direction keeps connections open and lets no byte through, like a network that drops packets: what was
sent arrives after the heal. A *broken* link also closes its connections and refuses new ones.

`PeerNetwork` runs the proxies in a process of their own (`python -m tests.support.partition`), told by lines on its
standard input, so that they share no interpreter with the load.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 64 * 1024


@dataclass
class _Gate:
    """Whether bytes may pass from one member to another."""

    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()


class Proxies:
    """The forwarding itself, on one event loop."""

    def __init__(
        self, routes: Iterable[tuple[int, int, int, int]], *, host: str = "127.0.0.1"
    ) -> None:
        """`routes`: (dialer, listener, proxy port, real port); `host`: where the real ports are."""
        self._routes = list(routes)
        self._host = host
        self._gates: dict[tuple[int, int], _Gate] = {}
        self._broken: set[frozenset[int]] = set()
        self._writers: dict[frozenset[int], set[asyncio.StreamWriter]] = {}
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Listen on every proxy port."""
        for dialer, listener, proxy_port, real_port in self._routes:
            server = await asyncio.start_server(
                lambda r, w, d=dialer, n=listener, p=real_port: self._serve(r, w, d, n, p),
                "127.0.0.1",
                proxy_port,
            )
            self._servers.append(server)

    async def stop(self) -> None:
        """Close every port and every connection."""
        for server in self._servers:
            server.close()
        for writers in self._writers.values():
            for writer in writers:
                writer.transport.abort()
        for server in self._servers:
            await server.wait_closed()

    def stall(self, source: int, target: int) -> None:
        """Let no byte from `source` reach `target` until healed."""
        self._gate(source, target).open.clear()

    def break_link(self, one: int, other: int) -> None:
        """Close the connections between two members and refuse new ones until healed."""
        pair = frozenset((one, other))
        self._broken.add(pair)
        for writer in self._writers.pop(pair, set()):
            writer.transport.abort()

    def heal(self) -> None:
        """Undo every stall and break."""
        self._broken.clear()
        for gate in self._gates.values():
            gate.open.set()

    def _gate(self, source: int, target: int) -> _Gate:
        return self._gates.setdefault((source, target), _Gate())

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        dialer: int,
        listener: int,
        port: int,
    ) -> None:
        pair = frozenset((dialer, listener))
        if pair in self._broken:
            writer.transport.abort()
            return
        await self._gate(dialer, listener).open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, port)
        except OSError:
            writer.transport.abort()
            return
        writers = self._writers.setdefault(pair, set())
        writers.update((writer, far_writer))
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, self._gate(dialer, listener)),
                self._pump(far_reader, writer, self._gate(listener, dialer)),
            )
        finally:
            for each in (writer, far_writer):
                writers.discard(each)
                each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: _Gate
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await gate.open.wait()
                writer.write(data)
                await writer.drain()
        await gate.open.wait()  # an end of stream travels no faster than bytes do
        writer.transport.abort()


async def _obey() -> None:
    routes = json.loads(sys.argv[1])
    proxies = Proxies(tuple(route) for route in routes)
    await proxies.start()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, *numbers = line.split()
        members = [int(number) for number in numbers]
        if word == "stall":
            proxies.stall(*members)
        elif word == "break":
            proxies.break_link(*members)
        elif word == "heal":
            proxies.heal()
        print("done", flush=True)


class PeerNetwork:
    """The proxies' process and the orders to it. Close it, or use it as a context."""

    def __init__(self, peer_ports: dict[int, int]) -> None:
        self.members = tuple(peer_ports)
        self._proxy_ports = {
            (dialer, listener): free_port()
            for dialer in peer_ports
            for listener in peer_ports
            if dialer != listener
        }
        routes = [(d, n, port, peer_ports[n]) for (d, n), port in self._proxy_ports.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.partition", json.dumps(routes)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._expect("ready")

    def port(self, dialer: int, listener: int) -> int:
        """Return the port on which `dialer` reaches `listener`."""
        return self._proxy_ports[dialer, listener]

    def stall(self, source: int, target: int) -> None:
        """Stop one direction without closing anything."""
        self._order(f"stall {source} {target}")

    def isolate(self, member: int) -> None:
        """Stop both directions between `member` and all others, silently."""
        for other in self.members:
            if other != member:
                self.stall(member, other)
                self.stall(other, member)

    def break_off(self, member: int) -> None:
        """Close the connections between `member` and all others and refuse new ones."""
        for other in self.members:
            if other != member:
                self._order(f"break {member} {other}")

    def heal(self) -> None:
        """Undo everything."""
        self._order("heal")

    def close(self) -> None:
        """End the proxies."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> "PeerNetwork":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        assert answer == word, f"the proxies said {answer!r} instead of {word!r}"


if __name__ == "__main__":
    asyncio.run(_obey())
