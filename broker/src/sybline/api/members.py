"""Membership calls: who is there, who comes and goes, who leads, who may be stopped.

What is decided is decided by replication; here a call is checked, authorised, and its answer put into messages.
"""

from typing import Final

from sybline import limits
from sybline.api.admin_validation import (
    check_address,
    check_change,
    check_id,
    check_new_member,
    check_transfer,
    check_update,
)
from sybline.api.call import Call
from sybline.api.credentials import Credentials
from sybline.api.gate import Gate
from sybline.api.member_refusals import (
    change_refusal,
    not_a_voter,
    not_transferred,
    stranger,
    unknown_member,
    unreachable,
)
from sybline.api.member_views import (
    RAFT_ROLES,
    show_configuration,
    show_member,
    show_membership,
    show_verdict,
)
from sybline.api.parts import ApiParts
from sybline.errors import NoLeader, Unreachable
from sybline.replication.configuration import (
    AddLearner,
    Change,
    ChangeRefused,
    Promote,
    Remove,
    UpdateAddress,
)
from sybline.replication.log import MemberIdentity, Membership
from sybline.replication.pressure import Shortage
from sybline.replication.stop_verdict import may_stop
from sybline.state_machine.actions import Action
from sybline.v1 import admin_pb2 as admin

_SHARE_OF_DEADLINE: Final = 0.9  # so that the answer still arrives when the time is used up


