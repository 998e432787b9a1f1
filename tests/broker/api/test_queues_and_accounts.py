"""Queues, bindings, users, passwords and roles through the API (wire contract §6; Q-3, Q-4, R-3 to R-6, U-2, G-4)."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from sybline import limits
from sybline.state_machine.commands import (
    AssignRole,
    Caller,
    ChangePassword,
    CreateUser,
    DeclareQueue,
    DeleteUser,
)
from sybline.v1 import mq_pb2 as mq
from tests.support.api_server import Api
from tests.support.client import Client
from tests.support.cluster import ADMIN, ADMIN_PASSWORD
from tests.support.refusals import refused

WRONG = "invalid login details"
DOCUMENT = json.dumps({"role": "reader", "actions": {"GetMessages": "deny:q1,allow:*"}})


# --- queues ---
async def test_a_queue_gets_every_field_of_its_request(api: Api, client: Client) -> None:
    await client.create_queue("q", key="k", size=7, retry_limit=3, dead_letter=True)
    command = api.log.proposed[-1]
    assert isinstance(command, DeclareQueue)
    assert (command.name, command.routing_key) == ("q", "k")
    assert (command.size, command.retry_limit, command.dead_letter) == (7, 3, True)


async def test_a_request_of_the_first_release_has_no_limit_and_no_dead_letters(
    api: Api, client: Client
) -> None:
    await client.call("CreateQueue", mq.QueueInfo(routingKey="k", name="q", size=7))
    command = api.log.proposed[-1]
    assert isinstance(command, DeclareQueue)
    assert (command.retry_limit, command.dead_letter) == (0, False)


async def test_reg_q19_a_repeated_creation_is_ok_and_a_different_one_says_how(
    client: Client,
) -> None:
    for _ in range(2):
        await client.create_queue("q", size=7)
    text = "failed to create new queue: 'q' exists with size 7, asked for 8"
    with refused("ALREADY_EXISTS", text):
        await client.create_queue("q", size=8)
    text = "failed to create new queue: 'q' exists with routingKey 'q', asked for 'k'"
    with refused("ALREADY_EXISTS", text):
        await client.create_queue("q", key="k", size=7)


async def test_bindings_come_and_go_as_the_contract_says(client: Client) -> None:
    await client.create_queue("q", key="k")
    for _ in range(2):
        await client.call("AddRoutingKey", mq.AddRoute(queueName="q", routeName="l"))
    await client.publish("l", b"a")
    for _ in range(2):
        await client.call("DeleteRoutingKey", mq.DeleteRoute(queueName="q", routeName="l"))
    with refused("NOT_FOUND", "routing key does not exist: 'l'"):
        await client.publish("l", b"b")
    with refused("FAILED_PRECONDITION", "each queue must have at least one routing key: 'q'"):
        await client.call("DeleteRoutingKey", mq.DeleteRoute(queueName="q", routeName="k"))
    for method, request in (("AddRoutingKey", mq.AddRoute), ("DeleteRoutingKey", mq.DeleteRoute)):
        with refused("NOT_FOUND", "queue name used does not exist: 'no-such-queue'"):
            await client.call(method, request(queueName="no-such-queue", routeName="k"))


async def test_a_deletion_may_be_repeated(client: Client) -> None:
    await client.create_queue("q")
    for _ in range(2):
        await client.call("DeleteQueue", mq.DeleteQueueInfo(queueName="q"))


# --- rights ---
@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("CreateQueue", mq.QueueInfo(routingKey="k", name="q", size=1)),
        ("DeleteQueue", mq.DeleteQueueInfo(queueName="q")),
        ("AddRoutingKey", mq.AddRoute(queueName="q", routeName="k")),
        ("DeleteRoutingKey", mq.DeleteRoute(queueName="q", routeName="k")),
        ("CreateUser", mq.UserCreds(username="bob", password="p")),
        ("DeleteUser", mq.UserInformation(username="bob")),
        ("ChangePassword", mq.ChangeCredentials(username="a", oldPassword="o", newPassword="n")),
        ("CreateRole", mq.CreateRoleRequest(role=DOCUMENT)),
        ("AssignRole", mq.AssignRoleRequest(role="ROOT", username="bob")),
        ("UnassignRole", mq.UnassignRoleRequest(role="no-such-role", username="nobody")),
    ],
)
async def test_reg_a9_s5e_who_has_no_role_gets_the_same_denial_whatever_exists(
    api: Api, method: str, request_: Any
) -> None:
    await api.add_user("ann")
    async with api.client("ann") as ann:
        with refused("PERMISSION_DENIED") as info:
            await ann.call(method, request_)
    assert info.value.details() == f"does not have permission to perform action {method}"


async def test_reg_s5d_only_root_gives_root(api: Api) -> None:
    await api.add_user("ann", "ADMIN")
    async with api.client("ann") as ann:
        with refused("PERMISSION_DENIED", "perform action AssignRole on 'ROOT'"):
            await ann.call("AssignRole", mq.AssignRoleRequest(role="ROOT", username="ann"))


# --- users ---
async def test_a_new_user_can_log_in_and_do_nothing(api: Api, client: Client) -> None:
    await client.call("CreateUser", mq.UserCreds(username="ann", password="ann"))
    async with api.client("ann") as ann:
        with refused("PERMISSION_DENIED"):
            await ann.create_queue("q")


async def test_a_creation_repeated_by_the_same_session_is_ok_with_the_same_password_only(
    client: Client, other: Client
) -> None:
    request = mq.UserCreds(username="ann", password="p")
    for _ in range(2):
        await client.call("CreateUser", request)
    with refused("ALREADY_EXISTS", "username already taken"):
        await client.call("CreateUser", mq.UserCreds(username="ann", password="another"))
    with refused("ALREADY_EXISTS", "username already taken"):
        await other.call("CreateUser", request)


@pytest.mark.parametrize("by_itself", [True, False])
async def test_a_name_taken_while_the_password_is_hashed_is_looked_at_again(
    api: Api, client: Client, monkeypatch: pytest.MonkeyPatch, by_itself: bool
) -> None:
    """By the caller's own lost call, or by somebody else with the same password."""
    await client.create_queue("q")
    own: Caller = api.log.proposed[-1].caller
    creator = own if by_itself else api.admin
    hash_ = api.hasher.hash

    async def taken_meanwhile(*arguments: Any, **named: Any) -> Any:
        hashed = await hash_(*arguments, **named)
        api.log.commit_elsewhere(CreateUser(creator, "ann", hashed))
        return hashed

    monkeypatch.setattr(api.hasher, "hash", taken_meanwhile)
    creation = client.call("CreateUser", mq.UserCreds(username="ann", password="p"))
    if by_itself:
        await creation
    else:
        with refused("ALREADY_EXISTS", "username already taken"):
            await creation


