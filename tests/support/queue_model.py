"""The rules of queues once more, as plainly as possible: lists and dicts, one object for each message of each queue.

The model knows nothing of keys, runs or pieces, so it can only agree with the state machine when both follow the rules.
Messages stand in lists in delivery order; `place` is where a message stands in the order of its queue.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sybline import limits
from sybline.state_machine.replies import Reason

DLQ = limits.DEAD_LETTER_SUFFIX


@dataclass
class Message:
    id: int
    size: int
    place: tuple[int, int]
    failures: int = 0
    leases: int = 0
    holder: str = ""  # leased: by whom
    former: str = ""  # ready again after the lease of this consumer expired
    deadline_ms: int = 0
    since_ms: int = 0
    avoids: str = ""
    avoids_until_ms: int = 0
    came_from: str = ""  # dead letters: the queue


@dataclass
class Answered:
    """What settling ids came to."""

    settled: int = 0
    failed: dict[int, Reason] = field(default_factory=dict)
    outdated: set[int] = field(default_factory=set)  # failed, but once settled by the caller


@dataclass
class ModelQueue:
    name: str
    size: int
    retry_limit: int
    has_dlq: bool
    made_for: str = ""
    owner: str = ""
    keys: set[str] = field(default_factory=set)
    ready: list[Message] = field(default_factory=list)
    leased: dict[int, Message] = field(default_factory=dict)
    parked: list[Message] = field(default_factory=list)
    repeats: dict[tuple[str, int], int] = field(default_factory=dict)  # (consumer, id) -> when
    dues: dict[str, int] = field(default_factory=dict)  # consumer -> when its leases are looked at

    def __len__(self) -> int:
        return len(self.ready) + len(self.leased) + len(self.parked)

    def everything(self) -> Iterator[Message]:
        yield from self.ready
        yield from self.leased.values()
        yield from self.parked

    def insert(self, message: Message) -> None:
        self.ready.append(message)
        self.ready.sort(key=lambda other: other.place)

    def bytes(self) -> int:
        return sum(message.size for message in self.everything())


class Model:
    """All queues of a broker."""

    def __init__(self) -> None:
        self.queues: dict[str, ModelQueue] = {}
        self.now_ms = 0
        self.moves = 0

    # --- administration ---
    def declare(self, name: str, key: str, size: int, retry_limit: int, *, dlq: bool) -> bool:
        held = self.queues.get(name)
        if held is not None:
            same = (held.size, held.retry_limit, held.has_dlq) == (size, retry_limit, dlq)
            return same and key in held.keys
        letters = self.queues.get(name + DLQ)
        if dlq and letters is not None and letters.made_for != name:
            return False
        self.queues[name] = ModelQueue(name, size, retry_limit, dlq, keys={key})
        if dlq:
            if letters is None:
                letters = ModelQueue(name + DLQ, size, -1, has_dlq=False, made_for=name)
                self.queues[name + DLQ] = letters
            letters.size, letters.owner = size, name
        return True

    def delete(self, name: str) -> bool:
        queue = self.queues.get(name)
        if queue is None:
            return True
        if queue.owner:
            return False
        del self.queues[name]
        letters = self.queues.get(name + DLQ)
        if queue.has_dlq and letters is not None:
            letters.owner = ""
            if not len(letters):
                del self.queues[name + DLQ]
        return True

    def bind(self, name: str, key: str) -> bool:
        queue = self.queues.get(name)
        if queue is not None:
            queue.keys.add(key)
        return queue is not None

    def unbind(self, name: str, key: str) -> bool:
        queue = self.queues.get(name)
        if queue is None:
            return False
        if key not in queue.keys:
            return True
        if len(queue.keys) == 1 and not queue.made_for:
            return False
        queue.keys.remove(key)
        return True

    # --- publishing ---
    def targets(self, key: str) -> list[ModelQueue]:
        return [queue for queue in self.queues.values() if key in queue.keys]

    def publish(self, first_id: int, messages: list[tuple[str, int]]) -> bool:
        if not all(self.targets(key) for key, _ in messages):
            return False
        for queue in self.queues.values():
            if len(queue) + sum(key in queue.keys for key, _ in messages) > queue.size and any(
                key in queue.keys for key, _ in messages
            ):
                return False
        for number, (key, size) in enumerate(messages):
            for queue in self.targets(key):
                place = (first_id >> 20, number)
                queue.ready.append(Message(first_id + number, size, place))
        return True

    # --- consuming ---
    def checkout(self, consumer: str, name: str, amount: int, lease_ms: int) -> list[int]:
        queue = self.queues[name]
        mine = sorted(
            (message for message in queue.leased.values() if message.holder == consumer),
            key=lambda message: message.place,
        )
        given = []
        for message in mine:
            limit = message.since_ms + limits.LEASE_RENEWAL_MS_MAX
            until = max(message.deadline_ms, min(self.now_ms + lease_ms, limit))
            if until > self.now_ms and len(given) < amount:
                message.deadline_ms = until
                given.append(message)
        for message in list(queue.ready):
            if len(given) == amount:
                break
            if message.avoids == consumer and message.avoids_until_ms > self.now_ms:
                continue
            queue.ready.remove(message)
            message.holder, message.former, message.avoids = consumer, "", ""
            message.deadline_ms, message.since_ms = self.now_ms + lease_ms, self.now_ms
            message.leases += 1
            queue.leased[message.id] = message
            given.append(message)
        if given:
            due_ms = self.now_ms + lease_ms
            queue.dues[consumer] = min(queue.dues.get(consumer, due_ms), due_ms)
        return [message.id for message in given]

    def settle(self, consumer: str, name: str, ids: list[int]) -> Answered:
        def gone(message: Message) -> None:
            pass

        return self._answer(consumer, name, ids, gone, gone)

    def give_back(
        self, consumer: str, name: str, ids: list[int], *, others_polling: bool
    ) -> Answered:
        queue = self.queues[name]

        def note(message: Message) -> None:
            message.former = ""
            if others_polling:
                message.avoids = consumer
                message.avoids_until_ms = self.now_ms + limits.AVOID_NACKER_MS

        def held(message: Message) -> None:
            note(message)
            self._fail(queue, message, by_client=True)

        def former(message: Message) -> None:
            note(message)
            queue.insert(message)

        return self._answer(consumer, name, ids, held, former)

    def discard(self, consumer: str, name: str, ids: list[int]) -> Answered:
        queue = self.queues[name]

        def away(message: Message) -> None:
            if queue.has_dlq:
                queue.parked.append(message)

        return self._answer(consumer, name, ids, away, away)

    def _answer(self, consumer, name, ids, held, former) -> Answered:
        queue = self.queues[name]
        answered = Answered()
        ready = {message.id: message for message in queue.ready}
        mine = [i for i in ids if i in queue.leased and queue.leased[i].holder == consumer]
        was_mine = [i for i in ids if i in ready and ready[i].former == consumer]
        for i in ids:
            if i in mine or i in was_mine or self._is_repeat(queue, consumer, i):
                answered.settled += 1
            else:
                leased = i in queue.leased
                answered.failed[i] = Reason.LEASE_LOST if leased else Reason.MESSAGE_NOT_FOUND
                if (consumer, i) in queue.repeats:
                    answered.outdated.add(i)
        place = {message.id: message.place for message in queue.everything()}
        for i in sorted(mine, key=place.__getitem__):
            held(queue.leased.pop(i))
        for i in sorted(was_mine, key=place.__getitem__):
            queue.ready.remove(ready[i])
            former(ready[i])
        for i in (*mine, *was_mine):
            queue.repeats[consumer, i] = self.now_ms
        self._unpark()
        return answered

    def _is_repeat(self, queue: ModelQueue, consumer: str, message_id: int) -> bool:
        when = queue.repeats.get((consumer, message_id))
        return when is not None and when + limits.RETRY_WINDOW_MS >= self.now_ms

    # --- failures ---
    def _fail(self, queue: ModelQueue, message: Message, *, by_client: bool) -> None:
        message.failures += 1
        message.holder = ""
        limit = max(1, queue.retry_limit)
        endless = queue.made_for or queue.retry_limit < 0
        if endless or message.failures < limit:
            queue.insert(message)
        elif queue.has_dlq:
            queue.parked.append(message)  # _unpark moves it at once if there is room
        elif not by_client:
            queue.insert(message)

    def _unpark(self) -> None:
        for queue in self.queues.values():
            letters = self.queues.get(queue.name + DLQ)
            if not queue.has_dlq or letters is None:
                continue
            while queue.parked:
                if not self._move(queue.parked[0], letters, came_from=queue.name):
                    break
                del queue.parked[0]

    def _move(self, message: Message, target: ModelQueue, *, came_from: str) -> bool:
        if any(other.id == message.id for other in target.everything()):
            return True
        if len(target) >= target.size:
            return False
        self.moves += 1
        place = (1 << 60, self.moves)
        target.ready.append(Message(message.id, message.size, place, came_from=came_from))
        return True

    def renumber(self, index: int) -> None:
        """Give messages that the entry moved their final places: behind what is there, before what comes."""
        for queue in self.queues.values():
            for message in queue.ready:
                if message.place[0] == 1 << 60:
                    message.place = (index, message.place[1])

    def tick(self) -> None:
        """Leases end by the time at which a consumer's are looked at, then by consumer, then in order."""
        due = sorted(
            (due_ms, order, consumer)
            for order, queue in enumerate(self.queues.values())
            for consumer, due_ms in queue.dues.items()
            if due_ms <= self.now_ms
        )
        queues = list(self.queues.values())
        for _, order, consumer in due:
            self._expire(queues[order], consumer)
        self._unpark()

    def _expire(self, queue: ModelQueue, consumer: str) -> None:
        mine = [message for message in queue.leased.values() if message.holder == consumer]
        for message in sorted(mine, key=lambda message: message.place):
            if message.deadline_ms <= self.now_ms:
                del queue.leased[message.id]
                self._fail(queue, message, by_client=False)
                message.former, message.avoids = consumer, ""
        left = [m.deadline_ms for m in queue.leased.values() if m.holder == consumer]
        del queue.dues[consumer]
        if left:
            queue.dues[consumer] = min(left)

    def end_session(self, consumer: str) -> None:
        for queue in self.queues.values():
            for message in [m for m in queue.leased.values() if m.holder == consumer]:
                del queue.leased[message.id]
                message.holder = ""
                queue.insert(message)
            for message in queue.ready:
                if message.former == consumer:
                    message.former = ""
                if message.avoids == consumer:
                    message.avoids = ""
            queue.dues.pop(consumer, None)
            queue.repeats = {k: v for k, v in queue.repeats.items() if k[0] != consumer}

    # --- purge, redrive ---
    def purge(self, name: str, *, include_leased: bool) -> int:
        queue = self.queues[name]
        removed = len(queue.ready) + len(queue.parked)
        queue.ready.clear()
        queue.parked.clear()
        if include_leased:
            removed += len(queue.leased)
            queue.leased.clear()
        self._unpark()
        return removed

    def redrive(self, name: str, amount: int, target: str) -> int | None:
        queue = self.queues[name]
        if not queue.made_for or (target and target not in self.queues):
            return None
        moved = 0
        if target == name:
            return 0
        while queue.ready and moved < amount:
            message = queue.ready[0]
            to = self.queues.get(target or message.came_from or queue.made_for)
            if to is None:
                if not moved:
                    return None
                break
            if not self._move(message, to, came_from=""):
                break
            del queue.ready[0]
            moved += 1
        self._unpark()
        return moved
