"""What members ask the leader about the membership, and what it answers: bytes, and who waits for what.

A question gets one answer, or none when the connection ends first. It changes nothing by itself (`administration.py`).
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from sybline import limits
from sybline.replication.configuration import Change, ChangeReason, Configuration
from sybline.replication.log import Membership
from sybline.replication.messages import BadFrame, LeaderAnswer, LeaderCall, Message

T = TypeVar("T")


class ChangeCall(Struct, frozen=True, tag="change"):
    """Change the members."""

    change: Change
    expected_version: int
    force: bool


class ViewCall(Struct, frozen=True, tag="view"):
    """How do you see the members? Confirmed by a quorum."""


class TransferCall(Struct, frozen=True, tag="transfer"):
    """Hand over leadership, to `target` or whoever has most of the log."""

    target: int | None


class ChangeMade(Struct, frozen=True, tag="made"):
    """It is committed."""

    configuration: Configuration


class ChangeNotMade(Struct, frozen=True, tag="refused"):
    """It was definitely not appended."""

    reason: ChangeReason
    text: str


class ChangeUnknown(Struct, frozen=True, tag="unknown"):
    """It was appended, and then this member stopped leading."""


class NotLeading(Struct, frozen=True, tag="not leading"):
    """Nothing was done: ask the leader."""


class View(Struct, frozen=True, tag="view"):
    """The leader's view."""

    membership: Membership


class TransferBegun(Struct, frozen=True, tag="transfer"):
    """Whether leadership is being handed over."""

    begun: bool


AnyCall: TypeAlias = ChangeCall | ViewCall | TransferCall
AnyAnswer: TypeAlias = (
    ChangeMade | ChangeNotMade | ChangeUnknown | NotLeading | View | TransferBegun
)
Answer: TypeAlias = Callable[[AnyAnswer], None]
Serve: TypeAlias = Callable[[AnyCall, Answer], None]

_encode = msgspec.msgpack.Encoder().encode
_calls: "msgspec.msgpack.Decoder[AnyCall]" = msgspec.msgpack.Decoder(AnyCall)
_answers: "msgspec.msgpack.Decoder[AnyAnswer]" = msgspec.msgpack.Decoder(AnyAnswer)


class Send(Protocol):
    """Queues a message for a peer; False: there is no connection."""

    def __call__(self, peer: int, message: Message, /) -> bool: ...


class CallLost(Exception):
    """There will be no answer; the question may have arrived."""


class LeaderCalls:
    """The questions of this member and those of others to it."""

    def __init__(self, *, send: Send, serve: Serve, first_request: int) -> None:
        """`serve` answers a question here. `first_request`: random, so that an old answer fits nothing."""
        self._send = send
        self._serve = serve
        self._next_request = first_request
        self._waiting: dict[int, tuple[int, asyncio.Future[AnyAnswer]]] = {}
        self._in_hand: Counter[int] = Counter()  # of each peer

    def ask(self, peer: int, call: AnyCall) -> "asyncio.Future[AnyAnswer] | None":
        """Ask a peer; the future ends with its answer or CallLost. None: there is no way to it."""
        request = self._next_request
        self._next_request += 1
        answer: asyncio.Future[AnyAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[request] = (peer, answer)
        if not self._send(peer, LeaderCall(request, _encode(call))):
            del self._waiting[request]
            return None
        answer.add_done_callback(lambda _: self._waiting.pop(request, None))
        return answer

    def asked(self, peer: int, message: LeaderCall) -> None:
        """Take a peer's question.

        Raises:
            BadFrame: not one.
        """
        call = _decode(_calls, message.body)
        answer = partial(self._answer, peer, message.request)
        if self._in_hand[peer] >= limits.LEADER_CALLS_PER_PEER_MAX:
            self._send(peer, LeaderAnswer(message.request, _encode(NotLeading())))
            return
        self._in_hand[peer] += 1
        self._serve(call, answer)

    def answered(self, peer: int, message: LeaderAnswer) -> None:
        """Take an answer.

        Raises:
            BadFrame: not one.
        """
        answer = _decode(_answers, message.body)
        asked, future = self._waiting.get(message.request, (None, None))
        if future is not None and asked == peer and not future.done():
            future.set_result(answer)

    def disconnected(self, peer: int) -> None:
        """A connection ended, and with it what was asked over it."""
        for asked, answer in list(self._waiting.values()):
            if asked == peer and not answer.done():
                answer.set_exception(CallLost(f"the connection to member {peer} ended"))

    def stop(self) -> None:
        """Nobody will answer any more."""
        for _, answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(CallLost("this member stops"))

    def _answer(self, peer: int, request: int, answer: AnyAnswer) -> None:
        self._in_hand[peer] -= 1
        self._send(peer, LeaderAnswer(request, _encode(answer)))


def _decode(decoder: "msgspec.msgpack.Decoder[T]", body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BadFrame(f"about the membership: {error}") from error
