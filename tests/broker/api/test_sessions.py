"""Login, LogOut and IsLeaderNode (S-1 to S-8, U-5, wire contract §3 and §7)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sybline import limits
from sybline.errors import DeadlinePassed
from sybline.state_machine.commands import (
    Caller,
    ChangePassword,
    CloseSession,
    CreateUser,
    OpenSession,
)
from sybline.v1 import mq_pb2
from tests.support.api_server import LEASE_S, TOKEN_S, Api
from tests.support.client import Client
from tests.support.cluster import ADMIN, ADMIN_PASSWORD
from tests.support.refusals import refused
from tests.support.waiting import wait_for

NO_AUTH = "no valid auth token provided"
WRONG = "invalid login details"


@pytest.fixture
async def stranger(api: Api) -> AsyncIterator[Client]:
    """Somebody who has not logged in."""
    async with Client(api.address) as client:
        yield client


async def test_reg_w8_a_login_answers_with_exactly_two_keys(stranger: Client) -> None:
    call = stranger.stub.Login(mq_pb2.Credentials(username=ADMIN, password=ADMIN_PASSWORD))
    assert (await call).status
    assert [key for key, _ in await call.initial_metadata()] == ["username", "syb-token"]
    assert not await call.trailing_metadata()


async def test_a_login_asks_the_leader_what_the_password_is_now(api: Api, stranger: Client) -> None:
    """Here another member created the user, and this one has not heard of it yet."""
    password = await api.hasher.hash("secret", deadline_s=5)
    api.log.commit_elsewhere(CreateUser(api.admin, "new", password))
    await stranger.login("new", "secret")


async def test_unknown_users_and_wrong_passwords_are_not_told_apart(
    api: Api, stranger: Client
) -> None:
    texts = []
    for name, password in ((ADMIN, "wrong"), ("nobody", ADMIN_PASSWORD), ("no/body", "x")):
        with refused("UNAUTHENTICATED", WRONG) as info:
            await stranger.login(name, password)
        texts.append(info.value.details())
    assert set(texts) == {WRONG}
    assert api.metrics.failed_logins == 3
    assert not any(isinstance(command, OpenSession) for command in api.log.proposed)


async def test_reg_s6a_guessing_is_slowed_down_for_known_and_unknown_users_alike(
    api: Api, stranger: Client
) -> None:
    for name in (ADMIN, "nobody"):
        for _ in range(limits.FAILED_LOGINS_PER_MINUTE):
            with refused("UNAUTHENTICATED", WRONG):
                await stranger.login(name, "wrong")
        with refused("RESOURCE_EXHAUSTED", "too many failed logins, retry in "):
            await stranger.login(name, ADMIN_PASSWORD)
    api.clock.now_s += limits.FAILED_LOGIN_BACKOFF_S_MAX
    await stranger.login(ADMIN, ADMIN_PASSWORD)


async def test_a_right_password_forgets_earlier_failures(stranger: Client) -> None:
    for _ in range(2):
        for _ in range(limits.FAILED_LOGINS_PER_MINUTE - 1):
            with refused("UNAUTHENTICATED", WRONG):
                await stranger.login(ADMIN, "wrong")
        await stranger.login()


@pytest.mark.parametrize("changed_to", ["another", ADMIN_PASSWORD])
async def test_a_password_changed_during_the_login_is_looked_at_again(
    api: Api, stranger: Client, monkeypatch: pytest.MonkeyPatch, changed_to: str
) -> None:
    old = api.log.machine.credential(ADMIN)
    assert old is not None
    new = await api.hasher.hash(changed_to, deadline_s=5)
    verify = api.hasher.verify

    async def change_after(*arguments: Any, **named: Any) -> bool:
        monkeypatch.setattr(api.hasher, "verify", verify)
        matches = await verify(*arguments, **named)
        api.log.commit_elsewhere(ChangePassword(api.admin, new, old.epoch))
        return matches

    monkeypatch.setattr(api.hasher, "verify", change_after)
    if changed_to == ADMIN_PASSWORD:
        await stranger.login()
    else:
        with refused("UNAUTHENTICATED", WRONG):
            await stranger.login()
        await stranger.login(ADMIN, changed_to)


async def test_each_login_is_a_session_of_its_own(client: Client, other: Client) -> None:
    await client.create_queue("q")
    await client.publish("q", b"a")
    assert len(await client.fetch("q")) == 1
    assert await other.fetch("q") == []


# --- resume ---
async def test_reg_a6_a_login_with_the_older_pair_goes_on_with_its_leases(client: Client) -> None:
    await client.create_queue("q")
    await client.publish("q", b"a")
    held = await client.fetch("q")
    before = client.metadata
    await client.login(resume=True)
    assert client.metadata != before
    assert await client.fetch("q") == held
    client.metadata = before
    await client.ack("q", held[0][0])


async def test_reg_w3_an_expired_token_still_speaks_after_a_resume(
    api: Api, client: Client
) -> None:
    await client.create_queue("q", retry_limit=9)
    await client.publish_batch([("q", b"a"), ("q", b"b")])
    api.log.advance(TOKEN_S - LEASE_S / 2)
    held = await client.fetch("q")
    api.log.advance(LEASE_S / 2 + 1)
    old = client.metadata
    with refused("UNAUTHENTICATED", NO_AUTH):
        await client.nack("q", held[0][0])
    await client.login(resume=True)
    client.metadata = old
    await client.nack("q", held[0][0])
    await client.batch_nack("q", [held[1][0]])
    await client.call("DeleteQueue", mq_pb2.DeleteQueueInfo(queueName="q"))


async def test_a_pair_of_another_user_resumes_nothing(api: Api, client: Client) -> None:
    await api.add_user("ann", "CONSUMER")
    await client.create_queue("q")
    await client.publish("q", b"a")
    await client.fetch("q")
    async with Client(api.address) as ann:
        ann.metadata = client.metadata
        await ann.login("ann", "ann", resume=True)
        assert await ann.fetch("q") == []
        ann.metadata = (("username", "ann"), client.metadata[1])
        await ann.login("ann", "ann", resume=True)
        assert await ann.fetch("q") == []


async def test_a_pair_that_does_not_belong_together_resumes_nothing(client: Client) -> None:
    await client.create_queue("q")
    await client.publish("q", b"a")
    await client.fetch("q")
    client.metadata = (("username", "somebody-else"), client.metadata[1])
    await client.login(resume=True)
    assert await client.fetch("q") == []


# --- logout ---
async def test_reg_a1a_a_logout_ends_this_session_and_no_other(
    client: Client, other: Client
) -> None:
    await client.create_queue("q", retry_limit=1)
    await client.publish("q", b"a")
    await client.fetch("q")
    await client.logout()
    with refused("UNAUTHENTICATED", NO_AUTH):
        await client.fetch("q")
    assert [body for _, body in await other.fetch("q")] == [b"a"]


async def test_a_logout_from_another_member_counts_here_at_once(
    api: Api, client: Client, other: Client
) -> None:
    await client.create_queue("q")
    consumer = api.log.proposed[-1].caller.consumer
    api.log.commit_elsewhere(CloseSession(Caller(ADMIN, consumer)))
    with refused("UNAUTHENTICATED", NO_AUTH):
        await client.fetch("q")
    await other.fetch("q")


# --- who leads ---
async def test_the_leader_says_so_only_while_a_quorum_does(api: Api, stranger: Client) -> None:
    assert await stranger.is_leader()
    api.log.quorum_confirmed = False
    assert not await stranger.is_leader()
    api.log.is_leader = False
    assert not await stranger.is_leader()


async def test_reg_w7_without_a_leader_the_answer_is_ok_and_no(api: Api, stranger: Client) -> None:
    asked_s: list[float] = []

    async def wait(*, deadline_s: float) -> bool:
        asked_s.append(deadline_s)
        return False

    api.log.wait_for_leader = wait
    api.log.is_leader = api.log.has_leader = False
    assert not await stranger.is_leader()
    answer = await stranger.stub.IsLeaderNode(mq_pb2.LeaderNodeRequest(), timeout=1.0)
    assert not answer.status
    assert asked_s[0] == limits.IS_LEADER_WAIT_S
    assert asked_s[1] < 1.0, "answers before its caller gives up"


# --- overload ---
async def test_reg_s8b_more_logins_than_can_be_hashed_are_refused_at_once(
    api: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PASSWORD_HASH_QUEUE_MAX", 0)
    monkeypatch.setattr(limits, "PASSWORD_HASHES_AT_ONCE", 0)
    async with Client(api.address) as stranger:
        with refused("RESOURCE_EXHAUSTED", "passwords that wait to be hashed"):
            await stranger.login()
    await client.create_queue("q")


async def test_a_login_that_is_not_replicated_in_time_gives_no_token(
    api: Api, stranger: Client
) -> None:
    api.log.lost_reply = DeadlinePassed("no majority")
    with refused("DEADLINE_EXCEEDED"):
        await stranger.login()
    assert stranger.metadata == ()


async def test_many_bad_tokens_at_once_do_not_keep_others_from_working(
    api: Api, client: Client
) -> None:
    async def bad(number: int) -> None:
        async with Client(api.address) as stranger:
            stranger.metadata = (("username", ADMIN), ("syb-token", f"{number}"))
            with refused("UNAUTHENTICATED", NO_AUTH):
                await stranger.publish("q", b"a")

    await asyncio.gather(client.create_queue("q"), *(bad(number) for number in range(20)))
    await wait_for(lambda: api.log.barriers >= 20, what="the look-ups", deadline_s=5)
