"""The work of `sybline members …`: what is asked in which order, what is repeated, and when it counts as done.

A change is sent with the version of the configuration it is based on, so it is carried out at most once. Where the
outcome is unknown it is sent again with the same version: then either it is carried out now, or the version is
stale and the configuration shows whether the change is in it.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from sybline.cli.admin_client import AdminClient, CallFailed, CommandFailed, connected
from sybline.cli.connection_arguments import Access
from sybline.cli.member_tables import (
    as_json,
    describe_change,
    describe_forced_removal,
    describe_member,
    role_of,
    show_membership,
    show_status,
    show_verdict,
)
from sybline.v1 import admin_pb2 as admin

_PAUSE_S: Final = 0.3
_REACH_S: Final = 30.0  # a member that was just started listens by then
_PROGRESS_S: Final = 2.0  # between two lines about a learner that catches up
_IsDone = Callable[[admin.Configuration], bool]


async def run_command(arguments: argparse.Namespace, access: Access) -> int:
    """Run the command that the arguments name and return the exit status.

    Raises:
        CommandFailed: it could not be done, or not in time.
    """
    async with connected(access, timeout_s=arguments.timeout) as client:
        return await _COMMANDS[arguments.action](_Session(client, arguments))


async def explain_forced_removal(arguments: argparse.Namespace, access: Access) -> str:
    """Return what the removal that the arguments ask for may do.

    Raises:
        CommandFailed: the member that is asked does not say.
    """
    async with connected(access, timeout_s=arguments.timeout) as client:
        request = admin.MayStopRequest(id=arguments.id)
        return describe_forced_removal(await client.call("MayStop", request), arguments.id)


@dataclass(frozen=True, slots=True)
class _Session:
    """One command under way."""

    client: AdminClient
    arguments: argparse.Namespace

    def print(self, message: Message, text: str) -> None:
        """Print the result."""
        print(as_json(message) if self.arguments.json else text)

    def print_change(self, configuration: admin.Configuration, member: int) -> int:
        """Print what a change came to, and return the exit status."""
        self.print(
            configuration, describe_change(configuration, _with_id(configuration, member), member)
        )
        return 0

    def note(self, line: str) -> None:
        """Say how far it is; never part of the result."""
        print(line, file=sys.stderr, flush=True)

    async def membership(self, *, own_view: bool = False) -> admin.Membership:
        """Return the leader's view, or that of the member that is asked."""
        request = admin.ListMembersRequest(own_view=own_view)
        answer: admin.ListMembersResponse = await self.client.call("ListMembers", request)
        return answer.membership

    async def expected_version(self) -> int:
        """Return the version that the change is based on."""
        given: int | None = self.arguments.expected_version
        if given is not None:
            return given
        return (await self.membership()).configuration.version

    async def change(self, method: str, request: Any, is_done: _IsDone) -> admin.Configuration:
        """Carry out a change whose request has its expected version; see the module.

        Raises:
            CallFailed: refused.
            CommandFailed: no outcome in time.
        """
        may_be_made = False
        while True:
            try:
                answer = await self.client.call(method, request)
            except CallFailed as error:
                may_be_made = may_be_made or error.is_outcome_unknown
                if not (error.is_outcome_unknown or error.is_passing):
                    return await self._find_outcome(error, is_done, may_be_made=may_be_made)
                last = error
            else:
                configuration: admin.Configuration = answer.configuration
                return configuration
            if self.client.left_s <= _PAUSE_S:
                raise last
            await asyncio.sleep(_PAUSE_S)

    async def _find_outcome(
        self, error: CallFailed, is_done: _IsDone, *, may_be_made: bool
    ) -> admin.Configuration:
        """Return the configuration if an earlier attempt made the change that is refused now."""
        if may_be_made:
            configuration = (await self.membership()).configuration
            if is_done(configuration):
                return configuration
        raise error


# --- looking ---
async def _list(session: _Session) -> int:
    view = await session.membership(own_view=session.arguments.own_view)
    session.print(view, show_membership(view))
    return 0


async def _status(session: _Session) -> int:
    status = await session.client.call("MemberStatus", admin.MemberStatusRequest())
    session.print(status, show_status(status))
    return 0


async def _may_stop(session: _Session) -> int:
    member = session.arguments.id
    verdict = await session.client.call("MayStop", admin.MayStopRequest(id=member))
    session.print(verdict, show_verdict(verdict))
    return 0 if verdict.allowed else 1


# --- changing ---
async def _add(session: _Session) -> int:
    """Add a learner, or go on with one that an earlier run has added, and promote it when it has caught up."""
    arguments = session.arguments
    await _wait_for_listener(session, arguments.address)
    request = admin.AddMemberRequest(
        address=arguments.address,
        name=arguments.name,
        expected_version=await session.expected_version(),
    )
    try:
        configuration = await session.change(
            "AddMember", request, lambda now: _at(now, arguments.address) is not None
        )
        refusal = CommandFailed("the new member is gone again: somebody has removed it")
    except CallFailed as error:
        if error.reason != "ALREADY_MEMBER":
            raise
        configuration, refusal = (await session.membership()).configuration, error
    member = _at(configuration, arguments.address)
    if member is None:
        raise refusal
    session.note(f"{describe_member(member)} is a {role_of(member)}")
    if member.role == admin.MEMBER_ROLE_LEARNER and not arguments.learner:
        configuration = await _promote_when_caught_up(session, member)
    return session.print_change(configuration, member.id)


