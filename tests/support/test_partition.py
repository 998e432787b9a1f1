"""The proxies cut and heal what they are told to."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.partition import PeerNetwork
from tests.support.ports import free_port

QUIET_S = 0.15  # long enough on loopback for a byte that may pass to have passed


@pytest.fixture
async def network() -> AsyncIterator[PeerNetwork]:
    """Two members that echo what they receive, and the proxies between them."""
    ports = {1: free_port(), 2: free_port()}

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    servers = [await asyncio.start_server(echo, "127.0.0.1", port) for port in ports.values()]
    with PeerNetwork(ports) as made:
        yield made
    for server in servers:
        server.close()


async def dial(network: PeerNetwork) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", network.port(1, 2))


async def is_quiet(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), QUIET_S)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("direction", [(1, 2), (2, 1)])
async def test_a_stalled_direction_delivers_after_the_heal(
    network: PeerNetwork, direction: tuple[int, int]
) -> None:
    reader, writer = await dial(network)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    network.stall(*direction)
    writer.write(b"b")
    assert await is_quiet(reader)
    network.heal()
    async with asyncio.timeout(5):
        assert await reader.readexactly(1) == b"b"
    writer.close()


async def test_a_broken_link_closes_and_refuses_until_the_heal(network: PeerNetwork) -> None:
    reader, writer = await dial(network)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    network.break_off(1)
    async with asyncio.timeout(5):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()
    reader, writer = await dial(network)
    async with asyncio.timeout(5):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()
    network.heal()
    reader, writer = await dial(network)
    writer.write(b"c")
    async with asyncio.timeout(5):
        assert await reader.readexactly(1) == b"c"
    writer.close()
