"""The edge between gRPC and the methods: sessions, shapes, deadlines, bugs, counts (wire §3, §4; C-2 to C-4)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from sybline import limits
from sybline.errors import DeadlinePassed, NoLeader, NotProposed, OutcomeUnknown, Overloaded
from sybline.state_machine.commands import CloseSession, Enqueue
from sybline.v1 import mq_pb2
from tests.support.api_server import TOKEN_S, Api
from tests.support.client import Client, is_from_server
from tests.support.cluster import ADMIN
from tests.support.refusals import RESERVED, refused
from tests.support.waiting import wait_for

NO_AUTH = "no valid auth token provided"
NO_LEADER = "cannot communicate with non-leader nodes"
METHODS = {
    "GetMessages": mq_pb2.RequestMessageData(queueName="q", amount=1),
    "SubmitMessage": mq_pb2.MessageInfo(routingKey="q", data=b"a"),
    "CreateQueue": mq_pb2.QueueInfo(routingKey="q", name="q", size=1),
    "Ack": mq_pb2.AckUpdate(queueName="q", id=bytes(16)),
    "Login": mq_pb2.Credentials(username=ADMIN, password="wrong"),
    "ChangePassword": mq_pb2.ChangeCredentials(username=ADMIN, oldPassword="o", newPassword="n"),
    "Nack": mq_pb2.AckUpdate(queueName="q", id=bytes(16)),
    "DeleteQueue": mq_pb2.DeleteQueueInfo(queueName="q"),
    "AddRoutingKey": mq_pb2.AddRoute(queueName="q", routeName="k"),
    "DeleteRoutingKey": mq_pb2.DeleteRoute(queueName="q", routeName="k"),
    "CreateUser": mq_pb2.UserCreds(username="u", password="p"),
    "SubmitBatchedMessages": mq_pb2.BatchMessages(
        messages=[mq_pb2.MessageInfo(routingKey="q", data=b"a")]
    ),
    "IsLeaderNode": mq_pb2.LeaderNodeRequest(),
    "DeleteUser": mq_pb2.UserInformation(username="u"),
    "BatchAck": mq_pb2.BatchAckUpdate(queueName="q", id=[bytes(16)]),
    "BatchNack": mq_pb2.BatchNackUpdate(queueName="q", ids=[bytes(16)]),
    "LogOut": mq_pb2.LogOutRequest(),
    "CreateRole": mq_pb2.CreateRoleRequest(role='{"role": "rr", "actions": {"Ack": "allow:*"}}'),
    "AssignRole": mq_pb2.AssignRoleRequest(role="r", username="u"),
    "UnassignRole": mq_pb2.UnassignRoleRequest(role="r", username="u"),
}
WITH_SESSION = sorted(set(METHODS) - {"Login", "IsLeaderNode"})
RawCall = Callable[[bytes], Awaitable[bytes]]


def raw(client: Client, method: str) -> RawCall:
    """Return a method whose request and answer are bytes."""
    call = client.channel.unary_unary(f"/MQ.MQEndpoints/{method}")
    return lambda request: call(request, metadata=client.metadata, timeout=10)


# --- sessions ---
def test_these_are_all_methods() -> None:
    [service] = mq_pb2.DESCRIPTOR.services_by_name.values()
    assert sorted(METHODS) == sorted(method.name for method in service.methods)


@pytest.mark.parametrize("method", WITH_SESSION)
async def test_a_call_without_a_session_is_refused_before_its_shape_is_looked_at(
    api: Api, method: str
) -> None:
    async with Client(api.address) as client:
        with refused("UNAUTHENTICATED", NO_AUTH) as info:
            await client.call(method, METHODS[method])
        assert info.value.details() == NO_AUTH
        assert is_from_server(info.value)
        with refused("UNAUTHENTICATED", NO_AUTH):
            await raw(client, method)(b"\xff\xff")
    assert api.log.barriers == 0, "nothing to ask the leader about"


@pytest.mark.parametrize("method", WITH_SESSION)
async def test_an_unknown_token_is_looked_up_at_the_leader_before_it_is_refused(
    api: Api, method: str
) -> None:
    async with Client(api.address) as client:
        client.metadata = (("username", ADMIN), ("syb-token", "6f1a2b3c"))
        with refused("UNAUTHENTICATED", NO_AUTH):
            await client.call(method, METHODS[method])
    assert api.log.barriers == 1


async def test_the_pair_is_looked_up_together_and_its_first_values_count(
    api: Api, client: Client
) -> None:
    token = dict(client.metadata)["syb-token"]
    await api.add_user("ann")
    async with Client(api.address) as elsewhere:
        elsewhere.metadata = (("username", "ann"), ("syb-token", token))
        with refused("UNAUTHENTICATED", NO_AUTH):
            await elsewhere.create_queue("q")
        elsewhere.metadata = (*client.metadata, ("username", "ann"), ("syb-token", "none"))
        await elsewhere.create_queue("q")
        elsewhere.metadata = (("syb-token", "none"), *client.metadata)
        with refused("UNAUTHENTICATED", NO_AUTH):
            await elsewhere.create_queue("q")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
async def test_a_bearer_token_stands_for_the_pair(api: Api, client: Client, scheme: str) -> None:
    token = dict(client.metadata)["syb-token"]
    async with Client(api.address) as bearer:
        bearer.metadata = (("authorization", scheme + token),)
        await bearer.create_queue("q")
        bearer.metadata = (("authorization", f"Basic {token}"),)
        with refused("UNAUTHENTICATED", NO_AUTH):
            await bearer.create_queue("q")


async def test_a_token_ends_with_its_time(api: Api, client: Client) -> None:
    api.log.advance(TOKEN_S - 1)
    await client.create_queue("q")
    api.log.advance(1)
    with refused("UNAUTHENTICATED", NO_AUTH):
        await client.create_queue("q")


async def test_a_session_that_ended_elsewhere_is_refused_by_the_command_itself(
    api: Api, client: Client
) -> None:
    await client.create_queue("q")
    command = api.log.proposed[-1]
    api.log.commit_elsewhere(CloseSession(command.caller))
    with refused("UNAUTHENTICATED", NO_AUTH):
        await client.publish("q", b"a")
    assert isinstance(api.log.proposed[-1], Enqueue), "the door did not know yet, apply did"


# --- shape ---
@pytest.mark.parametrize("method", [method for method in METHODS if method != "IsLeaderNode"])
async def test_what_is_no_request_is_an_invalid_argument(client: Client, method: str) -> None:
    with refused("INVALID_ARGUMENT", "request is malformed") as info:
        await raw(client, method)(b"\x0a\xff")
    assert is_from_server(info.value)


async def test_a_name_that_is_not_utf8_is_malformed(client: Client) -> None:
    with refused("INVALID_ARGUMENT", "request is malformed"):
        await raw(client, "DeleteQueue")(b"\x0a\x01\xff")


async def test_fields_of_a_later_version_are_ignored(client: Client) -> None:
    request = METHODS["CreateQueue"].SerializeToString() + b"\x78\x01"
    assert await raw(client, "CreateQueue")(request) == b"\x08\x01"


async def test_reg_s1_unknown_methods_are_unimplemented(client: Client) -> None:
    for path in ("/MQ.MQEndpoints/Nothing", "/auth.Session/PropagateSession", "/a/b"):
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await client.channel.unary_unary(path)(b"", timeout=5)
        assert info.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_too_much_metadata_is_refused_by_grpc(client: Client) -> None:
    client.metadata = (*client.metadata, ("x", "y" * limits.METADATA_BYTES_MAX))
    with pytest.raises(grpc.aio.AioRpcError) as info:
        await client.create_queue("q")
    assert info.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_request_above_its_limit_is_refused_and_the_connection_goes_on(
    client: Client,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as info:
        await client.publish("q", bytes(limits.MESSAGE_BYTES_MAX))
    assert info.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await client.create_queue("q")


# --- answers ---
@pytest.mark.parametrize("method", [method for method in METHODS if method != "IsLeaderNode"])
async def test_reg_w5_a_failure_is_never_ok_with_status_false(
    api: Api, client: Client, method: str
) -> None:
    api.log.error = OutcomeUnknown("who knows")
    with pytest.raises(grpc.aio.AioRpcError) as info:
        await client.call(method, METHODS[method])
    assert is_from_server(info.value)


@pytest.mark.parametrize("method", WITH_SESSION)
async def test_reg_w10_without_a_leader_every_call_says_so_in_the_known_words(
    api: Api, client: Client, method: str
) -> None:
    api.log.error = NoLeader("transport: Error while dialing dial tcp")
    with refused("UNAVAILABLE", NO_LEADER) as info:
        await client.call(method, METHODS[method])
    assert info.value.details() == NO_LEADER


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (OutcomeUnknown("x"), "UNKNOWN", "the outcome of the call is unknown"),
        (DeadlinePassed("x"), "DEADLINE_EXCEEDED", "the outcome of the call is unknown"),
        (NotProposed("x"), "UNAVAILABLE", "nothing was done"),
        (Overloaded("pending proposals of this member"), "UNAVAILABLE", "pending proposals"),
    ],
)
async def test_the_outcome_of_a_command_shows_in_the_code(
    api: Api, client: Client, raised: Any, code: str, text: str
) -> None:
    await client.create_queue("q")
    api.log.error = raised
    with refused(code, text):
        await client.publish("q", b"a")


async def test_a_lost_reply_is_an_unknown_outcome_and_a_repeat_is_ok(
    api: Api, client: Client
) -> None:
    api.log.lost_reply = OutcomeUnknown("the leader changed")
    with refused("UNKNOWN", "the outcome of the call is unknown"):
        await client.create_queue("q")
    await client.create_queue("q")


async def test_reg_r9_a_bug_is_an_answer_with_a_constant_text_and_is_counted(
    api: Api, client: Client
) -> None:
    api.log.error = ZeroDivisionError("secrets of the broker")
    with refused("INTERNAL", "internal error of this member") as info:
        await client.create_queue("q")
    assert is_from_server(info.value)
    assert "secrets" not in str(info.value)
    assert api.metrics.panics == 1
    api.log.error = None
    await client.create_queue("q")


@pytest.mark.parametrize("text", RESERVED)
@pytest.mark.parametrize("code", ["a", "\n"])
async def test_reg_w2_a_name_in_a_failed_call_never_speaks_for_the_broker(
    client: Client, text: str, code: str
) -> None:
    calls = [
        ("SubmitMessage", mq_pb2.MessageInfo(routingKey=text + code, data=b"a")),
        ("GetMessages", mq_pb2.RequestMessageData(queueName=text + code, amount=1)),
        ("CreateQueue", mq_pb2.QueueInfo(routingKey="k,", name=text + code, size=1)),
        ("DeleteRoutingKey", mq_pb2.DeleteRoute(queueName=text + code, routeName=text)),
        ("CreateUser", mq_pb2.UserCreds(username=text + code, password="p")),
        ("DeleteUser", mq_pb2.UserInformation(username=text + code)),
        (
            "CreateRole",
            mq_pb2.CreateRoleRequest(role=f'{{"role": "rr", "actions": {{"{text}": 1}}}}'),
        ),
        ("AssignRole", mq_pb2.AssignRoleRequest(role=text + code, username=ADMIN)),
        ("UnassignRole", mq_pb2.UnassignRoleRequest(role=text + code, username=ADMIN)),
    ]
    for method, request in calls:
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await client.call(method, request)
        assert not any(reserved in (info.value.details() or "") for reserved in RESERVED), method


# --- time ---
async def test_a_call_has_its_clients_deadline_and_sixty_seconds_at_most(
    api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_s = []
    propose = api.log.propose

    async def noting(command: Any, *, deadline_s: float) -> Any:
        given_s.append(deadline_s)
        return await propose(command, deadline_s=deadline_s)

    monkeypatch.setattr(api.log, "propose", noting)
    for timeout_s in (5.0, 3_600.0, None):
        await client.stub.DeleteQueue(
            METHODS["DeleteQueue"], metadata=client.metadata, timeout=timeout_s
        )
    assert 4.0 < given_s[0] < 5.1  # gRPC converts between clocks
    assert given_s[1:] == [limits.CALL_DEADLINE_S_MAX, limits.CALL_DEADLINE_S_DEFAULT]


async def test_a_call_whose_time_is_over_is_dropped_before_its_command_is_proposed(
    api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = api.hasher.verify

    async def slow_verify(*arguments: Any, **named: Any) -> bool:
        api.clock.now_s += limits.CALL_DEADLINE_S_MAX
        return await verify(*arguments, **named | {"deadline_s": 10.0})

    monkeypatch.setattr(api.hasher, "verify", slow_verify)
    before = len(api.log.proposed)
    with refused("DEADLINE_EXCEEDED", "the deadline passed, nothing was done"):
        await client.login()
    assert len(api.log.proposed) == before


async def test_a_call_whose_client_leaves_is_counted_and_its_command_stays(
    api: Api, client: Client
) -> None:
    await client.create_queue("q")
    api.log.released.clear()
    leaving = asyncio.ensure_future(client.publish("q", b"a"))
    await wait_for(
        lambda: isinstance(api.log.proposed[-1], Enqueue), what="the proposal", deadline_s=5
    )
    leaving.cancel()
    await asyncio.wait([leaving])
    await wait_for(
        lambda: api.metrics.handled["SubmitMessage", "CANCELLED"] == 1,
        what="the end of the call",
        deadline_s=5,
    )
    api.log.released.set()
    assert [body for _, body in await client.fetch("q")] == [b"a"]


# --- counts ---
async def test_reg_k9_refused_calls_are_counted_with_their_code(api: Api, client: Client) -> None:
    async with Client(api.address) as stranger:
        with refused("UNAUTHENTICATED"):
            await stranger.publish("q", b"a")
    with refused("NOT_FOUND"):
        await client.publish("q", b"a")
    with refused("INVALID_ARGUMENT"):
        await client.publish("", b"a")
    assert api.metrics.started["SubmitMessage"] == 3
    codes = {code: n for (name, code), n in api.metrics.handled.items() if name == "SubmitMessage"}
    assert codes == {"UNAUTHENTICATED": 1, "NOT_FOUND": 1, "INVALID_ARGUMENT": 1}