class Members:
    """The methods of sybline.v1.Admin."""

    def __init__(self, parts: ApiParts, gate: Gate, credentials: Credentials) -> None:
        self._log = parts.log
        self._cluster_id = parts.cluster_id
        self._facts = parts.member_facts
        self._heard_s = parts.election_s
        self._gate = gate
        self._credentials = credentials

    # --- looking ---
    async def list_members(self, call: Call, request: admin.ListMembersRequest) -> bytes:
        """Return this member's own view, or the leader's."""
        await self._gate.admit(call, Action.MANAGE_CLUSTER)
        if request.own_view:
            view = self._log.membership()
        else:
            view = await self._ask_leader(call)
        shown = show_membership(view, self._heard_s, is_confirmed=not request.own_view)
        return admin.ListMembersResponse(membership=shown).SerializeToString()

    async def member_status(self, call: Call, _: admin.MemberStatusRequest) -> bytes:
        """Return what this member says of itself."""
        await self._admit_also_without_leader(call)
        view, status, facts = self._log.membership(), self._log.status(), self._facts()
        configuration = view.configuration
        own = configuration.get(view.member)
        return admin.MemberStatusResponse(
            member=show_member(own) if own else admin.Member(id=view.member),
            cluster_id=self._cluster_id,
            cluster_uid=configuration.cluster_uid,
            configuration_version=configuration.version,
            removed=view.removed,
            ready=not facts.not_ready_because,
            not_ready_because=facts.not_ready_because,
            version=facts.version,
            raft_role=RAFT_ROLES[status.role],
            term=status.term,
            leader=status.leader or 0,
            first_index=status.first_index,
            last_index=status.last_index,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            log_bytes=facts.log_bytes,
            log_live_bytes=facts.log_live_bytes,
            disk_free_bytes=facts.disk_free_bytes,
            publishes_refused_because=_show_shortage(self._log.shortage()),
            config_sha256=facts.config_sha256,
            settings_pending=facts.settings_pending,
            settings_refused_because=facts.settings_refused_because,
            last_log_term=status.last_log_term,
            configured=map(show_member, configuration.members),
        ).SerializeToString()

    async def may_stop(self, call: Call, request: admin.MayStopRequest) -> bytes:
        """Judge the stop of a member; also without a leader, when the verdict is no."""
        check_id(request.id)
        await self._gate.admit(call, Action.MANAGE_CLUSTER)
        is_confirmed = True
        try:
            view = await self._ask_leader(call)
        except NoLeader:
            view, is_confirmed = self._log.membership(), False
        verdict = may_stop(request.id, view, is_confirmed=is_confirmed, heard_s=self._heard_s)
        return show_verdict(
            verdict, view, self._heard_s, is_confirmed=is_confirmed
        ).SerializeToString()

    # --- changing ---
    async def add_member(self, call: Call, request: admin.AddMemberRequest) -> bytes:
        """Ask who listens at the address, and let it in as a learner."""
        check_new_member(request)
        await self._admit_change(call)
        found = await self._identify(call, request.address)
        if found.cluster_uid not in (0, self._log.membership().configuration.cluster_uid):
            raise stranger(request.address)
        change = AddLearner(found.id, request.name or found.name, request.address)
        after = await self._change(call, change, request.expected_version)
        return admin.AddMemberResponse(configuration=after, id=found.id).SerializeToString()

    async def identify_member(self, call: Call, request: admin.IdentifyMemberRequest) -> bytes:
        """Ask who listens at an address."""
        check_address(request.address)
        await self._gate.admit(call, Action.MANAGE_CLUSTER)
        found = await self._identify(call, request.address)
        return admin.IdentifyMemberResponse(
            id=found.id, name=found.name, cluster_uid=found.cluster_uid
        ).SerializeToString()

    async def promote_member(self, call: Call, request: admin.PromoteMemberRequest) -> bytes:
        """Make a learner a voter."""
        check_change(request)
        await self._admit_change(call)
        after = await self._change(call, Promote(request.id), request.expected_version)
        return admin.PromoteMemberResponse(configuration=after).SerializeToString()

    async def remove_member(self, call: Call, request: admin.RemoveMemberRequest) -> bytes:
        """Take a member out."""
        check_change(request)
        await self._admit_change(call)
        after = await self._change(
            call, Remove(request.id), request.expected_version, force=request.force
        )
        return admin.RemoveMemberResponse(configuration=after).SerializeToString()

    async def update_member(self, call: Call, request: admin.UpdateMemberRequest) -> bytes:
        """Change a member's address."""
        check_update(request)
        await self._admit_change(call)
        change = UpdateAddress(request.id, request.address)
        after = await self._change(call, change, request.expected_version)
        return admin.UpdateMemberResponse(configuration=after).SerializeToString()

    async def transfer_leadership(
        self, call: Call, request: admin.TransferLeadershipRequest
    ) -> bytes:
        """Let another member lead."""
        check_transfer(request)
        await self._admit_change(call)
        view = await self._ask_leader(call)
        target = request.target or None
        if target is not None:
            info = view.configuration.get(target)
            if info is None:
                raise unknown_member(target)
            if not info.voter:
                raise not_a_voter(target)
        is_moved = await self._log.transfer_leadership(
            deadline_s=call.remaining_s() * _SHARE_OF_DEADLINE, target=target
        )
        if not is_moved:
            raise not_transferred(view.leader or 0)
        after = await self._ask_leader(call)
        return admin.TransferLeadershipResponse(leader=after.leader or 0).SerializeToString()

    # --- parts ---
    async def _admit_also_without_leader(self, call: Call) -> None:
        """Return if the caller may: by session, or by what the settings say, for nobody can log in without a leader."""
        shown = call.password()
        if shown is None:
            call.caller = await self._gate.find_caller(call)
            await self._gate.admit(call, Action.MANAGE_CLUSTER)
        else:
            self._credentials.check_first_admin(call, *shown)

    async def _admit_change(self, call: Call) -> None:
        """Return if the caller may, judged on what is current: no command in the log decides it again (A-3)."""
        await self._gate.catch_up(call)
        self._gate.check(call, Action.MANAGE_CLUSTER)

    async def _ask_leader(self, call: Call) -> Membership:
        return await self._log.ask_leader_membership(
            deadline_s=min(limits.LEADER_WAIT_S, call.remaining_s() * _SHARE_OF_DEADLINE)
        )

    async def _identify(self, call: Call, address: str) -> MemberIdentity:
        deadline_s = min(limits.IDENTIFY_S, call.remaining_s() * _SHARE_OF_DEADLINE)
        try:
            found = await self._log.identify(address, deadline_s=deadline_s)
        except Unreachable as error:
            raise unreachable(address, str(error)) from error
        return found

    async def _change(
        self, call: Call, change: Change, expected_version: int, *, force: bool = False
    ) -> admin.Configuration:
        """Make a change and return what it led to.

        Raises:
            CallError: refused, and why.
        """
        try:
            after = await self._log.change_members(
                change, expected_version=expected_version, force=force,
                deadline_s=call.remaining_s(),
            )  # fmt: skip
        except ChangeRefused as error:
            raise change_refusal(error, change.id) from error
        return show_configuration(after)


def _show_shortage(shortage: Shortage | None) -> str:
    if shortage is None:
        return ""
    return f"{shortage.resource.value} is almost full on member {shortage.member}"
