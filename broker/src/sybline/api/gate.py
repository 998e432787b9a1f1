"""What every call passes on its way to the log: session, permission, proposal.

What this member knows may be of a moment ago. So a caller is refused only on what the leader confirmed as current
(S-1, G-6), and whatever the door permits is decided again in apply (A-3).
"""

from collections.abc import Sequence

from sybline.api.call import Call
from sybline.api.error_texts import no_session
from sybline.api.parts import ApiParts
from sybline.api.refusals import refusal
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import AnyCommand, Caller
from sybline.state_machine.replies import AnyReply, Refused


class Gate:
    """The way in, shared by all methods."""

    def __init__(self, parts: ApiParts) -> None:
        self._log = parts.log
        self._machine = parts.machine

    async def find_caller(self, call: Call) -> Caller:
        """Return whose session the call shows.

        Unknown tokens cost a barrier, which all of a moment share, so a storm of them costs the leader little.

        Raises:
            CallError: UNAUTHENTICATED: no token, or none that is live.
        """
        token = call.token()
        if token is None:
            raise no_session()
        caller = self._machine().caller_of(*token)
        if caller is None:
            await self.catch_up(call)
            caller = self._machine().caller_of(*token)
            if caller is None:
                raise no_session()
        return caller

    async def admit(self, call: Call, action: Action, entities: Sequence[str] = ()) -> None:
        """Return if the caller may do this.

        Raises:
            CallError: PERMISSION_DENIED, or UNAUTHENTICATED: the session has just ended.
        """
        if self._machine().authorise(call.caller, action, entities) is not None:
            await self.catch_up(call)
            self.check(call, action, entities)

    def check(self, call: Call, action: Action, entities: Sequence[str] = ()) -> None:
        """Like `admit`, but on what is known here; for who has just caught up."""
        refused = self._machine().authorise(call.caller, action, entities)
        if refused is not None:
            raise refusal(refused)

    async def catch_up(self, call: Call, *, note: bytes = b"") -> bytes:
        """Wait until everything acknowledged so far is applied here; return the leader's answer to the note.

        Raises:
            NoLeader: none confirmed in time (C-2).
        """
        return await self._log.barrier(deadline_s=call.remaining_s(), note=note)

    async def propose(self, call: Call, command: AnyCommand) -> AnyReply:
        """Replicate a command and return the reply of its apply, a refusal too.

        Raises:
            NotApplied: it never entered the log.
            OutcomeUnknown: it may have.
        """
        return await self._log.propose(command, deadline_s=call.remaining_s())

    async def carry_out(self, call: Call, command: AnyCommand) -> AnyReply:
        """Like `propose`, but a refusal is the call's error.

        Raises:
            CallError: it was refused; nothing changed (G-5).
        """
        reply = await self._log.propose(command, deadline_s=call.remaining_s())
        if isinstance(reply, Refused):
            raise refusal(reply)
        return reply
