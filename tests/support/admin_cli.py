"""`sybline members …` against a test cluster, as an operator's script runs it: a process, exit status, JSON."""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

from sybline.cli.admin_client import connected
from sybline.cli.connection_arguments import Access
from sybline.v1 import admin_pb2 as admin
from tests.support.cluster import ADMIN, ADMIN_PASSWORD, ROOT, SYBLINE

COMMAND_S = 90.0


class MembersFailed(AssertionError):
    """A command ended with another status than wanted; the text is what it said."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return what it printed with --json."""
        return json.loads(self.out)


async def run_members(server: str, *arguments: str, deadline_s: float = COMMAND_S) -> Ended:
    """Run `sybline members ARGUMENTS` against one member, whatever comes of it."""
    process = await asyncio.create_subprocess_exec(
        str(SYBLINE), "members", *arguments, "--server", server,
        cwd=ROOT, env={**os.environ, "SYB_PASSWORD": ADMIN_PASSWORD},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(deadline_s):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def members(server: str, *arguments: str, deadline_s: float = COMMAND_S) -> Any:
    """Run a command that must succeed and return its JSON."""
    ended = await run_members(server, *arguments, "--json", deadline_s=deadline_s)
    if ended.status != 0:
        raise MembersFailed(f"members {' '.join(arguments)}: status {ended.status}: {ended.err}")
    return ended.json


async def membership(server: str) -> admin.Membership:
    """Return what `list` shows, without a process of its own."""
    access = Access(server, ADMIN, ADMIN_PASSWORD, token="")
    async with connected(access, timeout_s=COMMAND_S) as client:
        answer = await client.call("ListMembers", admin.ListMembersRequest())
    return answer.membership


async def id_at(server: str, peer_address: str) -> int:
    """Return the id of the member with an address."""
    configured = (await membership(server)).configuration.members
    [found] = [each.id for each in configured if each.address == peer_address]
    return found
