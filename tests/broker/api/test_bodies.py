"""Bodies out of log entries into the encoded answer (design: the log is the store)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sybline import limits
from sybline.api.bodies import BodyReader
from sybline.api.convert import MessageIds, read_batch
from sybline.replication.codec import encode_request
from sybline.state_machine.commands import Caller, Enqueue, Tick
from sybline.state_machine.replies import Delivery
from sybline.v1 import mq_pb2

IDS = MessageIds("cluster")
PER_ENTRY = limits.BATCH_MESSAGES_MAX


class Entries:
    """Log entries, and how often each was read."""

    def __init__(self) -> None:
        self.payloads: dict[int, bytes] = {}
        self.reads: list[int] = []

    def add(self, index: int, bodies: list[bytes]) -> None:
        messages = [mq_pb2.MessageInfo(routingKey="k", data=body) for body in bodies]
        command = Enqueue(Caller("u", bytes(16)), *read_batch(messages), True)
        self.payloads[index] = encode_request(1, index, 0, command)

    def payload(self, index: int) -> bytes:
        self.reads.append(index)
        return self.payloads[index]


def one_by_one(index: int, bodies: list[bytes], *numbers: int) -> list[Delivery]:
    return [Delivery(index * PER_ENTRY + n, 1, len(bodies[n]), 0, 1) for n in numbers]


def read(reader: BodyReader, deliveries: list[Delivery]) -> list[tuple[bytes, bytes]]:
    parts: list[bytes] = []
    reader.encode(deliveries, parts)
    answer = mq_pb2.MessageCollection.FromString(b"".join(parts))
    return [(message.id, message.data) for message in answer.messages]


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=40), st.data())
def test_every_message_comes_with_its_own_body(bodies: list[bytes], data: st.DataObject) -> None:
    entries = Entries()
    entries.add(3, bodies)
    numbers = data.draw(st.lists(st.integers(0, len(bodies) - 1), unique=True))
    got = read(BodyReader(entries.payload, IDS), one_by_one(3, bodies, *numbers))
    assert got == [(IDS.encode(3 * PER_ENTRY + n), bodies[n]) for n in numbers]


def test_a_run_is_delivered_in_order() -> None:
    entries = Entries()
    entries.add(3, [b"a", b"bb", b"cc", b"dd"])
    got = read(BodyReader(entries.payload, IDS), [Delivery(3 * PER_ENTRY + 1, 3, 2, 0, 1)])
    assert [body for _, body in got] == [b"bb", b"cc", b"dd"]


def test_reg_r11_bodies_of_all_byte_values_come_back_byte_for_byte() -> None:
    bodies = [bytes(range(256)), "§".encode(), b"\n\n", b"\x00"]
    entries = Entries()
    entries.add(1, bodies)
    got = read(BodyReader(entries.payload, IDS), one_by_one(1, bodies, 0, 1, 2, 3))
    assert [body for _, body in got] == bodies


def test_an_entry_is_decoded_once_for_many_fetches() -> None:
    entries = Entries()
    entries.add(1, [b"a", b"b"])
    reader = BodyReader(entries.payload, IDS)
    for number in (0, 1, 0):
        read(reader, one_by_one(1, [b"a", b"b"], number))
    assert entries.reads == [1]


def test_the_cache_is_bounded_in_bytes_and_forgets_the_least_used() -> None:
    entries = Entries()
    body = bytes(1_000)
    for index in (1, 2, 3):
        entries.add(index, [body])
    reader = BodyReader(entries.payload, IDS, cache_bytes_max=3_500)
    for index in (1, 2, 1, 3, 1):
        read(reader, one_by_one(index, [body], 0))
        assert reader.cache_bytes <= 3_500
    assert entries.reads == [1, 2, 3]
    read(reader, one_by_one(2, [body], 0))
    assert entries.reads == [1, 2, 3, 2]


def test_an_entry_above_the_bound_is_served_and_not_kept() -> None:
    entries = Entries()
    entries.add(1, [bytes(5_000)])
    reader = BodyReader(entries.payload, IDS, cache_bytes_max=1_000)
    assert read(reader, one_by_one(1, [bytes(5_000)], 0))[0][1] == bytes(5_000)
    assert reader.cache_bytes == 0


def test_a_message_that_was_settled_meanwhile_is_left_out() -> None:
    entries = Entries()
    entries.add(1, [b"a"])
    deliveries = [Delivery(9 * PER_ENTRY, 1, 1, 0, 1), *one_by_one(1, [b"a"], 0)]
    got = read(BodyReader(entries.payload, IDS), deliveries)
    assert [body for _, body in got] == [b"a"]


def test_an_entry_of_another_kind_is_a_bug_and_no_missing_message() -> None:
    entries = Entries()
    entries.payloads[1] = encode_request(1, 1, 0, Tick())
    with pytest.raises(TypeError, match="entry 1 holds no messages but Tick"):
        read(BodyReader(entries.payload, IDS), [Delivery(PER_ENTRY, 1, 1, 0, 1)])
