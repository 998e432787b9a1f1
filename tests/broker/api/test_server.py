"""The client port: listener, health, reflection, drain (wire contract §1; C-6; REG-K2)."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sybline.api.server import OPTIONS, ApiServer
from sybline.state_machine.commands import Enqueue
from tests.support.api_server import Api, serving_api
from tests.support.client import Client
from tests.support.cluster import CHANNEL_OPTIONS
from tests.support.waiting import wait_for

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
async def channel(api: Api) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(api.address, options=CHANNEL_OPTIONS) as opened:
        yield opened


async def check(channel: grpc.aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
    return int(answer.status)


async def reflected(channel: grpc.aio.Channel) -> list[str]:
    """Return the names of the services that reflection lists."""
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5
    )
    answers = [answer async for answer in call]
    return [service.name for service in answers[0].list_services_response.service]


# --- listening ---
async def test_reg_k2_a_port_in_use_is_an_error_that_names_it(api: Api) -> None:
    taken = ApiServer(api.parts, host="127.0.0.1", port=api.server.port, reflection=False)
    with pytest.raises(OSError, match=f"127.0.0.1:{api.server.port}"):
        await taken.start()
    await taken.drain(0.0)
    gc.collect()
    await asyncio.sleep(0)


@pytest.mark.parametrize("host", ["::1", "localhost", ""])
async def test_it_listens_where_it_is_told(api: Api, host: str) -> None:
    server = ApiServer(api.parts, host=host, port=0, reflection=False)
    await server.start()
    with socket.create_connection((host or "127.0.0.1", server.port), timeout=5):
        pass
    await server.drain(0.0)
    gc.collect()
    await asyncio.sleep(0)


def test_every_option_is_one_that_grpc_knows() -> None:
    """It ignores the others without a word."""
    library = Path(cygrpc.__file__).read_bytes()
    unknown = [name for name, _ in OPTIONS if name.encode() + b"\0" not in library]
    assert unknown == []


# --- health ---
async def test_a_member_serves_when_it_is_told_so(api: Api, channel: grpc.aio.Channel) -> None:
    for service in ("", "MQ.MQEndpoints", "sybline.v1.Admin"):
        api.server.set_serving(False)
        assert await check(channel, service) == NOT_SERVING
        api.server.set_serving(True)
        assert await check(channel, service) == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as info:
        await check(channel, "another.Service")
    assert info.value.code() == grpc.StatusCode.NOT_FOUND


async def test_who_watches_hears_of_every_change_and_of_the_end(
    api: Api, channel: grpc.aio.Channel
) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
    heard = [(await watch.read()).status]
    api.server.set_serving(True)
    heard.append((await watch.read()).status)
    unknown = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(service="another.Service"), timeout=10
    )
    assert (await unknown.read()).status == SERVICE_UNKNOWN
    await api.server.drain(10.0)
    while (answer := await watch.read()) is not grpc.aio.EOF:
        heard.append(answer.status)
    assert heard == [NOT_SERVING, SERVING, NOT_SERVING]
    assert await watch.code() == grpc.StatusCode.OK


# --- reflection ---
async def test_reflection_lists_what_is_served(channel: grpc.aio.Channel) -> None:
    assert sorted(await reflected(channel)) == [
        "MQ.MQEndpoints",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "sybline.v1.Admin",
    ]


async def test_reflection_can_be_switched_off() -> None:
    async with serving_api(reflection=False) as api, Client(api.address) as client:
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await reflected(client.channel)
        assert info.value.code() == grpc.StatusCode.UNIMPLEMENTED


# --- drain ---
async def test_a_drain_lets_calls_in_flight_finish_and_takes_no_new_ones(
    api: Api, client: Client
) -> None:
    await client.create_queue("q")
    api.log.released.clear()
    in_flight = asyncio.ensure_future(client.publish("q", b"a"))
    await wait_for(lambda: isinstance(api.log.proposed[-1], Enqueue), what="the call", deadline_s=5)
    draining = asyncio.ensure_future(api.server.drain(10.0))
    await wait_for(lambda: not _accepts(api), what="a closed listener", deadline_s=5)
    async with Client(api.address) as late:
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await late.is_leader()
    assert info.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not draining.done()
    api.log.released.set()
    await in_flight
    async with asyncio.timeout(5):
        await draining


async def test_a_drain_ends_with_its_grace_whatever_hangs(api: Api, client: Client) -> None:
    await client.create_queue("q")
    api.log.released.clear()
    hanging = asyncio.ensure_future(client.publish("q", b"a"))
    await wait_for(lambda: isinstance(api.log.proposed[-1], Enqueue), what="the call", deadline_s=5)
    async with asyncio.timeout(5):
        await api.server.drain(0.2)
    with pytest.raises(grpc.aio.AioRpcError):
        await hanging


async def test_a_server_that_never_started_drains_at_once(api: Api) -> None:
    await ApiServer(api.parts, host="127.0.0.1", port=0, reflection=False).drain(10.0)


def _accepts(api: Api) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", api.server.port)) == 0
