"""The raw limits a figure is compared with: a bare grpc.aio echo in its own process, and fdatasync of 4 KiB.

`python -m tests.bench.echo` serves: every method answers its constant at once.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import uvloop

ROOT = Path(__file__).resolve().parents[2]
ANSWER = b"\x08\x01"  # Status(status=True)


class _Echo(grpc.GenericRpcHandler):
    """Answers every unary method."""

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(_answer)


async def _answer(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
    return ANSWER


async def _serve() -> None:
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", 4_194_304),))
    server.add_generic_rpc_handlers((_Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


class EchoServer:
    """The echo's process; use it as a context."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.echo"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.address = f"127.0.0.1:{int(self._process.stdout.readline())}"

    def __enter__(self) -> "EchoServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def measure_fdatasync_s(directory: Path, *, seconds: float = 1.0) -> list[float]:
    """Return the times of appending 4 KiB and fdatasync, one after the other."""
    path, times = directory / "fdatasync", []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, 64 << 20)
        os.fsync(descriptor)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until and len(times) < 10_000:
            start = time.perf_counter()
            os.write(descriptor, b"x" * 4096)
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return times


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
