"""Ids, ranges, batches and answers between the wire and the log."""

import uuid
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sybline import limits
from sybline.api.convert import (
    MessageIds,
    NamedIds,
    content_digest,
    encode_message_heads,
    id_text,
    merge_positions,
    one_message,
    read_batch,
)
from sybline.api.error_texts import CallError
from sybline.replication.codec import encode_request
from sybline.state_machine.checkout import encoded_bytes
from sybline.state_machine.commands import Caller, Enqueue, EnqueueRun, PositionRange
from sybline.v1 import mq_pb2

IDS = MessageIds("cluster")
PER_ENTRY = limits.BATCH_MESSAGES_MAX
positions = st.integers(min_value=PER_ENTRY, max_value=(1 << 63) - 1)
entry_positions = st.builds(
    lambda index, number: index * PER_ENTRY + number,
    st.integers(1, 3),
    st.one_of(st.integers(0, 5), st.integers(PER_ENTRY - 3, PER_ENTRY - 1)),
)


# --- ids ---
@given(positions)
def test_an_id_is_sixteen_bytes_and_names_its_position(position: int) -> None:
    message_id = IDS.encode(position)
    assert len(message_id) == 16
    assert IDS.decode(message_id) == position


def test_an_id_of_another_cluster_or_of_no_entry_has_no_position() -> None:
    assert IDS.decode(MessageIds("another").encode(PER_ENTRY)) is None
    assert IDS.decode(IDS.tag + bytes(8)) is None
    assert IDS.decode(IDS.tag + b"\xff" * 8) is None
    assert IDS.decode(b"\xff" * 16) is None


def test_the_text_of_an_id_is_that_of_a_uuid() -> None:
    assert uuid.UUID(id_text(IDS.encode(PER_ENTRY))).bytes == IDS.encode(PER_ENTRY)


@given(st.lists(entry_positions, max_size=30), st.lists(st.binary(min_size=16, max_size=16)))
def test_named_ids_are_ranges_that_apply_accepts_and_that_lead_back_to_the_ids(
    known: Sequence[int], foreign: Sequence[bytes]
) -> None:
    given_ids = [IDS.encode(position) for position in known] + list(foreign)
    named = NamedIds(given_ids, IDS)
    assert named.count == len(set(given_ids))
    end = 0
    found = []
    for item in named.ranges:
        assert item.position >= end
        assert 0 < item.count <= PER_ENTRY - item.position % PER_ENTRY
        end = item.position + item.count
        found += [named.id_at(position) for position in range(item.position, end)]
    assert sorted(found) == sorted(set(given_ids))


def test_ids_that_no_message_can_have_are_asked_about_in_entry_zero() -> None:
    named = NamedIds([IDS.encode(PER_ENTRY + 1), b"\xff" * 16, b"\x00" * 16], IDS)
    assert named.ranges == (PositionRange(0, 2), PositionRange(PER_ENTRY + 1, 1))
    assert named.id_at(0) == b"\xff" * 16


def test_consecutive_positions_join_but_never_across_entries() -> None:
    last = 2 * PER_ENTRY - 1
    assert list(merge_positions([])) == []
    assert list(merge_positions([7, 8, 10, last, last + 1])) == [
        PositionRange(7, 2),
        PositionRange(10, 1),
        PositionRange(last, 1),
        PositionRange(last + 1, 1),
    ]


# --- publishing ---
def batch(*messages: tuple[str, bytes]) -> list[mq_pb2.MessageInfo]:
    return [mq_pb2.MessageInfo(routingKey=key, data=body) for key, body in messages]


def unpacked(
    keys: Sequence[str], runs: Sequence[EnqueueRun], bodies: bytes
) -> list[tuple[str, bytes]]:
    """Return the messages that a content stands for."""
    messages, offset = [], 0
    for run in runs:
        for _ in range(run.count):
            messages.append((keys[run.key_number], bodies[offset : offset + run.size_bytes]))
            offset += run.size_bytes
    assert offset == len(bodies)
    return messages