async def _wait_for_listener(session: _Session, address: str) -> None:
    """Return once a member answers at the address; one that was just started takes a moment.

    Raises:
        CallFailed: none does.
    """
    is_told, clock = False, asyncio.get_running_loop().time
    ends_s = clock() + min(_REACH_S, session.client.left_s)
    while True:
        try:
            await session.client.call(
                "IdentifyMember", admin.IdentifyMemberRequest(address=address)
            )
            return
        except CallFailed as error:
            is_early = error.is_passing or error.reason == "UNREACHABLE"
            if not is_early or clock() + _PAUSE_S >= ends_s:
                raise
            if not is_told:
                session.note(f"waiting for a member at {address}")
                is_told = True
        await asyncio.sleep(_PAUSE_S)


async def _promote_when_caught_up(session: _Session, member: admin.Member) -> admin.Configuration:
    """Wait for the learner and promote it; what fails for a while is asked again until the time is over."""
    name = describe_member(member)
    told, told_s, text = "", 0.0, ""
    while True:
        try:
            configuration, text = await _try_to_promote(session, member.id)
            if configuration is not None:
                return configuration
        except CallFailed as error:
            if not (error.is_outcome_unknown or error.is_passing or error.is_outrun):
                raise
            if not text or session.client.left_s > _PAUSE_S:  # else it was our own time that ended
                text = str(error)
        now_s = asyncio.get_running_loop().time()
        if text != told and now_s - told_s >= _PROGRESS_S:
            session.note(f"{name}: {text}")
            told, told_s = text, now_s
        if session.client.left_s <= _PAUSE_S:
            raise CommandFailed(
                f"{name} is still a learner after {session.arguments.timeout:g} s ({text}); it goes "
                f"on by itself, promote it later: sybline members promote {member.id}"
            )
        await asyncio.sleep(_PAUSE_S)


async def _try_to_promote(session: _Session, member: int) -> tuple[admin.Configuration | None, str]:
    """Return the configuration in which the member votes, or None and how far it is."""
    view = await session.membership()
    each = next((each for each in view.members if each.member.id == member), None)
    if each is None:
        raise CommandFailed(f"member {member} was removed before it had caught up")
    if each.member.role == admin.MEMBER_ROLE_VOTER:
        return view.configuration, "a voter"
    if not each.connected:
        return None, "the leader does not reach it"
    if not (each.healthy and each.caught_up):
        return None, f"{each.lag_entries:,} entries behind"
    request = admin.PromoteMemberRequest(id=member, expected_version=view.configuration.version)
    answer = await session.client.call("PromoteMember", request)
    return answer.configuration, "a voter"


async def _promote(session: _Session) -> int:
    member = session.arguments.id
    request = admin.PromoteMemberRequest(
        id=member, expected_version=await session.expected_version()
    )

    def is_done(now: admin.Configuration) -> bool:
        found = _with_id(now, member)
        return found is not None and found.role == admin.MEMBER_ROLE_VOTER

    configuration = await session.change("PromoteMember", request, is_done)
    return session.print_change(configuration, member)


async def _remove(session: _Session) -> int:
    arguments = session.arguments
    request = admin.RemoveMemberRequest(
        id=arguments.id,
        force=arguments.force,
        expected_version=await session.expected_version(),
    )
    configuration = await session.change(
        "RemoveMember", request, lambda now: _with_id(now, arguments.id) is None
    )
    return session.print_change(configuration, arguments.id)


async def _update(session: _Session) -> int:
    arguments = session.arguments
    request = admin.UpdateMemberRequest(
        id=arguments.id,
        address=arguments.address,
        expected_version=await session.expected_version(),
    )

    def is_done(now: admin.Configuration) -> bool:
        found = _with_id(now, arguments.id)
        return found is not None and found.address == arguments.address

    configuration = await session.change("UpdateMember", request, is_done)
    return session.print_change(configuration, arguments.id)


async def _transfer_leadership(session: _Session) -> int:
    target = session.arguments.id
    before = (await session.membership()).leader
    try:
        answer = await session.client.call(
            "TransferLeadership", admin.TransferLeadershipRequest(target=target)
        )
    except CallFailed as error:
        if not error.is_outcome_unknown:
            raise
        answer = admin.TransferLeadershipResponse(leader=(await session.membership()).leader)
        if answer.leader == before or target not in (0, answer.leader):
            raise
    session.print(answer, f"member {answer.leader} leads")
    return 0


_COMMANDS: Final[dict[str, Callable[[_Session], Coroutine[None, None, int]]]] = {
    "list": _list,
    "status": _status,
    "may-stop": _may_stop,
    "add": _add,
    "promote": _promote,
    "remove": _remove,
    "update": _update,
    "transfer-leadership": _transfer_leadership,
}


# --- parts ---
def _with_id(configuration: admin.Configuration, member: int) -> admin.Member | None:
    return next((each for each in configuration.members if each.id == member), None)


def _at(configuration: admin.Configuration, address: str) -> admin.Member | None:
    return next((each for each in configuration.members if each.address == address), None)
