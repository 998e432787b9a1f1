"""Tick: what log time has made due, in a fixed order and in bounded portions (L-4, S-4, S-9, P-8, G-4, P-9, D-4).

The leader proposes a tick when `next_due_ms` has come, and another when something is left.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sybline import limits
from sybline.state_machine import dead_letters, leases
from sybline.state_machine.commands import Tick
from sybline.state_machine.meta import Decision, Meta
from sybline.state_machine.replies import AnyReply, Done

if TYPE_CHECKING:
    from sybline.state_machine.state import State


def decide_tick(state: "State", meta: Meta, command: Tick) -> Decision:
    """Decide to carry out up to EXPIRIES_PER_TICK_MAX pieces of what is due."""
    due_ms = next_due_ms(state)
    if due_ms is None or due_ms > state.now_ms:
        return Done(changed=False)

    def change() -> AnyReply:
        now_ms = state.now_ms
        left = limits.EXPIRIES_PER_TICK_MAX
        steps: tuple[Callable[[int, int], int], ...] = (
            lambda now_ms, budget: leases.expire(state, now_ms, budget),
            lambda now_ms, budget: state.sessions.expire(state, now_ms, budget),
            state.accounts.expire,
            state.idempotency.expire,
            state.retries.expire,
            state.requests.expire,
            lambda now_ms, budget: _unpark(state, budget),
        )
        for step in steps:
            if left <= 0:
                break
            left -= step(now_ms, left)
        return Done()

    return change


def _unpark(state: "State", budget: int) -> int:
    used = 0
    for number in sorted(state.unparking):
        owner = state.unparking[number]
        used += dead_letters.unpark(state, owner, budget - used)
        if not dead_letters.has_due(owner):
            del state.unparking[number]
    return used


def next_due_ms(state: "State") -> int | None:
    """Return the log time at which a tick has something to do; cheap; None: nothing is waiting for time."""
    return min(_dues(state), default=None)


def _dues(state: "State") -> Iterator[int]:
    lease = state.dues.first(state.numbers)
    if lease is not None:
        yield lease[0]
    if any(map(dead_letters.has_due, state.unparking.values())):
        yield state.now_ms
    for part in (
        state.sessions,
        state.accounts,
        state.idempotency,
        state.retries,
        state.requests,
    ):
        due_ms = part.next_due_ms()
        if due_ms is not None:
            yield due_ms
