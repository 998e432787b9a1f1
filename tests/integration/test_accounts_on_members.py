"""Sessions, users and roles on real members (REG-A1a, A4, A5, A6, A8, A11, S3a, S3b, S5a, S5d, S6b)."""

import asyncio
import json
from collections.abc import Callable

import pytest

from sybline.v1 import mq_pb2
from tests.support.client import Client, Metadata, logged_in
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, Cluster
from tests.support.refusals import refused

pytestmark = pytest.mark.integration
NO_AUTH = "no valid auth token provided"


async def create_user(admin: Client, name: str, *roles: str) -> None:
    await admin.call("CreateUser", mq_pb2.UserCreds(username=name, password=f"{name}-password"))
    for role in roles:
        await admin.call("AssignRole", mq_pb2.AssignRoleRequest(role=role, username=name))


async def test_reg_a1a_a_logout_ends_this_session_everywhere_and_no_other(
    cluster: Cluster,
) -> None:
    older = await logged_in(cluster.addresses[0])
    newer = await logged_in(cluster.addresses[1])
    await older.create_queue("a1a")
    await newer.logout()
    for address in cluster.addresses:
        async with Client(address) as client:
            client.metadata = newer.metadata
            with refused("UNAUTHENTICATED", NO_AUTH):
                await client.fetch("a1a")
            client.metadata = older.metadata
            assert await client.fetch("a1a") == []
    await older.close()
    await newer.close()


async def test_reg_a4_a_logout_works_while_a_member_is_down(
    cluster: Cluster, metadata: Metadata
) -> None:
    leader = await cluster.wait_leader()
    down = min(set(cluster.members) - {leader})
    client = await logged_in(cluster[leader].address)
    await asyncio.to_thread(cluster[down].kill)
    await client.logout()
    await cluster.restart(down)
    async with Client(cluster[down].address) as returned:
        returned.metadata = client.metadata
        with refused("UNAUTHENTICATED", NO_AUTH):
            await returned.create_queue("a4")
        returned.metadata = metadata
        await returned.create_queue("a4")
    await client.close()


async def test_reg_a5_a_token_is_valid_after_the_leader_was_killed_right_after_the_login(
    cluster: Cluster,
) -> None:
    leader = await cluster.wait_leader()
    others = sorted(set(cluster.members) - {leader})
    client = await logged_in(cluster[leader].address)
    cluster[leader].kill()
    for member in others:
        async with Client(cluster[member].address) as survivor:
            survivor.metadata = client.metadata
            await survivor.create_queue("a5")
            await survivor.publish("a5", b"a")
    await client.close()


async def test_reg_a6_a_logout_gives_the_leases_back_at_once_and_uncounted(
    cluster: Cluster, client: Client
) -> None:
    await client.create_queue("a6", retry_limit=1)
    await client.publish("a6", b"a")
    for address in cluster.addresses:
        holder = await logged_in(address)
        assert [body for _, body in await holder.fetch("a6")] == [b"a"]
        assert await client.fetch("a6") == []
        await holder.logout()
        await holder.close()
    assert await client.drain("a6") == [b"a"]


async def test_reg_a6_a_resumed_session_keeps_its_leases(cluster: Cluster, other: Client) -> None:
    async with await logged_in(cluster.addresses[0]) as client:
        await client.create_queue("a6-resume")
        await client.publish("a6-resume", b"a")
        [(message_id, _)] = await client.fetch("a6-resume")
        before = client.metadata
        await client.login(resume=True)
        assert client.metadata != before
        assert await other.fetch("a6-resume") == []
        assert await client.fetch("a6-resume") == [(message_id, b"a")]
        client.metadata = before  # S-7: the old token still speaks for the same session
        await client.ack("a6-resume", message_id)
        await client.logout()


