"""Deciding may fail in any way and changes nothing; what was decided must not fail (C-9, REG-R9)."""

from typing import Any

import pytest

from sybline.state_machine import machine as module
from sybline.state_machine.commands import Bind, Purge
from sybline.state_machine.meta import Meta
from sybline.state_machine.replies import AnyReply, Moved, Reason, Refused
from tests.support.replicas import Replicas


class Defect(Exception):
    """A bug that nobody has met yet."""


@pytest.fixture
def replicas() -> Replicas:
    replicas = Replicas()
    replicas.declare("q")
    replicas.publish("q", 3)
    return replicas


def failing_decision(error: BaseException) -> Any:
    def decide(state: Any, meta: Meta, command: Any) -> AnyReply:
        raise error

    return decide


def failing_change(error: BaseException) -> Any:
    def decide(state: Any, meta: Meta, command: Any) -> Any:
        def change() -> AnyReply:
            raise error

        return change

    return decide


def test_reg_r9_a_poison_command_is_the_reply_internal_on_every_member_and_changes_nothing(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module._HANDLERS, Bind, failing_decision(Defect("met at last")))
    before = replicas.counts("q")
    reply = replicas.apply(Bind(replicas.root, "q", "poison"))
    assert reply == Refused(Reason.INTERNAL, "Defect")
    assert replicas.machine.internal_errors == 1
    assert replicas.counts("q") == before
    assert replicas.machine.queues_of("poison") is None
    assert replicas.apply(Purge(replicas.root, "q")) == Moved(3)


def test_the_reply_internal_of_a_numbered_request_is_its_first_reply(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module._HANDLERS, Bind, failing_decision(Defect()))
    command = Bind(replicas.root, "q", "poison")
    first = replicas.apply(command, origin=9, sequence=1, answered_below=1)
    monkeypatch.undo()
    assert replicas.apply(command, origin=9, sequence=1, answered_below=1) == first
    assert replicas.machine.queues_of("poison") is None


def test_an_exception_while_changing_is_not_swallowed(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module._HANDLERS, Bind, failing_change(Defect()))
    with pytest.raises(Defect):
        replicas.apply(Bind(replicas.root, "q", "poison"))


@pytest.mark.parametrize("error", [MemoryError(), RecursionError()])
def test_what_depends_on_the_member_and_not_on_the_command_is_never_a_reply(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setitem(module._HANDLERS, Bind, failing_decision(error))
    with pytest.raises(type(error)):
        replicas.apply(Bind(replicas.root, "q", "poison"))
