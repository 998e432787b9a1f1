"""The state machine against the plain model: any sequence of commands, the same answers and the same contents."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from sybline import limits
from sybline.state_machine.commands import (
    Bind,
    DeclareQueue,
    DeleteQueue,
    Purge,
    Redrive,
    Unbind,
)
from sybline.state_machine.replies import (
    AnyReply,
    Enqueued,
    Moved,
    Refused,
    Settled,
)
from tests.support.queue_model import Answered, Model
from tests.support.replicas import Replicas, batch, failures_of

CONSUMERS = ("ann", "bob", "cid")
QUEUES = st.sampled_from(("a", "b"))
ANY_QUEUE = st.sampled_from(("a", "b", "a-dlq", "b-dlq"))
KEYS = st.sampled_from(("k1", "k2", "k3"))
LEASE_MS = 20_000


class QueuesAgainstModel(RuleBasedStateMachine):
    """Consumers and an administrator do anything to two queues and their dead-letter queues."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas = Replicas()
        self.model = Model()
        self.callers = {name: self.replicas.session(name) for name in CONSUMERS}
        self.sessions = 0
        self.ids: list[int] = []
        self.model.now_ms = self.replicas.now_ms

    # --- administration ---
    @rule(
        name=QUEUES,
        key=KEYS,
        size=st.sampled_from((3, 6, 20)),
        retry_limit=st.sampled_from((0, 1, 2, 3)),
        dlq=st.booleans(),
    )
    def declare(self, name: str, key: str, size: int, retry_limit: int, dlq: bool) -> None:
        command = DeclareQueue(self.replicas.root, name, key, size, retry_limit, dlq)
        reply = self.replicas.apply(command)
        held = self.model.declare(name, key, size, retry_limit, dlq=dlq)
        assert held is not isinstance(reply, Refused)

    @rule(name=ANY_QUEUE)
    def delete(self, name: str) -> None:
        reply = self.replicas.apply(DeleteQueue(self.replicas.root, name))
        assert self.model.delete(name) is not isinstance(reply, Refused)

    @rule(name=ANY_QUEUE, key=KEYS)
    def bind(self, name: str, key: str) -> None:
        reply = self.replicas.apply(Bind(self.replicas.root, name, key))
        assert self.model.bind(name, key) is not isinstance(reply, Refused)

    @rule(name=ANY_QUEUE, key=KEYS)
    def unbind(self, name: str, key: str) -> None:
        reply = self.replicas.apply(Unbind(self.replicas.root, name, key))
        assert self.model.unbind(name, key) is not isinstance(reply, Refused)

    # --- messages ---
    @rule(messages=st.lists(st.tuples(KEYS, st.integers(0, 2)), min_size=1, max_size=7))
    def publish(self, messages: list[tuple[str, int]]) -> None:
        reply = self.replicas.apply(
            batch(self.replicas.root, *((key, b"x" * size) for key, size in messages))
        )
        first = self.replicas.index * limits.BATCH_MESSAGES_MAX
        assert self.model.publish(first, messages) is isinstance(reply, Enqueued)
        if isinstance(reply, Enqueued):
            self.ids = [*self.ids, *range(first, first + len(messages))][-40:]

    @precondition(lambda self: self.model.queues)
    @rule(consumer=st.sampled_from(CONSUMERS), amount=st.integers(1, 8), data=st.data())
    def checkout(self, consumer: str, amount: int, data: st.DataObject) -> None:
        name = self._queue(data)
        caller = self.callers[consumer]
        delivered = self.replicas.fetch(caller, name, amount, lease_ms=LEASE_MS)
        assert delivered == self.model.checkout(consumer, name, amount, LEASE_MS)

    @precondition(lambda self: self.model.queues)
    @rule(consumer=st.sampled_from(CONSUMERS), data=st.data())
    def settle(self, consumer: str, data: st.DataObject) -> None:
        name, ids = self._queue(data), self._ids(data)
        reply = self.replicas.settle(self.callers[consumer], name, ids)
        self._compare(reply, self.model.settle(consumer, name, ids))

    @precondition(lambda self: self.model.queues)
    @rule(consumer=st.sampled_from(CONSUMERS), others=st.booleans(), data=st.data())
    def give_back(self, consumer: str, others: bool, data: st.DataObject) -> None:
        name, ids = self._queue(data), self._ids(data)
        caller = self.callers[consumer]
        reply = self.replicas.give_back(caller, name, ids, others_polling=others)
        answered = self.model.give_back(consumer, name, ids, others_polling=others)
        self._compare(reply, answered)

    @precondition(lambda self: self.model.queues)
    @rule(consumer=st.sampled_from(CONSUMERS), data=st.data())
    def discard(self, consumer: str, data: st.DataObject) -> None:
        name, ids = self._queue(data), self._ids(data)
        reply = self.replicas.discard(self.callers[consumer], name, ids)
        self._compare(reply, self.model.discard(consumer, name, ids))

    @rule(seconds=st.sampled_from((1, 9, 11, 21, 130)))
    def pass_time(self, seconds: int) -> None:
        self.model.now_ms += seconds * 1_000
        self.replicas.tick(seconds * 1_000)
        self.model.tick()

    @rule(consumer=st.sampled_from(CONSUMERS))
    def log_out_and_in(self, consumer: str) -> None:
        self.replicas.logout(self.callers[consumer])
        self.model.end_session(consumer)
        self.sessions += 1
        self.callers[consumer] = self.replicas.session(f"{consumer}{self.sessions}")

    # --- at once ---
    @precondition(lambda self: self.model.queues)
    @rule(include_leased=st.booleans(), data=st.data())
    def purge(self, include_leased: bool, data: st.DataObject) -> None:
        name = self._queue(data)
        reply = self.replicas.apply(Purge(self.replicas.root, name, include_leased))
        assert reply == Moved(self.model.purge(name, include_leased=include_leased))

    @precondition(lambda self: self.model.queues)
    @rule(amount=st.integers(0, 5), to=st.sampled_from(("", "", "a", "b")), data=st.data())
    def redrive(self, amount: int, to: str, data: st.DataObject) -> None:
        name = self._queue(data)
        reply = self.replicas.apply(Redrive(self.replicas.root, name, amount, to))
        moved = self.model.redrive(name, amount, to)
        assert isinstance(reply, Refused) if moved is None else reply == Moved(moved)

    # --- comparison ---
    @invariant()
    def contents_agree(self) -> None:
        self.model.renumber(self.replicas.index)
        found = {stats.name: stats for stats in self.replicas.machine.queue_stats()}
        assert set(found) == set(self.model.queues)
        for name, queue in self.model.queues.items():
            stats = found[name]
            counts = (len(queue.ready), len(queue.leased), len(queue.parked))
            assert (stats.ready, stats.leased, stats.parked) == counts, name
            assert stats.bytes == queue.bytes()
            assert set(stats.keys) == queue.keys
            assert stats.owner == queue.owner
            due_ms = self.replicas.machine.next_due_ms()
            for message in queue.leased.values():
                assert due_ms is not None
                assert due_ms <= message.deadline_ms

    def teardown(self) -> None:
        """Whatever is left can be fetched, in order, by one consumer once all leases are over."""
        for consumer in CONSUMERS:
            self.log_out_and_in(consumer)
        self.model.now_ms += limits.AVOID_NACKER_MS
        self.replicas.now_ms += limits.AVOID_NACKER_MS
        for name in self.model.queues:
            delivered = self.replicas.fetch(self.callers["ann"], name)
            assert delivered == self.model.checkout("ann", name, 1_000, LEASE_MS)

    # --- drawing ---
    def _queue(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.model.queues)), label="queue")

    def _ids(self, data: st.DataObject) -> list[int]:
        known = [1 << 20, *self.ids]
        first = data.draw(st.integers(0, len(known) - 1), label="first")
        some = known[first : first + data.draw(st.integers(1, 6), label="length")]
        if len(some) > 1 and data.draw(st.booleans(), label="with a gap"):
            del some[data.draw(st.integers(0, len(some) - 1), label="gap")]
        return some

    def _compare(self, reply: AnyReply, answered: Answered) -> None:
        assert isinstance(reply, Settled)
        failed = failures_of(reply)
        # A range that was joined or refreshed is remembered a little longer than its oldest id needs.
        kept_longer = answered.failed.keys() - failed.keys()
        assert kept_longer <= answered.outdated
        assert failed == {i: answered.failed[i] for i in failed}
        assert reply.settled == answered.settled + len(kept_longer)


QueuesAgainstModel.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestQueuesAgainstModel = QueuesAgainstModel.TestCase
