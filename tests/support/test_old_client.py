"""The stand-in keeps the old client's rules, seen against a scripted server."""

import time
from collections.abc import AsyncIterator
from functools import partial

import grpc
import pytest

from sybline.v1 import mq_pb2, mq_pb2_grpc
from tests.support.grpc_server import serving
from tests.support.old_client import NO_AUTH, NON_LEADER, OldClient, OldClientError
from tests.support.raw_grpc import raw_unary

Failure = tuple[grpc.StatusCode, str]


class Script(mq_pb2_grpc.MQEndpointsServicer):
    """Answers with failures first, then OK; remembers what it was asked with."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.false_answers = 0
        self.calls: list[tuple[str, str]] = []  # (method, token)
        self.logins = 0

    async def IsLeaderNode(self, _: object, __: object) -> mq_pb2.Status:
        """Lead."""
        return mq_pb2.Status(status=True)

    async def Login(self, _: object, context: grpc.aio.ServicerContext) -> mq_pb2.Status:
        """Give out numbered tokens."""
        self.calls.append(("Login", self._token(context)))
        self.logins += 1
        pair = (("username", "u"), ("syb-token", f"token-{self.logins}"))
        await context.send_initial_metadata(pair)
        return mq_pb2.Status(status=True)

    async def SubmitMessage(self, _: object, context: grpc.aio.ServicerContext) -> mq_pb2.Status:
        """Follow the script."""
        return await self._follow("SubmitMessage", context)

    async def Nack(self, _: object, context: grpc.aio.ServicerContext) -> mq_pb2.Status:
        """Follow the script."""
        return await self._follow("Nack", context)

    async def CreateRole(
        self, _: object, context: grpc.aio.ServicerContext
    ) -> mq_pb2.CreateRoleResponse:
        """Follow the script."""
        answer = await self._follow("CreateRole", context)
        return mq_pb2.CreateRoleResponse(status=answer.status)

    async def GetMessages(
        self, request: mq_pb2.RequestMessageData, _: object
    ) -> mq_pb2.MessageCollection:
        """Answer with zeros, which compress well."""
        return mq_pb2.MessageCollection(messages=[mq_pb2.MessageData(data=bytes(request.amount))])

    async def _follow(self, method: str, context: grpc.aio.ServicerContext) -> mq_pb2.Status:
        self.calls.append((method, self._token(context)))
        if self.failures:
            await context.abort(*self.failures.pop(0))
        if self.false_answers:
            self.false_answers -= 1
            return mq_pb2.Status(status=False)
        return mq_pb2.Status(status=True)

    @staticmethod
    def _token(context: grpc.aio.ServicerContext) -> str:
        return str(dict(context.invocation_metadata() or ()).get("syb-token", ""))


@pytest.fixture
async def script() -> Script:
    return Script()


@pytest.fixture
async def client(script: Script) -> AsyncIterator[OldClient]:
    async with serving(partial(mq_pb2_grpc.add_MQEndpointsServicer_to_server, script)) as address:
        made = OldClient(
            [address], "u", "p", timeout_s=0.01, reconnect_sleep_s=0.1, login_rule_s=0.0
        )
        await made.connect()
        script.calls.clear()
        yield made
        await made.close()


async def test_an_auth_text_leads_to_a_login_with_the_old_pair_and_a_repeat(
    script: Script, client: OldClient
) -> None:
    script.failures = [(grpc.StatusCode.UNAUTHENTICATED, NO_AUTH)]
    await client.submit_message("k", b"a")
    assert script.calls == [
        ("SubmitMessage", "token-1"),
        ("Login", "token-1"),
        ("SubmitMessage", "token-2"),
    ]


async def test_the_listed_methods_keep_the_old_token_after_a_login(
    script: Script, client: OldClient
) -> None:
    script.failures = [(grpc.StatusCode.UNAUTHENTICATED, NO_AUTH)] * 9
    with pytest.raises(OldClientError, match=NO_AUTH):
        await client.nack("q", b"i" * 16)
    assert {token for method, token in script.calls if method == "Nack"} == {"token-1"}


async def test_a_login_younger_than_the_rule_makes_no_call(
    script: Script, client: OldClient
) -> None:
    client.login_rule_s = 30.0
    await client.login()
    assert script.calls == []


async def test_the_non_leader_text_leads_to_the_sleep_and_a_search(
    script: Script, client: OldClient
) -> None:
    script.failures = [(grpc.StatusCode.UNAVAILABLE, NON_LEADER)]
    start = time.monotonic()
    await client.submit_message("k", b"a")
    assert time.monotonic() - start >= 0.1
    assert client.reconnects == 1


async def test_any_other_text_reaches_the_application_at_once(
    script: Script, client: OldClient
) -> None:
    script.failures = [(grpc.StatusCode.UNAVAILABLE, "overloaded, retry later")]
    with pytest.raises(OldClientError, match="overloaded"):
        await client.submit_message("k", b"a")
    assert len(script.calls) == 1


async def test_a_false_status_is_repeated_until_the_attempts_are_used_up(
    script: Script, client: OldClient
) -> None:
    script.false_answers = 2
    await client.submit_message("k", b"a")
    assert len(script.calls) == 3
    script.false_answers = 99
    with pytest.raises(OldClientError):
        await client.submit_message("k", b"a")


async def test_role_methods_try_once(script: Script, client: OldClient) -> None:
    script.failures = [(grpc.StatusCode.UNAVAILABLE, NON_LEADER)]
    with pytest.raises(OldClientError, match=NON_LEADER):
        await client.create_role("{}")
    assert script.calls == [("CreateRole", "token-1")]


async def connect_and_fetch(client: OldClient) -> list[tuple[bytes, bytes]]:
    await client.connect()
    return await client.get_messages("q", 20_000)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
async def test_a_compressed_answer_fails_and_the_raw_client_sees_the_flag(
    script: Script, compression: grpc.Compression
) -> None:
    flagged = compression is not grpc.Compression.NoCompression
    add = partial(mq_pb2_grpc.add_MQEndpointsServicer_to_server, script)
    async with serving(add, compression=compression) as address:
        request = mq_pb2.RequestMessageData(queueName="q", amount=20_000)
        answer = await raw_unary(
            address,
            "/MQ.MQEndpoints/GetMessages",
            request.SerializeToString(),
            [("grpc-accept-encoding", "identity, deflate, gzip")],
        )
        assert answer.is_compressed is flagged
        client = OldClient([address], "u", "p", timeout_s=0.01)
        if flagged:
            with pytest.raises(OldClientError):
                await connect_and_fetch(client)
        else:
            assert len(await connect_and_fetch(client)) == 1
        await client.close()
