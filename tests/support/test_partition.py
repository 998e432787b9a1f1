"""The proxies cut and heal what they are told to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.support.connections import closing, dialled
from tests.support.partition import PeerNetwork
from tests.support.ports import free_port

QUIET_S = 0.15  # long enough on loopback for a byte that may pass to have passed


@pytest.fixture
async def network() -> AsyncIterator[PeerNetwork]:
    """Two members that echo what they receive, and the proxies between them."""
    ports = {1: free_port(), 2: free_port()}
    ended: list[asyncio.Event] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(end := asyncio.Event())
        async with closing(writer):
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(100):
                    writer.write(data)
        end.set()

    servers = [await asyncio.start_server(echo, "127.0.0.1", port) for port in ports.values()]
    with PeerNetwork(ports) as made:
        yield made
    for server in servers:
        server.close()
    async with asyncio.timeout(5):
        for end in ended:
            await end.wait()


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
    async with dialled(network.port(1, 2)) as (reader, writer):
        await assert_echoes(reader, writer, b"a")
        network.stall(*direction)
        writer.write(b"b")
        assert await is_quiet(reader)
        network.heal()
        async with asyncio.timeout(5):
            assert await reader.readexactly(1) == b"b"


async def test_a_broken_link_closes_and_refuses_until_the_heal(network: PeerNetwork) -> None:
    async with dialled(network.port(1, 2)) as (reader, writer):
        await assert_echoes(reader, writer, b"a")
        network.break_off(1)
        await assert_closed(reader)
    async with dialled(network.port(1, 2)) as (reader, _):
        await assert_closed(reader)
    network.heal()
    async with dialled(network.port(1, 2)) as (reader, writer):
        await assert_echoes(reader, writer, b"c")


async def assert_echoes(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, byte: bytes
) -> None:
    writer.write(byte)
    async with asyncio.timeout(5):
        assert await reader.readexactly(1) == byte


async def assert_closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(5):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
