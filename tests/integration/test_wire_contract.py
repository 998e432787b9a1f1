"""What an old client sees on the wire, on real members (REG-W1, W2, W5-W8, W11, S1)."""

import grpc
import pytest

from sybline.v1 import mq_pb2
from tests.support.client import Client, is_from_server, logged_in
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, Cluster
from tests.support.raw_grpc import raw_unary
from tests.support.refusals import RESERVED, refused

pytestmark = pytest.mark.integration
BODY_MAX = 4_193_280
ECHO = ("grpc-accept-encoding", "identity, deflate, gzip")


async def test_reg_w1_answers_are_never_compressed(client: Client) -> None:
    await client.create_queue("w1")
    await client.publish("w1", bytes(20_000))
    request = mq_pb2.RequestMessageData(queueName="w1", amount=1).SerializeToString()
    answer = await raw_unary(
        client.address, "/MQ.MQEndpoints/GetMessages", request, [*client.metadata, ECHO, ECHO]
    )
    assert not answer.is_compressed
    assert mq_pb2.MessageCollection.FromString(answer.message).messages[0].data == bytes(20_000)
    await client.drain("w1")


@pytest.mark.parametrize("text", RESERVED)
async def test_reg_w2_no_error_quotes_a_reserved_text(client: Client, text: str) -> None:
    calls = [
        ("SubmitMessage", mq_pb2.MessageInfo(routingKey=text, data=b"a")),
        ("GetMessages", mq_pb2.RequestMessageData(queueName=text, amount=1)),
        ("Ack", mq_pb2.AckUpdate(queueName=text, id=b"\xff" * 16)),
        ("BatchAck", mq_pb2.BatchAckUpdate(queueName=text, id=[b"\xff" * 16])),
        ("AddRoutingKey", mq_pb2.AddRoute(queueName=text, routeName=text)),
        ("AssignRole", mq_pb2.AssignRoleRequest(role=text, username=text)),
        ("CreateRole", mq_pb2.CreateRoleRequest(role=text)),
        ("CreateQueue", mq_pb2.QueueInfo(routingKey="k", name=text + "\n", size=1)),
    ]
    for method, request in calls:
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await client.call(method, request)
        details = info.value.details() or ""
        assert not any(reserved in details for reserved in RESERVED), (method, details)
        assert is_from_server(info.value), (method, info.value.code(), details)


async def test_reg_w6_the_largest_body_passes_there_and_back(client: Client) -> None:
    await client.create_queue("w6")
    body = b"x" * BODY_MAX
    await client.publish("w6", body)
    with refused("INVALID_ARGUMENT", f"exceeds the limit of {BODY_MAX} bytes"):
        await client.publish("w6", body + b"x")
    assert await client.drain("w6") == [body]


async def test_reg_w8_a_login_answers_with_exactly_two_keys(cluster: Cluster) -> None:
    for address in cluster.addresses:
        async with Client(address) as client:
            metadata = await client.login()
            assert sorted(key for key, _ in metadata) == ["syb-token", "username"]
            assert dict(metadata)["username"] == ADMIN


async def test_reg_w11_many_bad_ids_give_a_short_text(client: Client) -> None:
    await client.create_queue("w11")
    with refused("FAILED_PRECONDITION", "10000 of 10000 ids could not be settled"):
        await client.batch_ack("w11", [n.to_bytes(16, "big") for n in range(10_000)])
    with refused("INVALID_ARGUMENT", "invalid UUID (got 3 bytes)"):
        await client.batch_ack("w11", [b"\xff" * 16, b"abc"])


async def test_a_token_from_one_member_works_on_every_other_at_once(cluster: Cluster) -> None:
    async with await logged_in(cluster.addresses[0]) as client:
        for address in cluster.addresses[1:]:
            async with Client(address) as elsewhere:
                elsewhere.metadata = client.metadata
                await elsewhere.create_queue("token-everywhere")
    async with Client(cluster.addresses[1]) as bearer:
        bearer.metadata = (("authorization", f"Bearer {dict(client.metadata)['syb-token']}"),)
        await bearer.create_queue("token-everywhere")


async def test_calls_without_a_session_are_unauthenticated(cluster: Cluster) -> None:
    async with Client(cluster.addresses[0]) as client:
        with refused("UNAUTHENTICATED", "no valid auth token provided") as info:
            await client.publish("nowhere", b"a")
        assert info.value.details() == "no valid auth token provided"
        with refused("UNAUTHENTICATED", "invalid login details"):
            await client.login(password="wrong")
        with refused("UNAUTHENTICATED", "invalid login details"):
            await client.login("nobody", ADMIN_PASSWORD)


async def test_reg_s1_and_s2_the_client_port_has_no_peer_endpoint(cluster: Cluster) -> None:
    async with Client(cluster.addresses[0]) as client:
        for path in (
            "/auth.Session/PropagateSession",
            "/raft.RaftGRPC/AppendEntries",
            "/raft.RaftGRPC/RequestVote",
            "/MQ.MQEndpoints/Nothing",
        ):
            with pytest.raises(grpc.aio.AioRpcError) as info:
                await client.channel.unary_unary(path)(b"\x0a\x00", timeout=5)
            assert info.value.code() == grpc.StatusCode.UNIMPLEMENTED, path


async def test_health_and_http_answer_on_every_member(cluster: Cluster) -> None:
    leaders = 0
    for member in cluster.members:
        assert (await cluster.http_get(member, "/livez"))[0] == 200
        assert (await cluster.http_get(member, "/readyz"))[0] == 200
        metrics = await cluster.metrics(member)
        assert metrics["sybline_raft_term"] >= 1
        leaders += int(metrics["sybline_raft_is_leader"])
        async with Client(cluster[member].address) as client:
            check = client.channel.unary_unary("/grpc.health.v1.Health/Check")
            assert await check(b"", timeout=5) == b"\x08\x01"
    assert leaders == 1