async def test_two_creations_at_once_have_one_winner(client: Client, other: Client) -> None:
    outcomes = await asyncio.gather(
        client.call("CreateUser", mq.UserCreds(username="ann", password="one")),
        other.call("CreateUser", mq.UserCreds(username="ann", password="two")),
        return_exceptions=True,
    )
    [loser] = [each for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
    assert loser.details() == "username already taken"


async def test_reg_a7_deletions_of_users(api: Api, client: Client, other: Client) -> None:
    await api.add_user("ann", "CONSUMER")
    async with api.client("ann") as ann:
        await client.create_queue("q")
        assert await ann.fetch("q") == []
        for _ in range(2):
            await client.call("DeleteUser", mq.UserInformation(username="ann"))
        with refused("UNAUTHENTICATED", "no valid auth token provided"):
            await ann.fetch("q")
    with refused("NOT_FOUND", "user does not exist"):
        await other.call("DeleteUser", mq.UserInformation(username="ann"))
    with refused("FAILED_PRECONDITION", "cannot delete all accounts, at least one must remain"):
        await client.call("DeleteUser", mq.UserInformation(username=ADMIN))
    await api.add_user("bob")
    with refused("FAILED_PRECONDITION", "at least one user must keep the role ROOT"):
        await client.call("DeleteUser", mq.UserInformation(username=ADMIN))


# --- passwords ---
def change(old: str, new: str, username: str = ADMIN) -> mq.ChangeCredentials:
    return mq.ChangeCredentials(username=username, oldPassword=old, newPassword=new)


async def test_a_changed_password_counts_and_ends_the_other_sessions(
    api: Api, client: Client, other: Client
) -> None:
    await client.call("ChangePassword", change(ADMIN_PASSWORD, "new"))
    await client.create_queue("q")
    with refused("UNAUTHENTICATED", "no valid auth token provided"):
        await other.create_queue("r")
    with refused("UNAUTHENTICATED", WRONG):
        await other.login(ADMIN, ADMIN_PASSWORD)
    await other.login(ADMIN, "new")


async def test_reg_a2_a_wrong_old_password_changes_nothing(api: Api, client: Client) -> None:
    before = api.log.machine.credential(ADMIN)
    with refused("UNAUTHENTICATED", WRONG):
        await client.call("ChangePassword", change("wrong", "new"))
    assert api.log.machine.credential(ADMIN) == before
    assert api.metrics.failed_logins == 1


async def test_reg_a2_of_two_changes_at_once_one_wins(
    api: Api, client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other change is committed after this one has compared the old password."""
    hash_ = api.hasher.hash
    held = api.log.machine.credential(ADMIN)
    assert held is not None

    async def overtaken(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(api.hasher, "hash", hash_)
        first = ChangePassword(api.admin, await hash_("first", deadline_s=5), held.epoch)
        consumer = api.log.proposed[-1].caller.consumer
        assert consumer != api.admin.consumer
        api.log.commit_elsewhere(first)
        return await hash_(*arguments, **named)

    await client.create_queue("q")
    monkeypatch.setattr(api.hasher, "hash", overtaken)
    with refused("UNAUTHENTICATED"):
        await client.call("ChangePassword", change(ADMIN_PASSWORD, "second"))
    await other.login(ADMIN, "first")


async def test_a_change_overtaken_by_the_callers_own_lost_call_is_ok(
    api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.create_queue("q")
    own: Caller = api.log.proposed[-1].caller
    held = api.log.machine.credential(ADMIN)
    assert held is not None
    hash_ = api.hasher.hash

    async def overtaken(*arguments: Any, **named: Any) -> Any:
        hashed = await hash_(*arguments, **named)
        api.log.commit_elsewhere(ChangePassword(own, hashed, held.epoch))
        return hashed

    monkeypatch.setattr(api.hasher, "hash", overtaken)
    await client.call("ChangePassword", change(ADMIN_PASSWORD, "new"))


async def test_a_change_repeated_by_the_same_session_is_ok(client: Client) -> None:
    for _ in range(2):
        await client.call("ChangePassword", change(ADMIN_PASSWORD, "new"))


async def test_knowing_the_password_in_force_is_no_change(api: Api, client: Client) -> None:
    with refused("UNAUTHENTICATED", WRONG):
        await client.call("ChangePassword", change("wrong", ADMIN_PASSWORD))
    assert api.metrics.failed_logins == 1, "or it would be a way to guess"


async def test_guessing_an_old_password_is_slowed_down_too(client: Client) -> None:
    for _ in range(limits.FAILED_LOGINS_PER_MINUTE):
        with refused("UNAUTHENTICATED", WRONG):
            await client.call("ChangePassword", change("wrong", "new"))
    with refused("RESOURCE_EXHAUSTED", "too many failed logins, retry in "):
        await client.call("ChangePassword", change(ADMIN_PASSWORD, "new"))


async def test_reg_a8_nobody_changes_the_password_of_another(api: Api, client: Client) -> None:
    await api.add_user("ann")
    with refused("PERMISSION_DENIED", "password of another user cannot be changed"):
        await client.call("ChangePassword", change(ADMIN_PASSWORD, "stolen", "ann"))


async def test_a_user_deleted_meanwhile_has_no_password_to_change(api: Api) -> None:
    await api.add_user("ann", "ADMIN")
    async with api.client("ann") as ann:
        api.log.commit_elsewhere(DeleteUser(api.admin, "ann"))
        with refused("UNAUTHENTICATED", "no valid auth token provided"):
            await ann.call("ChangePassword", change("ann", "new", "ann"))


# --- roles ---
async def test_reg_s5a_a_role_of_a_document_denies_and_allows(api: Api, client: Client) -> None:
    for name in ("q1", "q2"):
        await client.create_queue(name)
    for _ in range(2):
        await client.call("CreateRole", mq.CreateRoleRequest(role=DOCUMENT))
    await api.add_user("ann")
    for _ in range(2):
        await client.call("AssignRole", mq.AssignRoleRequest(role="reader", username="ann"))
    async with api.client("ann") as ann:
        assert await ann.fetch("q2") == []
        with refused("PERMISSION_DENIED", "perform action GetMessages on 'q1'"):
            await ann.fetch("q1")
        request = mq.UnassignRoleRequest(role="reader", username="ann")
        for _ in range(2):
            await client.call("UnassignRole", request)
        with refused("PERMISSION_DENIED"):
            await ann.fetch("q2")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("{", "role is not valid JSON: "),
        ('{"actions": {"Ack": "allow:*"}}', "missing role name"),
        ('{"role": "r", "actions": {"Ack": "allow:*"}}', "role name must have length >1"),
        ('{"role": "rr"}', "missing actions"),
        ('{"role": "rr", "actions": []}', "invalid actions"),
        ('{"role": "rr", "actions": {}}', "no actions provided under actions"),
        ('{"role": "rr", "actions": {"Ack": 1}}', "invalid permission"),
        ('{"role": "rr", "actions": {"Eat": "allow"}}', "invalid field found: 'Eat'"),
        ('{"role": "rr", "actions": {"Ack": "allow"}}', "invalid number of parts"),
        ('{"role": "rr", "actions": {"Ack": "allow:"}}', "invalid entity length"),
        ('{"role": "rr", "actions": {"Ack": "may:*"}}', "action can only be: deny or allow"),
        ('{"role": "\\ud800\\ud800", "actions": {"Ack": "allow:*"}}', "not Unicode text"),
    ],
)
async def test_a_malformed_role_document_is_refused_in_the_known_words(
    client: Client, document: str, text: str
) -> None:
    with refused("INVALID_ARGUMENT", text):
        await client.call("CreateRole", mq.CreateRoleRequest(role=document))


async def test_reg_s8a_a_huge_role_document_is_refused_by_a_named_limit(client: Client) -> None:
    with refused("INVALID_ARGUMENT", "role document of 70000 bytes exceeds the limit of 65536"):
        await client.call("CreateRole", mq.CreateRoleRequest(role="x" * 70_000))


async def test_a_role_name_that_is_taken_is_refused(client: Client) -> None:
    await client.call("CreateRole", mq.CreateRoleRequest(role=DOCUMENT))
    with refused("ALREADY_EXISTS", "role 'reader' already exists"):
        await client.call("CreateRole", mq.CreateRoleRequest(role=DOCUMENT + " "))


async def test_unknown_users_and_roles_have_their_known_texts(api: Api, client: Client) -> None:
    await api.add_user("ann")
    for method, request in (
        ("AssignRole", mq.AssignRoleRequest),
        ("UnassignRole", mq.UnassignRoleRequest),
    ):
        with refused("NOT_FOUND", "user with name 'nobody' does not exist"):
            await client.call(method, request(role="ROOT", username="nobody"))
        with refused("NOT_FOUND", "role with name 'rr' does not exist"):
            await client.call(method, request(role="rr", username="ann"))
    text = "user with name 'ann' does not have role 'ROOT' to be unassigned"
    with refused("NOT_FOUND", text):
        await client.call("UnassignRole", mq.UnassignRoleRequest(role="ROOT", username="ann"))
    with refused("FAILED_PRECONDITION", "at least one user must keep the role ROOT"):
        await client.call("UnassignRole", mq.UnassignRoleRequest(role="ROOT", username=ADMIN))


async def test_a_role_given_elsewhere_a_moment_ago_counts_here(api: Api) -> None:
    await api.add_user("ann")
    async with api.client("ann") as ann:
        api.log.commit_elsewhere(AssignRole(api.admin, "ann", "ADMIN"))
        await ann.create_queue("q")
