"""What a command is applied with and what comes out: the shapes every handler shares.

A handler is `decide_<command>(state, meta, command) -> Decision`. Deciding only reads. It answers with a reply when
nothing is to change, else with a `Change`: the closure that carries out what was decided, cannot fail, and returns the
reply (C-9). Imports nothing of the state, so every module of the package may import it.
"""

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from sybline.state_machine.effects import Effect
from sybline.state_machine.replies import AnyReply


class Meta(Struct, frozen=True):
    """Facts about a log entry that apply may depend on."""

    index: int  # Raft log index, strictly rising
    term: int
    now_ms: int  # log time, stamped by the leader; handlers see it never go back
    origin: int = 0  # the proposing process; 0: no request id, applied without memory
    sequence: int = 0  # of the origin, rising
    answered_below: int = 0  # the origin waits for no reply to a smaller sequence


class Applied(Struct, frozen=True):
    """The outcome of one command."""

    reply: AnyReply
    effects: tuple[Effect, ...] = ()  # realised by the leader only; may repeat after failover


Change: TypeAlias = Callable[[], AnyReply]
Decision: TypeAlias = AnyReply | Change
