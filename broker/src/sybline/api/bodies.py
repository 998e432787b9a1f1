"""From leased positions to the encoded answer: bodies are read out of the log (design §5).

Owns a cache of decoded entries, bounded in bytes, so that a batch is decoded once however many fetches it takes.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from sybline import limits
from sybline.api.convert import MessageIds, encode_message_heads
from sybline.replication.codec import decode_command
from sybline.state_machine.commands import Enqueue
from sybline.state_machine.replies import Delivery

_ENTRY_OVERHEAD_BYTES: Final = 512
_RUN_OVERHEAD_BYTES: Final = 80
_PER_ENTRY: Final = limits.BATCH_MESSAGES_MAX


class EntryBodies:
    """The bodies of one log entry; messages of a batch lie one after the other."""

    __slots__ = ("_firsts", "_offsets", "_sizes", "bodies", "cost_bytes")

    def __init__(self, command: Enqueue) -> None:
        self.bodies = bytes(command.bodies)
        self.cost_bytes = (
            len(command.bodies) + _ENTRY_OVERHEAD_BYTES + len(command.runs) * _RUN_OVERHEAD_BYTES
        )
        self._firsts: list[int] = []  # number of each run's first message
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        number = offset = 0
        for run in command.runs:
            self._firsts.append(number)
            self._offsets.append(offset)
            self._sizes.append(run.size_bytes)
            number += run.count
            offset += run.count * run.size_bytes

    def offset(self, number: int) -> int:
        """Return where the body of a message begins."""
        run = bisect_right(self._firsts, number) - 1
        return self._offsets[run] + (number - self._firsts[run]) * self._sizes[run]


class BodyReader:
    """Reads bodies by position through the log."""

    def __init__(
        self,
        payload: Callable[[int], bytes],
        ids: MessageIds,
        *,
        cache_bytes_max: int = limits.BODY_CACHE_BYTES_MAX,
    ) -> None:
        """`payload` is `ReplicatedLog.payload`."""
        self._payload = payload
        self._tag = ids.tag
        self._cache: OrderedDict[int, EntryBodies] = OrderedDict()
        self._cache_bytes = 0
        self._cache_bytes_max = cache_bytes_max

    @property
    def cache_bytes(self) -> int:
        return self._cache_bytes

    def encode(self, deliveries: Iterable[Delivery], parts: list[bytes]) -> None:
        """Append the deliveries to an encoded MessageCollection.

        A message whose entry is gone was settled or purged meanwhile: it is left out.
        """
        for delivery in deliveries:
            index, number = divmod(delivery.position, _PER_ENTRY)
            try:
                entry = self._entry(index)
            except KeyError:
                continue
            self._encode_run(delivery, entry, number, parts)

    def _encode_run(
        self, delivery: Delivery, entry: EntryBodies, number: int, parts: list[bytes]
    ) -> None:
        position, size = delivery.position, delivery.size_bytes
        bodies, offset = entry.bodies, entry.offset(number)
        head, middle = encode_message_heads(self._tag, size)
        for place in range(position, position + delivery.count):
            parts += (
                head,
                place.to_bytes(8, "big"),
                middle,
                bodies[offset : offset + size],
            )
            offset += size

    def _entry(self, index: int) -> EntryBodies:
        entry = self._cache.get(index)
        if entry is not None:
            self._cache.move_to_end(index)
            return entry
        command = decode_command(self._payload(index))
        if not isinstance(command, Enqueue):
            raise TypeError(f"entry {index} holds no messages but {type(command).__name__}")
        entry = EntryBodies(command)
        self._keep(index, entry)
        return entry

    def _keep(self, index: int, entry: EntryBodies) -> None:
        self._cache[index] = entry
        self._cache_bytes += entry.cost_bytes
        while self._cache_bytes > self._cache_bytes_max:
            _, dropped = self._cache.popitem(last=False)
            self._cache_bytes -= dropped.cost_bytes
