"""Connections of tests for the time of a block, closed for good at its end.

`StreamWriter.close` only begins to close: the socket goes in a later turn of the loop, over TLS after the other side's
goodbye. A loop that ends before leaves it to the collector, which warns in some other test.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CLOSE_S = 5.0


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection at the end of the block, and wait until its socket is closed.

    Raises:
        TimeoutError: something that was written is not taken within CLOSE_S; the connection is cut off then.
    """
    try:
        yield
    finally:
        writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    await writer.wait_closed()
        except TimeoutError:
            writer.transport.abort()
            raise


@contextlib.asynccontextmanager
async def dialled(
    port: int, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Connection]:
    """Connect for the time of a block."""
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    async with closing(writer):
        yield reader, writer


@contextlib.asynccontextmanager
async def dialled_often(port: int, times: int) -> AsyncIterator[list[Connection]]:
    """Hold that many connections for the time of a block."""
    async with contextlib.AsyncExitStack() as held:
        yield [await held.enter_async_context(dialled(port)) for _ in range(times)]