async def test_reg_a8_nobody_changes_the_password_of_another(client: Client) -> None:
    await create_user(client, "a8-user")
    request = mq_pb2.ChangeCredentials(
        username="a8-user", oldPassword=ADMIN_PASSWORD, newPassword="stolen"
    )
    with refused("PERMISSION_DENIED", "password of another user cannot be changed"):
        await client.call("ChangePassword", request)


async def test_reg_a11_s5a_and_s6b_rights_change_at_once_on_every_member(
    clients: list[Client],
) -> None:
    admin = clients[0]
    await admin.create_queue("a11-yes")
    await admin.create_queue("a11-no")
    document = {"role": "a11", "actions": {"GetMessages": "deny:a11-no,allow:*"}}
    await admin.call("CreateRole", mq_pb2.CreateRoleRequest(role=json.dumps(document)))
    await create_user(admin, "a11-user", "a11", "a11")
    users = []
    for each in clients:
        users.append(await logged_in(each.address, "a11-user", "a11-user-password"))
    for user in users:
        assert await user.fetch("a11-yes") == []
        with refused("PERMISSION_DENIED", "does not have permission to perform action"):
            await user.fetch("a11-no")
        with refused("NOT_FOUND", "queue does not exist: 'a11-not-there'"):
            await user.fetch("a11-not-there")  # `allow:*` is a right to it
        with refused("PERMISSION_DENIED"):
            await user.publish("a11-yes", b"a")
    request = mq_pb2.UnassignRoleRequest(role="a11", username="a11-user")
    await admin.call("UnassignRole", request)
    for user in users:
        with refused("PERMISSION_DENIED"):
            await user.fetch("a11-yes")
    await admin.call("DeleteUser", mq_pb2.UserInformation(username="a11-user"))
    for user in users:
        with refused("UNAUTHENTICATED", NO_AUTH):
            await user.fetch("a11-yes")
        await user.close()


async def test_reg_s5d_an_admin_cannot_make_itself_root(client: Client) -> None:
    await create_user(client, "s5d", "ADMIN")
    async with await logged_in(client.address, "s5d", "s5d-password") as admin:
        with refused("PERMISSION_DENIED"):
            await admin.call("AssignRole", mq_pb2.AssignRoleRequest(role="ROOT", username="s5d"))


async def test_reg_s3a_and_s3b_no_restart_brings_the_first_administrator_back(
    own_cluster: Callable[..., Cluster],
) -> None:
    cluster = own_cluster()
    await cluster.start_and_wait()
    async with await logged_in(cluster.addresses[0]) as first:
        await create_user(first, "boss", "ROOT")
        await create_user(first, "gone")
        await first.call("DeleteUser", mq_pb2.UserInformation(username="gone"))
    async with await logged_in(cluster.addresses[2]) as first:
        request = mq_pb2.ChangeCredentials(
            username=ADMIN, oldPassword=ADMIN_PASSWORD, newPassword="another"
        )
        await first.call("ChangePassword", request)
    async with await logged_in(cluster.addresses[1], "boss", "boss-password") as boss:
        request = mq_pb2.UnassignRoleRequest(role="ROOT", username=ADMIN)
        await boss.call("UnassignRole", request)
    cluster.kill_all()
    await cluster.restart()
    async with Client(cluster.addresses[0]) as client:
        with refused("UNAUTHENTICATED", "invalid login details"):
            await client.login(ADMIN, ADMIN_PASSWORD)
        await client.login(ADMIN, "another")
        with refused("PERMISSION_DENIED"):
            await client.create_queue("s3")
        with refused("UNAUTHENTICATED"):
            await client.login("gone", "gone-password")
        await client.login("boss", "boss-password")
        await client.call("DeleteUser", mq_pb2.UserInformation(username=ADMIN))
    assert await cluster.stop_all() == {1: 0, 2: 0, 3: 0}
    await cluster.restart()
    async with Client(cluster.addresses[1]) as client:
        for password in (ADMIN_PASSWORD, "another"):
            with refused("UNAUTHENTICATED", "invalid login details"):
                await client.login(ADMIN, password)
        await client.login("boss", "boss-password")
