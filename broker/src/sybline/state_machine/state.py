"""The replicated state as one value: what every handler reads and changes.

Owns the log clock, the accounts, the sessions, the queues and the memories. Holds no rules of its own besides the few
steps that touch several parts. Modules of handlers import `State` for type checking only, so that it may import them.
"""

from sybline.state_machine import leases, queue_access
from sybline.state_machine.accounts import Accounts
from sybline.state_machine.dedup import IdempotencyKeys
from sybline.state_machine.queue import Queue, QueueConfig
from sybline.state_machine.requests import Requests
from sybline.state_machine.retries import Retries
from sybline.state_machine.routing import Routing
from sybline.state_machine.sessions import Sessions


class State:
    """Everything a checkpoint holds, and what can be computed from it."""

    __slots__ = (
        "accounts",
        "deleted_messages",
        "dues",
        "holders",
        "holdings",
        "idempotency",
        "index",
        "internal_errors",
        "next_number",
        "now_ms",
        "numbers",
        "queues",
        "requests",
        "retries",
        "routing",
        "sessions",
        "unparking",
    )

    def __init__(self) -> None:
        self.index = 0  # of the entry being applied, or applied last
        self.now_ms = 0  # log time, never goes back
        self.accounts = Accounts()
        self.sessions = Sessions()
        self.queues: dict[str, Queue] = {}
        self.next_number = 1  # of the next queue
        self.routing = Routing()
        self.idempotency = IdempotencyKeys()
        self.retries = Retries()
        self.requests = Requests()
        self.deleted_messages = 0  # that vanished with their queues
        self.internal_errors = 0  # commands that failed while deciding (C-9)
        # Computed from the above:
        self.numbers: dict[int, Queue] = {}
        self.holders: dict[bytes, dict[int, Queue]] = {}  # consumer -> queues with a holding of it
        self.holdings = 0
        self.dues = leases.Dues()
        self.unparking: dict[int, Queue] = {}  # owners whose parked messages a tick may move

    def add_queue(self, name: str, config: QueueConfig, *, dead_letter_of: str) -> Queue:
        """Create a queue whose name is free. Part of a change."""
        queue = Queue(self.next_number, name, config, dead_letter_of)
        self.next_number += 1
        self.queues[name] = self.numbers[queue.number] = queue
        return queue

    def remove_queue(self, queue: Queue) -> None:
        """Forget a queue that has no binding and no holding any more. Part of a change."""
        self.deleted_messages += queue.held
        del self.queues[queue.name], self.numbers[queue.number]
        self.unparking.pop(queue.number, None)

    def release_leases(self, consumer: bytes, *, counted: bool) -> int:
        """Return everything the consumer leases, in every queue, and forget its retry memory.

        Part of a change: cannot fail. `counted`: as failed attempts (S-4), else not (S-5). Returns the number of
        pieces of work done, for a tick's budget.
        """
        self.retries.forget(consumer)
        return leases.release(self, consumer, counted=counted)

    def forget_user(self, username: str) -> None:
        """Remove the user from access lists and drop its idempotency keys (U-3). Part of a change."""
        self.idempotency.forget_user(username)
        for queue in self.queues.values():
            queue_access.forget_user(queue, username)
