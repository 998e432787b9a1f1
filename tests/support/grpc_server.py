"""A gRPC server for the time of a block.

grpc.aio's server schedules its shutdown on its loop when it is collected, stopped or not; when pytest has closed that
loop by then, a warning is left. So the server is collected here, while the loop runs.
"""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable

import grpc


@contextlib.asynccontextmanager
async def serving(
    add: Callable[[grpc.aio.Server], None],
    *,
    compression: grpc.Compression = grpc.Compression.NoCompression,
) -> AsyncIterator[str]:
    """Serve what `add` adds, on a free loopback port; the block gets the address."""
    server = grpc.aio.server(compression=compression)
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
        del server
        gc.collect()
        await asyncio.sleep(0)
