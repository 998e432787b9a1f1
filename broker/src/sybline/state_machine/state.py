"""The replicated state as one value: what every handler reads and changes.

Owns the log clock, the accounts, the sessions, the queues and the memories. Holds no rules of its own besides the few
steps that touch several parts. Modules of handlers import `State` for type checking only, so that it may import them.
"""

from sybline.state_machine.accounts import Accounts
from sybline.state_machine.sessions import Sessions


class State:
    """Everything a checkpoint holds."""

    __slots__ = ("accounts", "index", "now_ms", "sessions")

    def __init__(self) -> None:
        self.index = 0  # of the entry being applied, or applied last
        self.now_ms = 0  # log time, never goes back
        self.accounts = Accounts()
        self.sessions = Sessions()

    def release_leases(self, consumer: bytes, *, counted: bool) -> int:
        """Return everything the consumer leases, in every queue, and forget its retry memory.

        Part of a change: cannot fail. `counted`: as failed attempts (S-4), else not (S-5). Returns the number of
        pieces of work done, for a tick's budget.
        """
        return 0

    def forget_user(self, username: str) -> None:
        """Remove the user from access lists and drop its idempotency keys (U-3). Part of a change."""