@given(st.lists(st.tuples(st.sampled_from(["k", "l", "größe"]), st.binary(min_size=1, max_size=3))))
def test_a_batch_keeps_every_message_in_request_order(messages: list[tuple[str, bytes]]) -> None:
    keys, runs, bodies = read_batch(batch(*messages))
    assert unpacked(keys, runs, bodies) == messages
    assert list(keys) == list(dict.fromkeys(key for key, _ in messages))
    for one, two in pairwise(runs):
        assert (one.key_number, one.size_bytes) != (two.key_number, two.size_bytes)


def test_equal_messages_are_one_run() -> None:
    assert read_batch(batch(*[("k", b"abc")] * 256)) == (
        ("k",),
        (EnqueueRun(0, 256, 3),),
        b"abc" * 256,
    )


def test_one_message_and_a_batch_of_one_are_the_same_content() -> None:
    message = batch(("k", b"abc"))
    assert one_message(message[0]) == read_batch(message)


@pytest.mark.parametrize(
    ("second", "field", "text"),
    [
        (("k", b""), "data", "data must contain some information in message 1"),
        (("", b"a"), "routingKey", "routingKey cannot be empty in message 1"),
        (("*", b"a"), "routingKey", "routingKey must not be '*', which means any in message 1"),
        (
            ("k", bytes(limits.BODY_BYTES_DEFAULT + 1)),
            "data",
            f"message of {limits.BODY_BYTES_DEFAULT + 1} bytes exceeds the limit of "
            f"{limits.BODY_BYTES_DEFAULT} bytes in message 1",
        ),
    ],
)
def test_a_malformed_message_refuses_its_batch_by_number(
    second: tuple[str, bytes], field: str, text: str
) -> None:
    with pytest.raises(CallError) as info:
        read_batch(batch(("k", b"a"), second, ("k", b"")))
    assert (info.value.code, info.value.text) == ("INVALID_ARGUMENT", text)
    assert info.value.field == f"messages[1].{field}"


def test_the_entry_of_the_most_wasteful_request_fits_into_the_log() -> None:
    """As many keys as a batch may name, and no two neighbours alike: the dearest a message can be."""
    keys = [f"{number:x}" for number in range(limits.BATCH_KEYS_MAX)]
    once = [(key, b"a") for key in keys]
    size = mq_pb2.BatchMessages(messages=batch(*once)).ByteSize()
    rounds = limits.MESSAGE_BYTES_MAX // size
    content = read_batch(batch(*once * rounds))
    command = Enqueue(Caller("u" * 128, bytes(16)), *content, True, "k" * 128, bytes(32))
    assert len(encode_request(1 << 63, 1 << 62, 1 << 62, command)) <= limits.ENTRY_BYTES_MAX


def test_too_many_distinct_keys_are_refused() -> None:
    keys = [(f"k{number}", b"a") for number in range(limits.BATCH_KEYS_MAX + 1)]
    with pytest.raises(CallError, match="distinct routing keys in a batch exceeds the limit of"):
        read_batch(batch(*keys))


contents = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ab"]), st.sampled_from([b"a", b"b", b"ab", b"ba"])),
    min_size=1,
    max_size=3,
)


@given(contents, contents)
def test_digests_are_equal_for_equal_content_only(
    one: list[tuple[str, bytes]], two: list[tuple[str, bytes]]
) -> None:
    digests = [content_digest(read_batch(batch(*messages))) for messages in (one, two)]
    assert (digests[0] == digests[1]) == (one == two)


# --- answers ---
@given(
    positions, st.integers(0, 300) | st.sampled_from([16_383, 16_384, limits.BODY_BYTES_DEFAULT])
)
def test_a_message_is_encoded_as_protobuf_does_and_as_long_as_the_checkout_counted(
    position: int, size: int
) -> None:
    body = bytes(size)
    head, middle = encode_message_heads(IDS.tag, size)
    encoded = head + position.to_bytes(8, "big") + middle + body
    answer = mq_pb2.MessageCollection()
    answer.messages.add(id=IDS.encode(position), data=body)
    assert encoded == answer.SerializeToString()
    assert len(encoded) == encoded_bytes(size)


def test_reg_w6_the_largest_body_fits_into_an_answer() -> None:
    assert encoded_bytes(limits.BODY_BYTES_DEFAULT) <= limits.MESSAGE_BYTES_MAX
